"""Why a task is not running: the question that is asked most of any queue, answered in sentences and numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

import msgspec

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import TIMEOUT_DEFAULT_S, TaskInfo
from _taskqueue.store.answers import Count, Sight
from _taskqueue.web.shapes import Seconds, Time, show_time

LATE_S = 3.0
"""A task this far past its time limit does not stop; one that does is gone by then."""


class Hold(msgspec.Struct):
    """One thing that holds a task."""

    kind: str
    """paused, unroutable, delay, back_off, no_workers, queue, running or ended"""
    detail: str


class Explanation(msgspec.Struct):
    """Why a task is where it is."""

    task_id: str
    state: State
    summary: str
    position: Annotated[int | None, msgspec.Meta(description="tasks ahead of it in its queue")]
    held_by: list[Hold]
    rate_1m: Annotated[float, msgspec.Meta(description="tasks that ended a second, over the last minute")]
    starts_in_seconds: Seconds | None
    starts_at: Time | None


def explain(sight: Sight, count: Count, place: int | None, tasks: Mapping[str, TaskInfo], default: str) -> Explanation:
    """Put what is known into words.

    Args:
        place: how many tasks are ahead in the queue; None when it is in no queue.
    """
    holds = [*_queue_holds(count), *_task_holds(sight, place, tasks, default)]
    starts_in_s = _starts_in_s(sight, count, place, holds)
    starts_ms = None if starts_in_s is None else time.time() * 1000 + starts_in_s * 1000
    summary = holds[0].detail if holds else "It is next and starts as soon as a slot is free."
    if sight.state in TERMINAL or sight.state is State.RUNNING:
        holds = [hold for hold in holds if hold.kind in ("running", "ended")]
        summary = holds[0].detail
    return Explanation(sight.id, sight.state, summary, place, holds, round(count.rate_s, 3), starts_in_s, show_time(starts_ms))


def _queue_holds(count: Count) -> list[Hold]:
    holds = []
    if "paused" in count.settings:
        reason = count.settings["paused"].strip()
        holds.append(Hold("paused", f"The queue {count.queue} is paused{f': {reason}' if reason else ''}. Resume it to go on."))
    if not count.workers:
        holds.append(Hold("no_workers", f"No worker serves the queue {count.queue} now. Start one."))
    return holds


def _task_holds(sight: Sight, place: int | None, tasks: Mapping[str, TaskInfo], default: str) -> list[Hold]:
    name = sight.record.task or default
    if sight.state in TERMINAL:
        return [Hold("ended", f"It has ended: {sight.state.value}.")]
    if sight.state is State.RUNNING:
        return [Hold("running", _tell_running(sight, tasks.get(name)))]
    if sight.unroutable or (tasks and name and name not in tasks):
        return [Hold("unroutable", f"No live worker has a handler named {name!r}. It waits until one that does appears.")]
    if sight.state is State.SCHEDULED:
        return [Hold("delay", f"It is to start at {show_time(sight.score)}.")]
    if sight.state is State.RETRYING:
        return [Hold("back_off", f"Attempt {sight.failed_attempts} failed; the next one is at {show_time(sight.score)}.")]
    return [Hold("queue", f"{place} tasks are ahead of it.")] if place else []


def _tell_running(sight: Sight, info: TaskInfo | None) -> str:
    worker = sight.held.worker if sight.held else "a worker"
    if sight.held is None or sight.held.started:
        return f"It runs on {worker}.{_tell_late(sight, info)}"
    if sight.crashes:
        return f"It waits on {worker} until it can run alone: it lost {sight.crashes} workers before."
    return f"It waits for a free slot of {worker}."


def _tell_late(sight: Sight, info: TaskInfo | None) -> str:
    """Whether it is past its deadline; a claim may wait a little for its slot, so a moment counts for nothing."""
    timeout_s = sight.record.timeout_s or (info.timeout_s if info else TIMEOUT_DEFAULT_S)
    late_s = 0.0 if sight.held is None else (sight.now_ms - sight.held.claimed_ms) / 1000 - timeout_s
    if late_s < LATE_S:
        return ""
    return f" It is {late_s:.0f} s past its time limit of {timeout_s:g} s: it was asked to stop and does not."


def _starts_in_s(sight: Sight, count: Count, place: int | None, holds: list[Hold]) -> float | None:
    if sight.state in TERMINAL or sight.state is State.RUNNING:
        return None
    if any(hold.kind in ("paused", "unroutable", "no_workers") for hold in holds):
        return None
    if sight.state in (State.SCHEDULED, State.RETRYING):
        return max(0.0, ((sight.score or 0) - sight.now_ms) / 1000)
    if not place:
        return 0.0
    return round(place / count.rate_s, 3) if count.rate_s else None
