"""The JSON of a task, as every endpoint shows it: snake_case, times in RFC 3339 UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import Attempt, Failure
from _taskqueue.store.answers import Sight

PREVIEW_CHARS = 200


def show_time(ms: float | None) -> str | None:
    """Milliseconds since 1970 as RFC 3339."""
    if not ms:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_task(sight: Sight) -> dict[str, Any]:
    """One task."""
    record, outcome, held = sight.record, sight.outcome, sight.held
    started_ms = outcome.started_ms if outcome else held.claimed_ms if held and held.started else None
    finished_ms = sight.score if sight.state in TERMINAL else None
    due_ms = int(sight.score) if sight.score and sight.state in (State.SCHEDULED, State.RETRYING) else None
    return {
        "task_id": sight.id,
        "task": record.task or None,
        "queue": sight.queue,
        "state": sight.state.value,
        "priority": record.priority,
        "attempt": _attempt(sight),
        "max_attempts": record.max_attempts,
        "crashes": sight.crashes,
        "cancel_requested": sight.cancel_asked,
        "progress": _progress(sight),
        "created_at": show_time(record.created_ms),
        "next_run_at": show_time(due_ms),
        "started_at": show_time(started_ms),
        "finished_at": show_time(finished_ms),
        "run_seconds": outcome.run_ms / 1000 if outcome else None,
        "worker": (outcome.worker if outcome else held.worker if held else "") or None,
        "result": msgspec.Raw(outcome.result) if outcome and outcome.result is not None else None,
        "reason": outcome.reason or None if outcome else None,
        "error": _error(sight),
        "attempts": [_show_attempt(one) for one in sight.attempts],
        "tags": record.tags,
        "meta": record.meta,
        "payload_preview": record.payload[: PREVIEW_CHARS * 4].decode(errors="replace")[:PREVIEW_CHARS],
        "payload_bytes": len(record.payload),
    }


def _attempt(sight: Sight) -> int:
    if sight.outcome:
        return sight.outcome.attempt
    return sight.held.attempt if sight.held else sight.failed_attempts


def _progress(sight: Sight) -> dict[str, Any] | None:
    found = sight.progress
    if found is None:
        return None
    return {"done": found.done, "total": found.total, "message": found.message, "at": show_time(found.at_ms)}


def _error(sight: Sight) -> dict[str, str] | None:
    if sight.state in (State.SUCCEEDED, State.CANCELLED):
        return None
    failure = sight.outcome.failure if sight.outcome else sight.attempts[-1].failure if sight.attempts else None
    return _show_failure(failure) if failure else None


def _show_failure(failure: Failure) -> dict[str, str]:
    return {"type": failure.type, "message": failure.message}


def _show_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.ending,
        "started_at": show_time(attempt.started_ms),
        "run_seconds": attempt.run_ms / 1000,
        "worker": attempt.worker or None,
        "error": {**_show_failure(attempt.failure), "traceback": attempt.failure.traceback} if attempt.failure else None,
    }
