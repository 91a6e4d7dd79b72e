"""Batches: how many of their tasks ended, and how."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.store.browse import Browse
from tests.conftest import submission
from tests.store.desk import FAILED, OUTCOME, QUEUE, STATES, Desk

pytestmark = pytest.mark.anyio


async def sums(desk: Desk, batch: str = "b") -> dict[str, int]:
    """What a batch counts, without what is 0."""
    found = await Browse(desk.store).batch(batch)
    return {name: count for name, count in (found or {}).items() if count}


@pytest.mark.parametrize("state", STATES)
async def test_a_batch_counts_its_tasks_by_their_end(desk: Desk, state: State) -> None:
    await desk.in_state(state, batch="b")

    assert await sums(desk) == {"total": 1, "kept": 1, **({state.value: 1} if state in TERMINAL else {})}


async def test_an_unknown_batch_is_none(desk: Desk) -> None:
    await desk.submit(batch="b")

    assert await Browse(desk.store).batch("c") is None
    assert await Browse(desk.store).batch("b|total") is None


async def test_ends_of_many_add_up(desk: Desk) -> None:
    done, dead, gone, _ = await desk.submit(4, batch="b")
    await desk.submit(2, batch="c")
    await desk.store.cancel(QUEUE, gone)
    await desk.claim(3)
    await desk.call(succeeded=[done, OUTCOME], reports=["dead", dead, 0, b"", FAILED, ""])

    assert await sums(desk) == {"total": 4, "kept": 4, "succeeded": 1, "dead": 1, "cancelled": 1}
    assert await sums(desk, "c") == {"total": 2, "kept": 2}


async def test_sending_again_counts_once(desk: Desk) -> None:
    batch = [(desk.mint(), submission(batch="b"))]
    await desk.store.submit(QUEUE, batch)
    await desk.store.submit(QUEUE, batch)

    assert await sums(desk) == {"total": 1, "kept": 1}


@pytest.mark.parametrize("state", [State.DEAD, State.CANCELLED, State.EXPIRED])
async def test_another_try_takes_the_end_back(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, batch="b")

    await desk.store.retry(QUEUE, [(task_id, 5)], State)
    assert await sums(desk) == {"total": 1, "kept": 1}

    await desk.claim()
    await desk.call(succeeded=[task_id, OUTCOME])
    assert await sums(desk) == {"total": 1, "kept": 1, "succeeded": 1}


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RETRYING])
async def test_a_removed_task_counts_as_removed(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, batch="b")
    await desk.submit(batch="b")

    await desk.store.remove(QUEUE, task_id)

    assert await sums(desk) == {"total": 2, "kept": 1, "removed": 1}


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_an_ended_task_that_is_forgotten_still_counts(desk: Desk, state: State) -> None:
    await desk.in_state(state, batch="b")
    removed = await desk.in_state(state, batch="b")
    await desk.submit(batch="b")

    await desk.store.remove(QUEUE, removed)
    await desk.store.prune(QUEUE, state, age_s=0, keep=0)

    assert await sums(desk) == {"total": 3, "kept": 1, state.value: 2}


async def test_a_batch_is_forgotten_with_its_last_task(desk: Desk) -> None:
    tasks = await desk.submit(3, batch="b")
    await desk.store.cancel(QUEUE, *tasks)

    await desk.store.prune(QUEUE, State.CANCELLED, age_s=0, keep=0)

    assert await Browse(desk.store).batch("b") is None


async def test_a_batch_spans_queues(desk: Desk) -> None:
    route = await desk.store.route("other")
    await desk.submit(2, batch="b")
    await desk.submit_to("other", route, batch="b")

    assert await sums(desk) == {"total": 3, "kept": 3}


async def test_a_task_asked_to_cancel_while_it_runs_ends_once(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING, batch="b")
    await desk.store.cancel(QUEUE, task_id)
    assert await sums(desk) == {"total": 1, "kept": 1}

    await desk.report("release", task_id)

    assert await sums(desk) == {"total": 1, "kept": 1, "cancelled": 1}
