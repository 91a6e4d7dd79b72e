"""remove: any state but running → gone, with all that hangs on it."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Progress, Unique
from _taskqueue.store import wire
from _taskqueue.store.answers import pack_number
from tests.keyspace import every_key
from tests.store.desk import ATTEMPT, FAULT, QUEUE, STATES, Desk, until

pytestmark = pytest.mark.anyio

BOOKKEEPING = {"leases", "holdings", "lengths", "turns", "wake", "queues", "patrols", "stats", "failures", "failing"}
PROGRESS = wire.encode(Progress(1, 2, "half", 1))
EVERYTHING: dict[str, Any] = {
    "tags": ("a", "b"), "meta": {"who": "me"}, "batch": "b1", "retain_ms": 60_000, "unique": Unique("k"), "unique_key": "k",
}  # fmt: skip


@pytest.mark.parametrize("state", [state for state in STATES if state is not State.RUNNING])
async def test_nothing_is_left_of_a_removed_task(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT, **EVERYTHING)

    was = await desk.store.remove(QUEUE, task_id)

    assert was == [state]
    assert await desk.store.inspect(QUEUE, task_id) is None
    assert {key.rpartition(":")[2] for key in await every_key(desk.store)} <= BOOKKEEPING


async def test_nothing_is_left_of_a_long_life(desk: Desk) -> None:
    (task_id,) = await desk.submit(expires_in_ms=60_000, **EVERYTHING)
    for _ in range(3):
        await desk.claim()
        for verb in ("log", "save", "progress"):
            await desk.report(verb, task_id, 0, PROGRESS)
        await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT, fault=FAULT)
        await until(desk.store, task_id, State.PENDING)
    await desk.claim()
    await desk.report("log", task_id, 0, b"the fourth")
    await desk.report("hold", task_id)

    assert await desk.store.remove(QUEUE, task_id) == [State.PENDING]

    assert {key.rpartition(":")[2] for key in await every_key(desk.store)} <= BOOKKEEPING


async def test_a_running_task_stays(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING, **EVERYTHING)

    assert await desk.store.remove(QUEUE, task_id) == [State.RUNNING]

    assert await desk.state(task_id) is State.RUNNING


async def test_many_tasks_answer_in_order(desk: Desk) -> None:
    first, second, kept = await desk.submit(3)

    was = await desk.store.remove(QUEUE, second, "nothing", first, second)

    assert was == [State.PENDING, None, State.PENDING, None]
    assert await desk.claim() == [kept]
