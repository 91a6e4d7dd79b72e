"""Log lines: JSON for machines, columns for people."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from _taskqueue.logs import FIELDS, Columns, JsonLines, SureLogger, set_up_logs
from _taskqueue.outlet import LINE_CHARS_MAX, WAITING_CHARS_MAX, Outlet, flush_outlets, to_descriptor


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
def test_output_goes_where_the_format_says(restored: None, capfd: pytest.CaptureFixture[str], style: str, is_json: bool) -> None:
    set_up_logs("info", style)
    logging.getLogger("taskqueue.test").info("hello")
    logging.getLogger("taskqueue.test").debug("too quiet")
    flush_outlets()

    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("{") is is_json
    assert "hello" in line


SURE, ELSEWHERE = SureLogger("taskqueue.sure"), logging.Logger("elsewhere")  # noqa: LOG001 - see said()


class Rude:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise SystemExit(1)


def silent_factory(*args: Any, **named: Any) -> logging.LogRecord:
    raise ValueError("no record today")


@pytest.fixture
def said(restored: None, capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The messages of ``SURE`` and ``ELSEWHERE``, which stand apart: pytest hangs handlers of its own onto all others."""
    set_up_logs("info", "json")
    for logger in (SURE, ELSEWHERE):
        logger.handlers[:] = logging.getLogger().handlers

    def read() -> list[str]:
        flush_outlets()
        return [json.loads(line)["msg"] for line in capfd.readouterr().out.splitlines()]

    return read


@pytest.mark.parametrize("args", [("%d tasks", "three"), ("%s and %s", 1), ("%(a)s", 1), ("it is %s", Rude())])
def test_a_line_that_cannot_be_written_is_replaced_and_harms_nobody(said: Callable[[], list[str]], args: tuple[Any, ...]) -> None:
    SURE.info(*args)
    ELSEWHERE.info(*args)

    for text in said():
        assert text.startswith(f"{args[0]} (this line could not be written as it was meant: ")


@pytest.mark.parametrize("first", [True, False])
def test_a_handler_that_raises_harms_nobody(said: Callable[[], list[str]], first: bool) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit(1)

    SURE.handlers.insert(0 if first else 1, Broken())
    SURE.info("hello")

    assert said() == ["hello", "a logging filter or handler failed: SystemExit"]


def test_a_filter_of_the_root_handler_that_raises_harms_nobody(said: Callable[[], list[str]]) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise KeyError("request_id")

    ELSEWHERE.handlers[0].addFilter(broken)
    ELSEWHERE.info("hello")

    assert said() == ["hello (this line could not be written as it was meant: KeyError)"]


def test_a_record_factory_that_raises_is_done_without(said: Callable[[], list[str]]) -> None:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(silent_factory)
    try:
        SURE.info("hello %s", "you", extra={"name": "taken"})
    finally:
        logging.setLogRecordFactory(before)

    assert said() == ["hello you"]


def test_a_logger_of_ours_cannot_be_disabled_by_the_way(said: Callable[[], list[str]]) -> None:
    SURE.disabled = True
    SURE.info("hello")

    assert said() == ["hello"]


def test_what_the_reader_does_not_take_is_counted_and_told() -> None:
    taken, go = [], threading.Event()

    def write(data: bytes) -> None:
        go.wait(10)
        taken.append(data.decode())

    outlet = Outlet(write, lambda count: f"{count} lost")
    for number in range(200):
        outlet.put(f"{number} ".ljust(LINE_CHARS_MAX, "x"))
    assert not outlet.flush(0.05)
    go.set()
    assert outlet.flush(10)
    outlet.put("last")
    assert outlet.flush(10)

    lines = "".join(taken).splitlines()
    kept = WAITING_CHARS_MAX // LINE_CHARS_MAX
    assert [line.split()[0] for line in lines if "xxx" in line] == [str(number) for number in range(kept)]
    assert [line for line in lines if "xxx" not in line] in ([f"{200 - kept} lost", "last"], ["last", f"{200 - kept} lost"])


def test_a_line_without_end_is_cut() -> None:
    taken: list[bytes] = []
    outlet = Outlet(taken.append, str)
    outlet.put("x" * (LINE_CHARS_MAX + 1))
    outlet.flush(10)

    assert len(taken[0]) < LINE_CHARS_MAX + 20
    assert taken[0].endswith(" … (cut)\n".encode())


def test_lines_that_cannot_be_written_are_lost_and_told_when_they_can(capfd: pytest.CaptureFixture[str]) -> None:
    taken, broken = [], threading.Event()
    broken.set()

    def write(data: bytes) -> None:
        if broken.is_set():
            raise OSError(28, "No space left on device")
        taken.append(data.decode())

    outlet = Outlet(write, lambda count: f"{count} lost")
    for text in ("one", "two"):
        outlet.put(text)
        outlet.flush(10)
    broken.clear()
    outlet.put("three")
    outlet.flush(10)

    assert "".join(taken) == "three\n2 lost\n"
    assert capfd.readouterr().err.count("No space left on device") == 1


def test_a_descriptor_that_is_full_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    got = bytearray()

    def read() -> None:
        with os.fdopen(reader, "rb") as pipe:
            got.extend(pipe.read())

    reading = threading.Thread(target=read)
    reading.start()
    to_descriptor(writer)(b"x" * 1_000_000)
    os.close(writer)
    reading.join(10)

    assert len(got) == 1_000_000
