"""retry: retrying, dead, cancelled, expired, scheduled → pending, with or without a past."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Failure, Outcome
from _taskqueue.store import wire
from _taskqueue.store.answers import pack_number
from _taskqueue.upkeep.operator import SOURCES
from tests.store.desk import ATTEMPT, FAILED, OUTCOME, QUEUE, STATES, Desk, until

pytestmark = pytest.mark.anyio

LAST = wire.encode(Outcome(3, 1, 1, "worker", None, "attempts", Failure("ValueError", "no")))


async def fail(desk: Desk, task_id: str, times: int) -> None:
    """Let a pending task fail, log something, and be pending again."""
    for _ in range(times):
        await desk.claim()
        await desk.report("log", task_id, 0, b"a line")
        await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT)
        await until(desk.store, task_id, State.PENDING)


@pytest.mark.parametrize("verb", ["retry", "run"])
@pytest.mark.parametrize("state", STATES)
async def test_only_a_task_that_fits_is_pending_again(desk: Desk, verb: str, state: State) -> None:
    task_id = await desk.in_state(state)

    was = await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES[verb])

    assert was == [(state, state in SOURCES[verb])]
    assert await desk.state(task_id) is (State.PENDING if state in SOURCES[verb] else state)


async def test_an_unknown_task_has_no_state(desk: Desk) -> None:
    assert await desk.store.retry(QUEUE, [("task" + "0" * 26, 5)], State) == [(None, False)]


async def test_many_tasks_answer_in_order(desk: Desk) -> None:
    dead = await desk.in_state(State.DEAD)
    retrying = await desk.in_state(State.RETRYING)
    waiting = await desk.in_state(State.SCHEDULED)

    was = await desk.store.retry(QUEUE, [(waiting, 5), ("nothing", 5), (dead, 5), (retrying, 5)], SOURCES["retry"])

    assert was == [(State.SCHEDULED, False), (None, False), (State.DEAD, True), (State.RETRYING, True)]
    assert sorted(await desk.claim()) == sorted([dead, retrying])


async def test_naming_a_task_twice_moves_it_once(desk: Desk) -> None:
    task_id = await desk.in_state(State.DEAD)

    was = await desk.store.retry(QUEUE, [(task_id, 5), (task_id, 5)], SOURCES["retry"])

    assert was == [(State.DEAD, True), (State.PENDING, False)]
    assert await desk.claim() == [task_id]


async def test_a_retried_task_takes_its_place_by_its_priority(desk: Desk) -> None:
    urgent = await desk.in_state(State.CANCELLED, priority=9)
    idle = await desk.in_state(State.CANCELLED, priority=0)
    (other,) = await desk.submit(priority=5)

    await desk.store.retry(QUEUE, [(idle, 0), (urgent, 9)], SOURCES["retry"])

    assert await desk.claim() == [urgent, other, idle]


async def test_attempts_count_on(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    await fail(desk, task_id, 2)
    await desk.claim()
    await desk.report("dead", task_id, 0, ATTEMPT, LAST)

    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["retry"])

    sight = await desk.sight(task_id)
    assert (sight.failed_attempts, len(sight.attempts), sight.outcome) == (3, 3, None)
    await desk.claim()
    held = (await desk.sight(task_id)).held
    assert held is not None
    assert held.attempt == 4


async def test_attempts_begin_anew_when_they_are_reset(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    await fail(desk, task_id, 2)
    await desk.claim()
    await desk.report("dead", task_id, 0, ATTEMPT, LAST)

    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["retry"], reset=True)

    sight = await desk.sight(task_id)
    assert (sight.failed_attempts, sight.attempts, sight.outcome) == (0, [], None)
    await desk.claim()
    held = (await desk.sight(task_id)).held
    assert held is not None
    assert held.attempt == 1


async def test_nothing_is_left_of_attempts_that_were_reset(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    await fail(desk, task_id, 2)
    await desk.claim()
    await desk.report("log", task_id, 0, b"a line of the third attempt")
    await desk.report("cancel", task_id, 0, ATTEMPT, FAILED)

    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["retry"], reset=True)
    await desk.claim()
    await desk.call(succeeded=[task_id, OUTCOME])
    await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=0, keep=0)

    logs = desk.store.key("logs", QUEUE)
    left = await desk.store.command("test", "HLEN", logs)
    await desk.store.command("test", "DEL", logs)  # so that the check of the keyspace does not say it too
    assert left == 0


@pytest.mark.parametrize("state", [State.DEAD, State.CANCELLED, State.EXPIRED])
async def test_a_retried_task_ends_like_any_other(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, retain_ms=60_000, batch="b", tags=("a",))
    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["retry"])

    await desk.claim()
    await desk.call(succeeded=[task_id, OUTCOME])

    assert await desk.state(task_id) is State.SUCCEEDED
    assert await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=0, keep=0) == 1


async def test_an_expired_task_that_is_retried_does_not_expire_again(desk: Desk) -> None:
    task_id = await desk.in_state(State.EXPIRED)

    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["retry"])
    await desk.store.promote(QUEUE)

    assert await desk.state(task_id) is State.PENDING


async def test_a_task_started_early_still_expires(desk: Desk) -> None:
    (task_id,) = await desk.submit(delay_ms=60_000, expires_in_ms=30)

    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["run"])

    await until(desk.store, task_id, State.EXPIRED)


async def test_idle_workers_are_woken(desk: Desk) -> None:
    task_id = await desk.in_state(State.SCHEDULED)
    await desk.store.command("test", "DEL", desk.store.key("wake", QUEUE))

    await desk.store.retry(QUEUE, [(task_id, 5)], SOURCES["run"])

    assert await desk.store.command("test", "LLEN", desk.store.key("wake", QUEUE)) == 1
