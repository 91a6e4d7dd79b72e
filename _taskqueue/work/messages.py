"""What a worker and the process of a ``process=True`` handler say to each other: frames of MessagePack on a socket pair.

Only plain values cross the border, so an exception that cannot be pickled harms nobody; what is no frame ends the process.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from _taskqueue.domain.task import Claim, Failure
from _taskqueue.tasks.folders import Home

FRAME_BYTES_MAX = 64 * 1024 * 1024
RESULT_BYTES_MAX = FRAME_BYTES_MAX // 2
"""More than any result, checkpoint or payload that the limits allow."""
HEAD_BYTES = 8
"""The length of what follows, and the number of the attempt that it is about: what an attempt left running may speak later."""
EndKind = Literal["ok", "retry", "discard", "cancel", "payload", "unfit", "error"]


class Start(msgspec.Struct, tag=True):
    """Run this task. To the child."""

    home: Home
    task: str
    claim: Claim
    max_attempts: int
    worker: str
    remaining_s: float
    end_mark: str
    """written to standard output when the handler has ended, so that nothing it printed is missed"""


class Stop(msgspec.Struct, tag=True):
    """The task is asked to stop. To the child."""


class Answer(msgspec.Struct, tag=True):
    """What became of a request. To the child."""

    number: int
    value: str | None = None
    error: str | None = None


class Ready(msgspec.Struct, tag=True):
    """The process is up. To the worker."""


class Line(msgspec.Struct, tag=True):
    """A line for the task's log. To the worker."""

    text: str


class Logged(msgspec.Struct, tag=True):
    """A record of the standard library's logging. To the worker."""

    logger: str
    level: int
    text: str


class Reported(msgspec.Struct, tag=True):
    """Progress. To the worker."""

    done: int | float
    total: int | float | None
    message: str | None


class Asked(msgspec.Struct, tag=True):
    """A request that wants an answer: keep a checkpoint, or submit a task. To the worker."""

    number: int
    saved: bytes | None = None
    task: str = ""
    payload: bytes = b""
    is_text: bool = False
    options: dict[str, Any] = {}


class Ended(msgspec.Struct, tag=True):
    """How the call ended. To the worker."""

    kind: EndKind
    result: bytes | None = None
    failure: Failure | None = None
    after: float | None = None
    count: bool = True


ToChild = Start | Stop | Answer
ToWorker = Ready | Line | Logged | Reported | Asked | Ended

encode = msgspec.msgpack.Encoder().encode
decode_for_child = msgspec.msgpack.Decoder(ToChild).decode
decode_for_worker = msgspec.msgpack.Decoder(ToWorker).decode


def framed(message: ToChild | ToWorker, attempt: int) -> bytes:
    """The message behind its head."""
    body = encode(message)
    return len(body).to_bytes(4, "big") + attempt.to_bytes(4, "big") + body


def read_head(head: bytes) -> tuple[int, int]:
    """The length of a message, and the number of its attempt."""
    return int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
