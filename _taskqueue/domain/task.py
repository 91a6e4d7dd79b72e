"""The values that travel between the floors: what was submitted, what a claim is, how an attempt ended."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Any

import msgspec

from _taskqueue.domain.backoff import Backoff

PRIORITY_DEFAULT = 5
PRIORITY_MAX = 9
MAX_ATTEMPTS_DEFAULT = 5
MAX_ATTEMPTS_MAX = 1_000
TIMEOUT_DEFAULT_S = 60.0
MAX_CRASHES_DEFAULT = 3
QUEUE_DEFAULT = "default"

ERROR_TYPE_CHARS_MAX = 200
ERROR_MESSAGE_CHARS_MAX = 4_096
TRACEBACK_CHARS_MAX = 16_384
FINGERPRINT_CHARS = 12
SAMPLE_CHARS_MAX = 500

QUEUE_NAME = re.compile(r"(?=[_.-]*[a-z0-9])[a-z0-9_.-]{1,64}", re.ASCII)
"""With a letter or digit: who asks for ``/queues/..`` is sent to ``/`` by every client (RFC 3986, 5.2.4)."""
QUEUE_NAME_RULE = "1 to 64 of a-z, 0-9, _ . -, at least one a letter or digit"
TASK_NAME = re.compile(r"(?=[_.:-]*[A-Za-z0-9])[A-Za-z0-9_.:-]{1,128}", re.ASCII)
TASK_NAME_RULE = "1 to 128 letters, digits, _ . : -, at least one a letter or digit"


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One submission, unchanged for the life of the task. Stored as packed bytes that no script reads.

    None in a policy field means that the handler's own policy holds, which only a worker knows.
    """

    task: str
    """handler name; empty means the worker's default task"""
    is_text: bool
    """the payload came as a JSON string"""
    priority: int = PRIORITY_DEFAULT
    timeout_s: float | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    expires_in_ms: int | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    batch: str = ""
    unique_key: str = ""
    rerun_of: str = ""
    payload: bytes = b""
    """the payload's text: a JSON string's own characters, or the JSON of anything else; last, so that a list can leave it out"""

    @property
    def labels(self) -> list[str]:
        """What its queue's index of labels holds for it."""
        found = [f"t:{tag}" for tag in self.tags] + [f"m:{key}={value}" for key, value in self.meta.items()]
        return [*found, f"b:{self.batch}"] if self.batch else found


UNREADABLE = Record("(unreadable)", False)
"""Stands for a record that this release cannot read. No handler can have its name, so its task waits for one that can."""


class Unique(msgspec.Struct, frozen=True):
    """A key that only one task holds at a time."""

    key: str
    ttl_ms: int | None = None
    mode: str = "active"
    """active: until its holder ends; ttl: for a time, whatever its holder does"""
    on_conflict: str = "return"
    """return the holder's id, reject, or replace it while it waits"""


class Submission(msgspec.Struct, frozen=True):
    """A record on its way to a queue."""

    record: Record
    queue: str = QUEUE_DEFAULT
    delay_ms: int = 0
    """how long after the store's now it becomes pending"""
    run_at_ms: int | None = None
    """or the absolute time, by the store's clock"""
    expires_in_ms: int | None = None
    unique: Unique | None = None
    retain_ms: int | None = None
    """forget it so long after its end"""


class Ending(StrEnum):
    """How one attempt ended (a task has a state, an attempt has an ending)."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    RELEASED = "released"
    SNOOZED = "snoozed"


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """What went wrong, as text: nothing read back from the store ever selects code to run."""

    type: str
    message: str
    traceback: str = ""


class TaskInfo(msgspec.Struct, frozen=True):
    """What a worker tells about a task it knows."""

    name: str
    doc: str
    queue: str
    where: str
    timeout_s: float
    max_attempts: int
    parameters: tuple[str, ...]
    schema: dict[str, Any]
    """JSON Schema of the payloads it takes; empty when any will do"""
    redact: bool | tuple[str, ...] = False
    """fields of the payload that nobody may see; True for all of it"""


class FailureSample(msgspec.Struct, frozen=True):
    """What describes a group of equal errors."""

    task: str
    type: str
    message: str


class Attempt(msgspec.Struct, array_like=True, frozen=True):
    """One finished attempt, kept with the task."""

    number: int
    """1, 2, …: counts every start that ended in a failure or a loss"""
    ending: str
    started_ms: int
    run_ms: int
    worker: str
    failure: Failure | None = None


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """How a task ended, written once with its terminal state."""

    attempt: int
    started_ms: int
    run_ms: int
    worker: str
    result: bytes | None = None
    """JSON, for succeeded tasks whose handler returned something"""
    reason: str = ""
    """for dead ones: attempts, not_retryable, discarded, invalid_payload, unfit_result, poison"""
    failure: Failure | None = None


class Claim(msgspec.Struct):
    """One task a worker holds: the record, and what the store says of its past."""

    id: bytes
    record: Record
    ready_ms: int
    attempt: int = 1
    """counts against ``max_attempts``"""
    crashes: int = 0
    lease: str = ""
    queue: str = QUEUE_DEFAULT
    checkpoint: bytes | None = None

    @property
    def number(self) -> int:
        """Which start of the task this is, crashes included."""
        return self.attempt + self.crashes


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far a running attempt says it is."""

    done: float
    total: float | None
    message: str | None
    at_ms: int


def clip(text: str, chars_max: int) -> str:
    """The text within a limit, its end kept: errors say what matters last."""
    if len(text) <= chars_max:
        return text
    return "… " + text[-(chars_max - 2) :]


def clip_failure(failure: Failure) -> Failure:
    """A failure within its limits, and of characters that can be stored: file names may hold lone surrogates."""
    return Failure(
        _storable(failure.type)[:ERROR_TYPE_CHARS_MAX],
        clip(_storable(failure.message), ERROR_MESSAGE_CHARS_MAX),
        clip(_storable(failure.traceback), TRACEBACK_CHARS_MAX),
    )


_VARYING = re.compile(r"0x[0-9a-fA-F]+|'[^']*'|\"[^\"]*\"|[0-9a-fA-F-]{12,}|[0-9]+")


def fingerprint_of(task: str, failure: Failure) -> str:
    """The same for errors that a person would call the same: type, message without its varying parts, and place."""
    places = re.findall(r'File "([^"]*)", line \d+, in (\S+)', failure.traceback)
    place = ":".join(places[-1]) if places else ""
    said = _VARYING.sub("#", failure.message)[:200]
    return hashlib.sha256("\0".join((task, failure.type, said, place)).encode()).hexdigest()[:FINGERPRINT_CHARS]


def fault_of(task: str, failure: Failure) -> str:
    """The fault that scripts take: the fingerprint and the JSON that describes the group."""
    sample = FailureSample(task, failure.type, failure.message[:SAMPLE_CHARS_MAX])
    return f"{fingerprint_of(task, failure)} {msgspec.json.encode(sample).decode()}"


def message_of(error: BaseException) -> str:
    """An exception's text, even when its own ``__str__`` fails."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - whatever the user's class does, sys.exit() included
        return "(its text cannot be shown)"


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode()
