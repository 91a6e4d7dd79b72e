"""The kept log of an attempt: bounded, and never without its beginning and its end."""

from __future__ import annotations

import pytest

from _taskqueue.tasks.keptlog import LINE_CHARS_MAX, LOG_CHARS_MAX, LOG_LINES_MAX, KeptLog


def kept(*lines: str) -> KeptLog:
    log = KeptLog()
    for line in lines:
        log.add(line)
    return log


def test_all_is_kept_while_there_is_room() -> None:
    lines = [f"line {number}" for number in range(LOG_LINES_MAX)]

    assert kept(*lines).text().split("\n") == lines


@pytest.mark.parametrize("over", [1, 2, 101, 5_000])
def test_the_middle_is_left_out_and_counted(over: int) -> None:
    lines = [f"line {number}" for number in range(LOG_LINES_MAX + over)]

    text = kept(*lines).text().split("\n")

    assert text == [*lines[: LOG_LINES_MAX // 2], f"… {over} lines left out …", *lines[-LOG_LINES_MAX // 2 :]]


def test_characters_are_bounded_too() -> None:
    log = kept(*(f"{number:06}" + "x" * (LINE_CHARS_MAX - 6) for number in range(50)))

    assert len(log.text()) <= LOG_CHARS_MAX + 100
    assert log.text().startswith("000000x")
    assert "\n000049x" in log.text()
    assert log.said == 50


def test_a_long_line_keeps_its_beginning_and_its_end() -> None:
    text = kept("begin" + "x" * LOG_CHARS_MAX + "end").text()

    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert "characters left out" in text
    assert len(text) < LINE_CHARS_MAX + 100


def test_an_empty_log_is_an_empty_text() -> None:
    assert KeptLog().text() == ""
