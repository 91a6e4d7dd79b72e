"""The JSON of every answer, as types: what is encoded here is what the OpenAPI document describes.

snake_case; times in RFC 3339 UTC with milliseconds; durations in seconds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import Attempt, Failure
from _taskqueue.store.answers import Count, Sight
from _taskqueue.store.browse import Group, worker_of
from _taskqueue.terms import EPOCH, TIME_MAX_MS

PREVIEW_CHARS = 200

Time = Annotated[str, msgspec.Meta(description="RFC 3339, UTC, with milliseconds", extra_json_schema={"format": "date-time"})]
Seconds = Annotated[float, msgspec.Meta(description="seconds")]


def show_time(ms: float | None) -> str | None:
    """Milliseconds since 1970 as RFC 3339."""
    if not ms:
        return None
    at = EPOCH + timedelta(milliseconds=min(int(ms), TIME_MAX_MS))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Accepted(msgspec.Struct, omit_defaults=True):
    """A task was accepted."""

    task_id: str
    existing: bool = False
    """nothing new was stored: this task holds, or held, the unique key, and stands for the submission"""


class ProgressView(msgspec.Struct):
    """How far a running attempt says it is."""

    done: float
    total: float | None
    message: str | None
    at: Time | None


class ErrorView(msgspec.Struct):
    """What went wrong."""

    type: str
    message: str
    fingerprint: str | None = None
    traceback: str | None = None


class AttemptView(msgspec.Struct):
    """One attempt that ended."""

    number: int
    outcome: str
    started_at: Time | None
    run_seconds: Seconds
    worker: str | None
    error: ErrorView | None


class Links(msgspec.Struct):
    """What a task belongs to."""

    rerun_of: str | None
    batch: str | None


class TaskView(msgspec.Struct):
    """One task."""

    task_id: str
    task: str | None
    queue: str
    state: State
    priority: int
    attempt: int
    max_attempts: int | None
    crashes: int
    cancel_requested: bool
    unroutable: bool
    progress: ProgressView | None
    created_at: Time | None
    next_run_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    run_seconds: Seconds | None
    worker: str | None
    reason: str | None
    error: ErrorView | None
    tags: tuple[str, ...]
    meta: dict[str, str]
    unique_key: str | None
    payload_preview: str
    payload_bytes: int
    links: Links
    payload: Any = msgspec.UNSET
    """with ?fields=payload; in a list not of payloads that are cut"""


class TaskDetail(TaskView, kw_only=True):
    """One task with its result and attempts."""

    result: Any
    attempts: list[AttemptView]
    timeout_seconds: Seconds | None


class TaskPage(msgspec.Struct):
    """Some tasks of a list."""

    items: list[TaskView]
    next_cursor: str | None
    scanned: int
    complete: bool


def show_task(sight: Sight, *, payload: bool = False) -> TaskView:
    """One task, as a list shows it."""
    return TaskView(**_common(sight, payload=payload and not sight.cut_bytes))


def show_detail(sight: Sight, *, payload: bool = False) -> TaskDetail:
    """One task with all there is about it."""
    outcome = sight.outcome
    return TaskDetail(
        **_common(sight, payload=payload),
        result=msgspec.Raw(outcome.result) if outcome and outcome.result is not None else None,
        attempts=[show_attempt(one) for one in sight.attempts],
        timeout_seconds=sight.record.timeout_s,
    )


def show_payload(sight: Sight) -> Any:
    """The payload as it was sent: a JSON string, or the JSON of anything else."""
    record = sight.record
    return record.payload.decode(errors="replace") if record.is_text else msgspec.Raw(record.payload)


def _common(sight: Sight, *, payload: bool) -> dict[str, Any]:
    record, outcome, held = sight.record, sight.outcome, sight.held
    started_ms = outcome.started_ms if outcome else held.claimed_ms if held and held.started else None
    finished_ms = sight.score if sight.state in TERMINAL else None
    due_ms = int(sight.score) if sight.score and sight.state in (State.SCHEDULED, State.RETRYING) else None
    return {
        "task_id": sight.id,
        "task": record.task or None,
        "queue": sight.queue,
        "state": sight.state,
        "priority": record.priority,
        "attempt": _attempt(sight),
        "max_attempts": record.max_attempts,
        "crashes": sight.crashes,
        "cancel_requested": sight.cancel_asked,
        "unroutable": sight.unroutable,
        "progress": _progress(sight),
        "created_at": show_time(sight.created_ms),
        "next_run_at": show_time(due_ms),
        "started_at": show_time(started_ms),
        "finished_at": show_time(finished_ms),
        "run_seconds": outcome.run_ms / 1000 if outcome else None,
        "worker": worker_of(sight) or None,
        "reason": outcome.reason or None if outcome else None,
        "error": _error(sight),
        "tags": record.tags,
        "meta": record.meta,
        "unique_key": record.unique_key or None,
        "payload_preview": record.payload[: PREVIEW_CHARS * 4].decode(errors="replace")[:PREVIEW_CHARS],
        "payload_bytes": len(record.payload),
        "payload": show_payload(sight) if payload else msgspec.UNSET,
        "links": Links(record.rerun_of or None, record.batch or None),
    }


def _attempt(sight: Sight) -> int:
    if sight.outcome:
        return sight.outcome.attempt
    return sight.held.attempt if sight.held else sight.failed_attempts


def _progress(sight: Sight) -> ProgressView | None:
    found = sight.progress
    return ProgressView(found.done, found.total, found.message, show_time(found.at_ms)) if found else None


def _error(sight: Sight) -> ErrorView | None:
    if sight.state in (State.SUCCEEDED, State.CANCELLED):
        return None
    failure = sight.outcome.failure if sight.outcome else sight.attempts[-1].failure if sight.attempts else None
    return ErrorView(failure.type, failure.message, sight.fingerprint or None) if failure else None


def show_attempt(attempt: Attempt) -> AttemptView:
    """One attempt that ended."""
    failure: Failure | None = attempt.failure
    return AttemptView(
        attempt.number, attempt.ending, show_time(attempt.started_ms), attempt.run_ms / 1000, attempt.worker or None,
        ErrorView(failure.type, failure.message, None, failure.traceback) if failure else None,
    )  # fmt: skip


class QueueView(msgspec.Struct):
    """One queue."""

    queue: str
    counts: dict[str, int]
    unroutable: int
    workers: int
    latency_seconds: Seconds
    paused: bool
    paused_reason: str | None
    max_length: int | None
    rate_1m: Annotated[float, msgspec.Meta(description="tasks ended a second, over the last minute")]


class QueuePage(msgspec.Struct):
    """All queues."""

    items: list[QueueView]


def show_queue(count: Count, head_start_ms: int) -> QueueView:
    """One queue."""
    limit = count.settings.get("max_length")
    return QueueView(
        count.queue, count.states, count.unroutable, count.workers, round(count.latency_s(head_start_ms), 3),
        "paused" in count.settings, count.settings.get("paused", "").strip() or None, int(limit) if limit else None, round(count.rate_s, 3),
    )  # fmt: skip


class GroupView(msgspec.Struct):
    """Tasks that fail with the same error now."""

    fingerprint: str
    type: str
    message: str
    task: str | None
    tasks: Annotated[int, msgspec.Meta(description="tasks that fail with it now")]
    occurrences: Annotated[int, msgspec.Meta(description="attempts that ever failed with it")]
    queues: dict[str, int]
    first_at: Time | None
    last_at: Time | None


class GroupPage(msgspec.Struct):
    """Error groups, the latest first."""

    items: list[GroupView]


def show_group(group: Group) -> GroupView:
    """One error group."""
    return GroupView(
        group.fingerprint, group.sample.type, group.sample.message, group.sample.task or None, group.tasks, group.occurrences,
        group.queues, show_time(group.first_ms), show_time(group.last_ms),
    )  # fmt: skip
