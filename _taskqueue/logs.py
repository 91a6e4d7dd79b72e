"""How log lines look: columns for people on a terminal, JSON for machines elsewhere; one event a line."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime

FIELDS = ("event", "task_id", "task", "queue", "attempt", "outcome", "duration_s", "error_type")
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


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


def set_up_logs(level: str, style: str) -> None:
    """Send all logs of this process to standard output.

    Args:
        style: console, json, or auto: console when standard output is a terminal.
    """
    terminal = sys.stdout.isatty()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a handler may log what no encoding can hold
    console = style == "console" or (style == "auto" and terminal)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Columns(terminal) if console else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("asyncio", "quart", "taskqueue.http.server"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
