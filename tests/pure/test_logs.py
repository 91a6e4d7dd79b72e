"""Log lines: JSON for machines, columns for people."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from _taskqueue.logs import FIELDS, Columns, JsonLines, set_up_logs


def record_of(message: str = "hello %s", *args: Any, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("taskqueue.test").makeRecord("taskqueue.test", level, "f.py", 1, message, args, None, extra=extra)


def failing() -> logging.LogRecord:
    record = record_of("it broke", level=logging.ERROR)
    try:
        raise ValueError("why\nindeed")
    except ValueError:
        record.exc_info = sys.exc_info()
    return record


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts the root logger back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_json_line_has_time_level_logger_and_message() -> None:
    line = json.loads(JsonLines().format(record_of("hello %s", "wörld")))

    assert {name: line[name] for name in ("level", "logger", "msg")} == {"level": "info", "logger": "taskqueue.test", "msg": "hello wörld"}
    assert line["ts"].endswith("Z")
    assert datetime.fromisoformat(line["ts"]).tzinfo is not None


def test_a_json_line_carries_the_fields_of_the_event_and_no_others() -> None:
    given: dict[str, Any] = dict.fromkeys(FIELDS, "x") | {"secret": "no"}

    line = json.loads(JsonLines().format(record_of("hi", **given)))

    assert set(line) == {"ts", "level", "logger", "msg", *FIELDS}


def test_a_field_of_zero_is_shown_and_one_of_none_is_not() -> None:
    line = json.loads(JsonLines().format(record_of("hi", attempt=0, queue=None)))

    assert line["attempt"] == 0
    assert "queue" not in line


def test_an_event_stays_one_line_even_with_a_traceback() -> None:
    text = JsonLines().format(failing())

    assert "\n" not in text
    assert "ValueError: why\nindeed" in json.loads(text)["traceback"]


def test_a_value_without_a_json_form_is_shown_as_text() -> None:
    assert json.loads(JsonLines().format(record_of("hi", outcome={1})))["outcome"] == "{1}"


def test_columns_show_level_task_and_message() -> None:
    text = Columns(colour=False).format(record_of("done", task_id="task1", task="greet"))

    assert text.endswith("info    greet task1  done")
    assert "\x1b" not in text


def test_columns_without_a_task_show_none() -> None:
    assert Columns(colour=False).format(record_of("ready")).split(maxsplit=1)[1] == "info    ready"


@pytest.mark.parametrize(("level", "colour"), [(logging.INFO, ""), (logging.WARNING, "\x1b[33m"), (logging.ERROR, "\x1b[31m")])
def test_colour_marks_what_is_wrong(level: int, colour: str) -> None:
    text = Columns(colour=True).format(record_of("hi", level=level))

    assert text.startswith(colour)
    assert text.endswith("\x1b[0m") is bool(colour)


def test_columns_show_the_traceback_below() -> None:
    assert "\nTraceback" in Columns(colour=False).format(failing())


@pytest.mark.parametrize(("style", "is_json"), [("json", True), ("auto", True), ("console", False)])
def test_output_goes_where_the_format_says(restored: None, monkeypatch: pytest.MonkeyPatch, style: str, is_json: bool) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)

    set_up_logs("info", style)
    logging.getLogger("taskqueue.test").info("hello")
    logging.getLogger("taskqueue.test").debug("too quiet")

    (line,) = out.getvalue().splitlines()
    assert line.startswith("{") is is_json
    assert "hello" in line
