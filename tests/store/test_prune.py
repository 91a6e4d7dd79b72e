"""prune: succeeded, dead, cancelled, expired → gone, with all that hangs on them."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import TERMINAL, State
from tests.keyspace import every_key
from tests.store.desk import QUEUE, Desk

pytestmark = pytest.mark.anyio
BOOKKEEPING = {"leases", "holdings", "lengths", "turns", "wake", "queues", "patrols", "stats"}


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_an_old_task_is_forgotten(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    assert await desk.store.prune(QUEUE, state, age_s=3600, keep=10) == 0
    assert await desk.store.prune(QUEUE, state, age_s=0, keep=10) == 1

    assert await desk.store.inspect(QUEUE, task_id) is None


async def test_the_oldest_beyond_the_count_are_forgotten(desk: Desk) -> None:
    tasks = [await desk.in_state(State.CANCELLED) for _ in range(5)]

    assert await desk.store.prune(QUEUE, State.CANCELLED, age_s=3600, keep=2) == 3

    assert [await desk.store.inspect(QUEUE, one) is None for one in sorted(tasks)].count(True) == 3


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RUNNING, State.RETRYING])
async def test_a_living_task_is_never_forgotten(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    for terminal in TERMINAL:
        assert await desk.store.prune(QUEUE, terminal, age_s=0, keep=0) == 0

    assert await desk.state(task_id) is state


async def test_nothing_is_left_of_forgotten_tasks(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    for verb in ("log", "save", "progress"):
        await desk.report(verb, task_id, 0, b"1")
    await desk.report("dead", task_id, 0, b"attempt", b"outcome")
    for state in (State.SUCCEEDED, State.CANCELLED, State.EXPIRED):
        await desk.in_state(state)

    for state in TERMINAL:
        await desk.store.prune(QUEUE, state, age_s=0, keep=0)

    left = {key.rpartition(":")[2] for key in await every_key(desk.store)}
    assert left <= BOOKKEEPING
