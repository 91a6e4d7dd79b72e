"""The log lines about tasks: each one while that is readable, a sum beyond that.

A line costs 5 µs, more than running a small task does; at more than LINES_MAX a second nobody reads them either.
"""

from __future__ import annotations

import logging
import time

from _taskqueue.domain.task import Failure
from _taskqueue.tasks.context import Context

LINES_MAX = 50
"""Lines a second, of each kind."""

log = logging.getLogger("taskqueue.task")


class FinishLog:
    """Says which tasks ended and how.

    Args:
        level: ``errors`` (only failures), ``finish`` (every end), ``all`` (starts too).
    """

    def __init__(self, level: str) -> None:
        self._all = level == "all"
        self._successes = level != "errors"
        self._second = 0
        self._said = 0
        self._unsaid = 0

    def started(self, context: Context) -> None:
        if self._all:
            log.info("started", extra=_fields(context, "task.started"))

    def succeeded(self, context: Context, took_s: float) -> None:
        if self._successes and self._may_speak():
            log.info("succeeded in %s", _short(took_s), extra=_fields(context, "task.finished", took_s, "ok"))

    def failed(self, context: Context, verb: str, delay_s: float, reason: str, failure: Failure, took_s: float) -> None:
        if not self._may_speak():
            return
        fields = _fields(context, "task.finished", took_s, verb) | {"error_type": failure.type}
        said = f"{failure.type}: {_first_line(failure.message)}"
        if verb == "retry":
            log.warning(
                "failed with %s; attempt %d of %d, next in %s", said, context.attempt, context.max_attempts, _short(delay_s), extra=fields
            )
        elif verb == "dead":
            log.error("dead (%s): %s", reason, said, extra=fields)
        elif verb == "snooze":
            log.info("snoozed, back in %s", _short(delay_s), extra=fields)
        else:
            log.info("cancelled", extra=fields)

    def _may_speak(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._unsaid:
                log.info("and %d more tasks ended", self._unsaid, extra={"event": "task.sum"})
            self._second, self._said, self._unsaid = second, 0, 0
        self._said += 1
        if self._said > LINES_MAX:
            self._unsaid += 1
            return False
        return True


def _fields(context: Context, event: str, took_s: float | None = None, outcome: str | None = None) -> dict[str, object]:
    fields: dict[str, object] = {
        "event": event, "task_id": context.id, "task": context.task, "queue": context.queue, "attempt": context.attempt,
    }  # fmt: skip
    if took_s is not None:
        fields |= {"duration_s": round(took_s, 6), "outcome": outcome}
    return fields


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:200]


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
