"""cancel: scheduled, pending, retrying → cancelled; running by request; everything else stays."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import State
from tests.store.desk import QUEUE, Desk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RETRYING])
async def test_a_waiting_task_is_cancelled_at_once(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    assert await desk.store.cancel(QUEUE, task_id) == [state]

    assert await desk.state(task_id) is State.CANCELLED


async def test_a_held_task_is_cancelled_at_once(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("hold", task_id)

    assert await desk.store.cancel(QUEUE, task_id) == [State.PENDING]

    assert await desk.state(task_id) is State.CANCELLED


async def test_a_running_task_is_asked(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)

    assert await desk.store.cancel(QUEUE, task_id) == [State.RUNNING]

    sight = await desk.sight(task_id)
    assert (sight.state, sight.cancel_asked) == (State.RUNNING, True)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED])
async def test_a_finished_task_stays_as_it_is(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    assert await desk.store.cancel(QUEUE, task_id) == [state]

    assert await desk.state(task_id) is state


async def test_an_unknown_task_is_unknown(desk: Desk) -> None:
    assert await desk.store.cancel(QUEUE, "task" + "0" * 26) == [None]
