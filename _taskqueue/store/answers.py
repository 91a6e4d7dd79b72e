"""The values that the store's verbs take and give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from _taskqueue.domain.errors import StoreUnavailable
from _taskqueue.domain.ids import created_ms_of
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Claim, Outcome, Progress, Record
from _taskqueue.store import wire


@dataclass(slots=True)
class Exchange:
    """What a worker tells the store in one call, and what it asks for."""

    limit: int
    slots: int
    """how many of the claimed start at once; the rest is prefetched"""
    succeeded: list[Any] = field(default_factory=list)
    """id, packed outcome, id, packed outcome, …"""
    reports: list[Any] = field(default_factory=list)
    """verb, id, number, text, text, fault, … for everything else"""
    turn: int = 0
    """grows from call to call of a lease, and stays when one is sent again; 0: never a repetition"""


@dataclass(slots=True)
class Answer:
    """What the store answers to an Exchange."""

    now_ms: int
    due_in_us: int
    """-1: nothing waits for its time"""
    holding: int
    newest_unroutable: int
    late_ms: int
    refused: list[bytes]
    cancel: list[bytes]
    paused: bool
    claims: list[Claim]
    suspects: list[Claim]
    """lost so often that they must run alone: held, but not started"""
    missing: list[bytes]


def worker_of_lease(lease: str) -> str:
    """The process behind a lease, which is the worker's name, a slash and its secret."""
    return lease.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Held:
    """A running task as its index shows it."""

    id: bytes
    value: bytes
    lease: str
    started: bool
    alone: bool
    attempt: int
    crashes: int
    claimed_ms: int

    @property
    def worker(self) -> str:
        """The process that holds it."""
        return worker_of_lease(self.lease)

    @classmethod
    def read(cls, task_id: bytes, value: bytes) -> Held:
        lease, flag, attempt, crashes, claimed, _ = value.decode().split("|")
        return cls(task_id, value, lease, flag in "sa", flag == "a", int(attempt), int(crashes), int(claimed))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task whose worker was lost."""

    held: Held
    verdict: str
    """pending, retry or dead"""
    delay_ms: int
    priority: int
    attempt: Attempt
    outcome: Outcome | None = None
    fault: str = ""
    """fingerprint and sample of its error group"""


@dataclass(frozen=True, slots=True)
class Sight:
    """All there is about one task at one moment."""

    id: str
    queue: str
    now_ms: int
    state: State
    record: Record
    score: float | None
    held: Held | None
    failed_attempts: int
    crashes: int
    outcome: Outcome | None
    progress: Progress | None
    cancel_asked: bool
    attempts: list[Attempt]
    """all of them, or in a list only the last"""
    fingerprint: str = ""
    unroutable: bool = False
    cut_bytes: int = 0
    """how many bytes of the payload were left out of the record"""

    @property
    def created_ms(self) -> int:
        """When its id was made, milliseconds since 1970."""
        return created_ms_of(self.id)


@dataclass(frozen=True, slots=True)
class Count:
    """How many tasks of a queue are in which state."""

    queue: str
    now_ms: int
    states: dict[str, int]
    unroutable: int
    workers: int
    next_score: float | None
    next_record: Record | None
    settings: Mapping[str, str] = field(default_factory=dict)
    recent: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """series → counts in this minute and in the two before"""

    @property
    def rate_s(self) -> float:
        """Tasks ended a second over the last minute: this minute's, and the rest from the one before."""
        part = self.now_ms % 60_000 / 60_000
        return sum((self.recent[name][0] + self.recent[name][1] * (1 - part)) / 60 for name in ("succeeded", "dead"))

    def latency_s(self, head_start_ms: int) -> float:
        """Age of the next pending task in seconds; 0 when none is pending."""
        if self.next_score is None or self.next_record is None:
            return 0.0
        return max(0.0, (self.now_ms - self.next_score - self.next_record.priority * head_start_ms) / 1000)

    @property
    def backlog(self) -> int:
        """Tasks that a free slot could start now."""
        return self.states["pending"] - self.unroutable


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a submission was not stored."""

    why: str
    """full, duplicate (the holder of its unique key answers for it) or conflict"""
    holder: str = ""
    state: State | None = field(default=None, compare=False)
    """of the holder; None when it is forgotten"""
    until_ms: int | None = field(default=None, compare=False)
    """when the key is free whatever its holder does; None when that is with its end"""


def read_denials(words: list[bytes]) -> dict[str, Denial]:
    """Task id → why it was not accepted, from the reply of the script ``submit``."""
    rows = (words[at : at + 5] for at in range(0, len(words), 5))
    return {
        task_id.decode(): Denial(
            why.decode(), holder.decode(), State(state.decode()) if state else None, int(float(until)) if until else None
        )
        for task_id, why, holder, state, until in rows
    }


def pack_number(delay_ms: int, priority: int) -> int:
    """A delay and a priority in the one number that the scripts take."""
    return delay_ms * 16 + priority


RECENT = ("submitted", "claimed", "succeeded", "retried", "dead")


def read_count(queue: str, reply: list[Any]) -> Count:
    """The reply of the script ``count``."""
    now, scheduled, pending, unroutable, running, retrying, succeeded, dead, cancelled, expired, *rest = reply
    workers, score, head, length, settings, recent = rest
    states = {
        "scheduled": scheduled, "blocked": 0, "pending": pending + unroutable, "running": running, "retrying": retrying,
        "succeeded": succeeded, "dead": dead, "cancelled": cancelled, "expired": expired,
    }  # fmt: skip
    return Count(
        queue, now, states, unroutable, workers, float(score) if score else None,
        wire.decode_cut(head, length) if head else None,
        {name.decode(): value.decode() for name, value in pairs(settings)},
        {name: recent[at * 3 : at * 3 + 3] for at, name in enumerate(RECENT)},
    )  # fmt: skip


def read_sight(task_id: str, queue: str, reply: list[Any]) -> Sight:
    """The reply of the script ``inspect``."""
    now, record, state, score, claim, tries, outcome, progress, asked, attempts, fingerprint, unroutable = reply
    if not state:
        raise StoreUnavailable(f"{task_id} has a record but is in no state; something else changed its keys")
    return _sight(
        task_id, queue, now, wire.decode_record(record), 0, state, score, claim, tries, outcome,
        [entry for entry in attempts if entry], progress, asked, fingerprint, unroutable,
    )  # fmt: skip


LOOK_FIELDS = 11


def read_looks(ids: Sequence[str], queue: str, reply: list[Any]) -> list[Sight | None]:
    """The reply of the script ``look``, in the order of the ids."""
    now, *flat = reply
    rows = [flat[at : at + LOOK_FIELDS] for at in range(0, len(flat), LOOK_FIELDS)]
    return [_read_look(task_id, queue, now, row) for task_id, row in zip(ids, rows, strict=True)]


def _read_look(task_id: str, queue: str, now: int, row: list[Any]) -> Sight | None:
    part, length, state, seen, unroutable, tries, outcome, last, progress, asked, fingerprint = row
    if not part:
        return None
    score, claim = (b"", seen) if state == b"running" else (b"" if unroutable else seen, b"")
    return _sight(
        task_id, queue, now, wire.decode_cut(part, length), max(0, length - len(part)), state, score, claim, tries, outcome,
        [last] if last else [], progress, asked, fingerprint, unroutable,
    )  # fmt: skip


def _sight(
    task_id: str, queue: str, now: int, record: Record, cut: int, state: bytes, score: bytes, claim: bytes, tries: bytes,
    outcome: bytes, attempts: list[bytes], progress: bytes, asked: int, fingerprint: bytes, unroutable: int,
) -> Sight:  # fmt: skip
    failed, crashes = (int(part) for part in tries.split(b"|")) if tries else (0, 0)
    return Sight(
        id=task_id,
        queue=queue,
        now_ms=now,
        state=State(state.decode()),
        record=record,
        score=float(score) if score else None,
        held=Held.read(task_id.encode(), claim) if claim else None,
        failed_attempts=failed,
        crashes=crashes,
        outcome=wire.decode_outcome(outcome) if outcome else None,
        progress=wire.decode_progress(progress) if progress else None,
        cancel_asked=bool(asked),
        attempts=[wire.decode_attempt(entry) for entry in attempts],
        fingerprint=fingerprint.decode(),
        unroutable=bool(unroutable),
        cut_bytes=cut,
    )


def pairs(flat: Any) -> Iterable[tuple[bytes, bytes]]:
    """Field and value, from the flat shape of RESP2 or the map of RESP3."""
    return flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)


def score_pairs(flat: list[Any]) -> list[tuple[bytes, float]]:
    """Members with scores, from the flat shape of RESP2 or the nested one of RESP3."""
    if flat and isinstance(flat[0], (list, tuple)):
        return [(member, float(score)) for member, score in flat]
    return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]
