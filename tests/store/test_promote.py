"""promote: scheduled, retrying → pending; what was not started in time → expired."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.answers import pack_number
from tests.store.desk import ATTEMPT, QUEUE, Desk, until

pytestmark = pytest.mark.anyio


async def test_what_is_not_due_stays(desk: Desk) -> None:
    waiting = [await desk.in_state(State.RETRYING), await desk.in_state(State.SCHEDULED)]

    promoted, _, expired, due_in_us = await desk.store.promote(QUEUE)

    assert (promoted, expired) == (0, 0)
    assert 0 < due_in_us <= 60e6
    assert [await desk.state(one) for one in waiting] == [State.RETRYING, State.SCHEDULED]


async def test_a_due_task_is_pending_with_its_priority(desk: Desk) -> None:
    (low,) = await desk.submit(priority=1)
    (high,) = await desk.submit(priority=9, delay_ms=1)

    await until(desk.store, high, State.PENDING)

    assert await desk.claim() == [high, low]


async def test_a_due_retry_is_pending(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT)

    await until(desk.store, task_id, State.PENDING)

    assert await desk.claim() == [task_id]


@pytest.mark.parametrize("terms", [{}, {"delay_ms": 60_000}])
async def test_a_task_not_started_in_time_expires(desk: Desk, terms: dict[str, int]) -> None:
    (task_id,) = await desk.submit(expires_in_ms=1, **terms)

    await until(desk.store, task_id, State.EXPIRED)

    assert await desk.claim() == []


async def test_a_running_task_does_not_expire(desk: Desk) -> None:
    (task_id,) = await desk.submit(expires_in_ms=200)
    (other,) = await desk.submit(delay_ms=210)
    await desk.claim()

    await until(desk.store, other, State.PENDING)

    assert await desk.state(task_id) is State.RUNNING
