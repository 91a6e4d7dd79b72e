"""How log lines look: columns for people on a terminal, JSON for machines elsewhere; one event a line."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

from _taskqueue.outlet import Outlet, flush_outlets, to_descriptor

STDOUT = 1
LAST_WORDS_S = 0.3
TEXT_CHARS_MAX = 8_192

FIELDS = ("event", "task_id", "task", "queue", "attempt", "outcome", "duration_s", "error_type")
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": _clipped(record.getMessage()),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["traceback"] = _clipped(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _clipped(text: str) -> str:
    """Within what an outlet takes as one line, so that it stays JSON."""
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[: TEXT_CHARS_MAX // 2]} … (cut) … {text[-TEXT_CHARS_MAX // 2 :]}"


class Columns(logging.Formatter):
    """Time, level, task, message."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        task_id, task = getattr(record, "task_id", None), getattr(record, "task", None)
        about = f"{task} {task_id}  " if task_id else ""
        text = f"{time} {record.levelname.lower():7} {about}{record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        colour = _COLOURS.get(record.levelname) if self._colour else None
        return f"{colour}{text}\x1b[0m" if colour else text


class ToOutlet(logging.Handler):
    """Hands lines to an outlet. Raises nothing, whatever the record holds, and takes no lock while it calls the record's code."""

    def __init__(self, outlet: Outlet, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.outlet = outlet
        self.last: logging.LogRecord | None = None
        """the record that came last"""

    def handle(self, record: logging.LogRecord) -> bool:
        self.last = record
        try:
            found = self.filter(record)
        except BaseException as error:  # noqa: BLE001 - a filter of the user's
            self._replace(record, error)
            return True
        if found:
            self.emit(found if isinstance(found, logging.LogRecord) else record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except BaseException as error:  # noqa: BLE001 - __str__ of what was logged may raise anything
            self._replace(record, error)
        else:
            self.outlet.put(line)

    def _replace(self, record: logging.LogRecord, error: BaseException) -> None:
        """Say at least that there was something to say."""
        said = record.msg if type(record.msg) is str else type(record.msg).__name__
        text = f"{said} (this line could not be written as it was meant: {type(error).__name__})"
        plain = logging.LogRecord(str(record.name), logging.ERROR, record.pathname, record.lineno, text, None, None)
        self.outlet.put(self.format(plain))


class SureLogger(logging.Logger):
    """A logger of ours: nobody disables it by the way, and what others hang onto logging does not raise into our code."""

    @property
    def disabled(self) -> bool:
        """Never: ``logging.config.dictConfig`` sets this on all loggers that it is not told of."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Stay as it is."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name that logging gave it
        """By our own levels: ``logging.disable`` is for others."""
        return level >= self.getEffectiveLevel()

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging gave it
        """Ours first, also when somebody has taken it away."""
        if _ours is not None and _ours not in logging.root.handlers:
            _ours.handle(record)
            if not self.hasHandlers():
                return
        super().callHandlers(record)

    def makeRecord(  # noqa: N802 - the name that logging gave it
        self, name: str, level: int, fn: str, lno: int, msg: object, args: Any, exc_info: Any, *more: Any, **named: Any
    ) -> logging.LogRecord:
        try:
            return super().makeRecord(name, level, fn, lno, msg, args, exc_info, *more, **named)
        except BaseException:  # noqa: BLE001 - a record factory of the user's
            return logging.LogRecord(name, level, fn, lno, msg, args, exc_info)

    def handle(self, record: logging.LogRecord) -> None:
        try:
            super().handle(record)
        except BaseException as error:  # noqa: BLE001 - a filter or handler of the user's
            if _ours is not None and _ours.last is not record:
                _ours.emit(record)
            tell(logging.ERROR, f"a logging filter or handler failed: {type(error).__name__}")


_ours: ToOutlet | None = None
"""Where lines go that must not pass through what others hang onto logging."""


def set_up_logs(level: str, style: str) -> None:
    """Send all logs of this process to standard output.

    Args:
        style: console, json, or auto: console when standard output is a terminal.
    """
    global _ours  # noqa: PLW0603 - logging itself is global
    terminal = sys.stdout is not None and sys.stdout.isatty()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a handler may print what no encoding can hold
    console = style == "console" or (style == "auto" and terminal)
    formatter = Columns(terminal) if console else JsonLines()
    _ours = ToOutlet(Outlet(to_descriptor(STDOUT), partial(_say_lost, formatter)), formatter)
    logging.basicConfig(level=level.upper(), handlers=[_ours], force=True)
    for noisy in ("asyncio", "quart", "taskqueue.http.server"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def secure_loggers() -> None:
    """Make sure that the loggers of the queue are heard, whatever handlers and their libraries do to logging."""
    for name, found in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] == "taskqueue" and type(found) is logging.Logger:
            found.__class__ = SureLogger


def tell(level: int, text: str) -> None:
    """Write a line past everything that others hang onto logging; waits for nobody."""
    if _ours is not None:
        _ours.emit(logging.LogRecord("taskqueue", level, "", 0, text, None, None))


def last_words(status: int) -> None:
    """Say that the process is ended from outside its own order, and wait a moment for that to be read."""
    tell(logging.ERROR, f"what was to stop did not stop in time; leaving with status {status}")
    flush_outlets(LAST_WORDS_S)


def _say_lost(formatter: logging.Formatter, count: int) -> str:
    text = f"{count} log lines were lost: nobody read them"
    return formatter.format(logging.LogRecord("taskqueue.logs", logging.WARNING, "", 0, text, None, None))
