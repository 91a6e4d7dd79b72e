"""What the API answers, as values.

They take fields they do not know and do without most they know, so that client and server may be of different versions.
Times are datetimes with their offset, durations are seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from _taskqueue.domain.states import TERMINAL

Seconds = float


class Answer(msgspec.Struct):
    """Base of all answers."""


class Accepted(Answer):
    """A task was accepted."""

    task_id: str
    existing: bool = False
    """nothing new was stored: this task holds, or held, the unique key"""


class Progress(Answer):
    """How far a running attempt says it is."""

    done: float = 0.0
    total: float | None = None
    message: str | None = None
    at: datetime | None = None


class Fault(Answer):
    """What went wrong in a task."""

    type: str = ""
    message: str = ""
    fingerprint: str | None = None
    traceback: str | None = None


class Attempt(Answer):
    """One attempt that ended."""

    number: int
    outcome: str
    started_at: datetime | None = None
    run_seconds: Seconds = 0.0
    worker: str | None = None
    error: Fault | None = None


class Links(Answer):
    """What a task belongs to."""

    rerun_of: str | None = None
    batch: str | None = None


class Task(Answer):
    """One task. What stands in lists has neither result nor attempts."""

    task_id: str
    state: str
    """scheduled, blocked, pending, running, retrying, succeeded, dead, cancelled or expired"""
    task: str | None = None
    queue: str = "default"
    priority: int = 5
    attempt: int = 0
    max_attempts: int | None = None
    crashes: int = 0
    cancel_requested: bool = False
    unroutable: bool = False
    """no live worker knows its name"""
    progress: Progress | None = None
    created_at: datetime | None = None
    next_run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    run_seconds: Seconds | None = None
    worker: str | None = None
    reason: str | None = None
    error: Fault | None = None
    tags: list[str] = []
    meta: dict[str, str] = {}
    unique_key: str | None = None
    payload_preview: str = ""
    payload_bytes: int = 0
    links: Links = msgspec.field(default_factory=Links)
    result: Any = None
    attempts: list[Attempt] = []
    timeout_seconds: Seconds | None = None
    payload: Any = msgspec.UNSET
    """only when it was asked for"""

    @property
    def done(self) -> bool:
        """It has ended, in whatever way."""
        return self.state in TERMINAL

    @property
    def succeeded(self) -> bool:
        """It has ended with a result."""
        return self.state == "succeeded"


class TaskPage(Answer):
    """Some tasks of a list."""

    items: list[Task]
    next_cursor: str | None = None


class BatchItem(Answer):
    """What became of one task of a batch."""

    task_id: str | None = None
    error: dict[str, Any] | None = None


class BatchResults(Answer):
    """What became of each task of a batch, in order."""

    results: list[BatchItem]


class Hold(Answer):
    """One thing that holds a task."""

    kind: str
    detail: str = ""


class Explanation(Answer):
    """Why a task is where it is."""

    task_id: str
    state: str
    summary: str = ""
    position: int | None = None
    """tasks ahead of it in its queue"""
    held_by: list[Hold] = []
    rate_1m: float = 0.0
    """tasks that ended a second, over the last minute"""
    starts_in_seconds: Seconds | None = None
    starts_at: datetime | None = None


class Queue(Answer):
    """One queue."""

    queue: str
    counts: dict[str, int] = {}
    """state → tasks"""
    unroutable: int = 0
    workers: int = 0
    latency_seconds: Seconds = 0.0
    paused: bool = False
    paused_reason: str | None = None
    max_length: int | None = None
    rate_1m: float = 0.0
    """tasks that ended a second, over the last minute"""


class Worker(Answer):
    """One worker process."""

    worker: str
    state: str
    """active, quiet or lost"""
    queues: list[str] = []
    tasks: list[str] = []
    slots: int = 0
    busy: int = 0
    lag_seconds: Seconds = 0.0
    memory_bytes: int = 0
    version: str = ""
    started_at: datetime | None = None
    last_beat_at: datetime | None = None


class Ordered(Answer):
    """An order that the worker finds with its next beat."""

    worker: str
    order: str


class Handler(Answer):
    """One task that live workers know."""

    task: str
    doc: str = ""
    queue: str = "default"
    runs: str = ""
    timeout_seconds: Seconds = 0.0
    max_attempts: int = 0
    parameters: list[str] = []
    schema: dict[str, Any] = {}
    """JSON Schema of its payload; empty when any will do"""


class Failure(Answer):
    """Tasks that fail with the same error now."""

    fingerprint: str
    type: str = ""
    message: str = ""
    task: str | None = None
    tasks: int = 0
    """that fail with it now"""
    occurrences: int = 0
    """attempts that ever failed with it"""
    queues: dict[str, int] = {}
    first_at: datetime | None = None
    last_at: datetime | None = None


class Batch(Answer):
    """How far a batch is."""

    batch_id: str
    total: int = 0
    done: int = 0
    """ended, in whatever way"""
    counts: dict[str, int] = {}
    eta_seconds: Seconds | None = None

    @property
    def ended(self) -> bool:
        """All its tasks have ended."""
        return self.done >= self.total


class Line(Answer):
    """One series of counts."""

    series: str
    queue: str | None = None
    values: list[int] = []


class Stats(Answer):
    """Counts by time; the last value is of a period that is not over."""

    start: datetime | None = None
    step_seconds: Seconds = 0.0
    lines: list[Line] = []


class Advice(Answer):
    """How many workers a queue wants."""

    queue: str
    backlog: int = 0
    latency_seconds: Seconds = 0.0
    running: int = 0
    slots: int = 0
    desired_workers: int = 0


class Operation(Answer):
    """One action on many tasks, and how far it is."""

    action: str
    state: str
    """running, stopping, stopped, finished or dry_run"""
    operation_id: str | None = None
    """None when it was done at once, or only counted"""
    matched: int = 0
    counted: bool = True
    """False: more may be meant than matched"""
    done: int = 0
    failed: int = 0
    skipped: int = 0
    eta_seconds: Seconds | None = None
    caller: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Nothing more will happen."""
        return self.state not in ("running", "stopping")


class Health(Answer):
    """Whether the server can work."""

    status: str
    checks: dict[str, bool] = {}

    @property
    def ok(self) -> bool:
        """It can."""
        return self.status == "ok"


class Version(Answer):
    """What runs there."""

    version: str
    python: str = ""
    roles: list[str] = []


class Session(Answer):
    """Who the caller is, and what the caller may do."""

    name: str
    scopes: list[str] = []
    open: bool = False
    """nobody needs a token there"""


class Setting(Answer):
    """One setting of the server."""

    name: str
    value: Any = None
    source: str = ""


class AuditEntry(Answer):
    """One call that changed something."""

    at: datetime | None = None
    caller: str = ""
    address: str = ""
    method: str = ""
    path: str = ""
    status: int = 0
    request_id: str = ""


class Event(Answer):
    """One live event."""

    name: str
    """stats, queue, task, progress, worker, operation, busy or reset"""
    data: dict[str, Any]
    id: str = ""
