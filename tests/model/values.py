"""The values of the model: a wish, a task with its past, a claim, a report, a key."""

from __future__ import annotations

from dataclasses import dataclass, field

from _taskqueue.domain.states import TERMINAL, State

WAITING = (State.PENDING, State.SCHEDULED, State.RETRYING)


@dataclass(frozen=True)
class Wish:
    """What a submission asks for."""

    id: str
    priority: int = 5
    delay: int = 0
    run_at: int | None = None
    """the time, instead of a delay"""
    expires_in: int | None = None
    retain: int | None = None
    tags: tuple[str, ...] = ()
    batch: str = ""
    key: str = ""
    """the unique key, held while its holder lives, or for a time whatever the holder does, or until either ends"""
    for_a_time: bool = False
    key_ms: int | None = None
    on_conflict: str = "return"

    @property
    def is_plain(self) -> bool:
        """Plain ones go first in a call."""
        return not (self.key or self.tags or self.batch or self.retain is not None)


@dataclass(frozen=True)
class Claim:
    """A task in the hands of a lease."""

    lease: str
    started: bool
    """or only prefetched, which a lost worker cannot have crashed on"""
    alone: bool
    """nothing else ran beside it, so it must be what its worker was lost for"""
    attempt: int
    crashes: int
    since: int
    at: int
    """where the task stood, and stands again when it is given back"""


@dataclass(frozen=True)
class Report:
    """What a worker says of a task it holds, other than that it succeeded."""

    verb: str
    id: str
    delay: int = 0
    fault: str = ""


@dataclass
class Task:
    """One task and its whole past."""

    id: str
    wish: Wish
    state: State
    at: int
    """ready time less the head start, or due time, or time of the end; while it runs nothing"""
    priority: int
    tags: tuple[str, ...]
    deadline: int | None
    arrival: int | None = None
    """its number among the pending tasks that no worker knows"""
    claim: Claim | None = None
    asked: bool = False
    """to cancel, while it runs"""
    past: bool = False
    """it failed, or lost a worker, or its worker was lost before it started"""
    failed: int = 0
    crashes: int = 0
    logs: set[int] = field(default_factory=set)
    progressed: bool = False
    checkpoint: bool = False
    told: bool = False
    """its outcome is kept"""
    fault: str = ""
    forget_at: int | None = None

    @property
    def lives(self) -> bool:
        return self.state not in TERMINAL

    @property
    def waits(self) -> bool:
        return self.state in WAITING


@dataclass(frozen=True)
class Key:
    """A unique key in use."""

    holder: str
    for_a_time: bool
    until: int | None
