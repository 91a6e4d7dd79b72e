"""Errors of handlers as text. Nothing here trusts them: their classes may do anything when they are looked at."""

from __future__ import annotations

import traceback
from types import TracebackType

from _taskqueue.domain.task import TRACEBACK_CHARS_MAX, Failure, clip, clip_failure, message_of

PART_CHARS_MAX = 2_000
"""Of one message or frame of a traceback, so that a long message leaves room for the frames."""
OURS = "_taskqueue"


def describe(error: BaseException) -> Failure:
    """An error as kept text: its own frames, not the worker's. Says so when it cannot be described."""
    try:
        return clip_failure(Failure(type(error).__qualname__, message_of(error), text_of(error, _own_frames(error.__traceback__))))
    except BaseException as second:  # noqa: BLE001 - the error's own code failed, with whatever it raised
        return Failure(_name_of(type(error)), f"its error cannot be described: {_name_of(type(second))}")


def text_of(error: BaseException, trace: TracebackType | None) -> str:
    """The traceback with what caused it, each part clipped for itself."""
    whole = traceback.TracebackException(type(error), error, trace)
    return clip("".join(_clipped(part) for part in whole.format()), TRACEBACK_CHARS_MAX)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and OURS in trace.tb_frame.f_code.co_filename and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _clipped(part: str) -> str:
    if len(part) <= PART_CHARS_MAX:
        return part
    half = PART_CHARS_MAX // 2
    return f"{part[:half]} … {len(part) - 2 * half} characters left out … {part[-half:]}"


def _name_of(kind: type[BaseException]) -> str:
    return str(type.__getattribute__(kind, "__name__"))
