"""Following a log that grows, and then loses lines of its middle."""

from __future__ import annotations

import pytest

from _taskqueue.tasks.keptlog import LOG_LINES_MAX, KeptLog
from _taskqueue.web.tasks import news_of


@pytest.mark.parametrize("step", [1, 7, 60])
def test_every_line_is_followed_once_while_the_steps_are_shorter_than_the_kept_end(step: int) -> None:
    log, before, seen = KeptLog(), "", ""
    lines = [f"12:00:00.{number:05} line" for number in range(5 * LOG_LINES_MAX)]

    for number, line in enumerate(lines, 1):
        log.add(line)
        if number % step == 0 or number == len(lines):
            seen += news_of(before, log.text())
            before = log.text()

    assert seen.split("\n") == lines


def test_what_was_lost_between_two_looks_is_said() -> None:
    log = KeptLog()
    for number in range(150):
        log.add(f"line {number:04}")
    before = log.text()
    for number in range(150, 1000):
        log.add(f"line {number:04}")

    news = news_of(before, log.text()).split("\n")

    assert news[:3] == ["", "… lines left out …", f"line {1000 - LOG_LINES_MAX // 2:04}"]
    assert news[-1] == "line 0999"
