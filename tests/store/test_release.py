"""release: running → pending, at no cost."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import State
from tests.store.desk import LEASE, OUTCOME, QUEUE, Desk

pytestmark = pytest.mark.anyio


async def test_released_tasks_stand_where_they_stood(desk: Desk) -> None:
    ids = await desk.submit(3)
    await desk.claim(2)

    count = await desk.store.release(QUEUE, LEASE, [one.encode() for one in ids[:2]])

    claims = (await desk.call(3)).claims
    assert count == 2
    assert [claim.id.decode() for claim in claims] == ids
    assert {claim.attempt for claim in claims} == {1}


async def test_closing_ends_the_lease(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)

    await desk.store.release(QUEUE, LEASE, [task_id.encode()], close=True)

    assert await desk.store.live_leases(QUEUE) == set()
    assert await desk.store.release(QUEUE, LEASE, [task_id.encode()]) == -1


async def test_a_finished_task_is_not_given_back(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.call(succeeded=[task_id, OUTCOME])

    assert await desk.store.release(QUEUE, LEASE, [task_id.encode()]) == 0
    assert await desk.state(task_id) is State.SUCCEEDED


async def test_the_task_of_another_lease_is_not_given_back(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.store.open_lease(QUEUE, "other/lease")

    assert await desk.store.release(QUEUE, "other/lease", [task_id.encode()]) == 0
    assert await desk.state(task_id) is State.RUNNING


async def test_a_task_asked_to_cancel_ends_instead(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.store.cancel(QUEUE, task_id)

    await desk.store.release(QUEUE, LEASE, [task_id.encode()])

    assert await desk.state(task_id) is State.CANCELLED
