"""Records in no state are found and put back, at no cost while there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.metrics import Metrics
from _taskqueue.settings import load_settings
from _taskqueue.store.store import SEEK_PAGE, Store
from _taskqueue.upkeep.mender import Mender
from _taskqueue.upkeep.scheduler import Scheduler
from tests.store.desk import ATTEMPT, FAILED, OUTCOME, QUEUE, Desk

pytestmark = pytest.mark.anyio


async def displace(desk: Desk, index: str, *ids: str) -> None:
    """Take tasks out of an index, as something else may."""
    await desk.store.command("test", "ZREM" if index != "running" else "HDEL", desk.store.key(index, QUEUE), *ids)


async def test_a_task_in_no_state_waits_again_and_that_is_said(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    lost, sound = await desk.submit(2, priority=7)
    await displace(desk, "pending", lost)

    with caplog.at_level(logging.ERROR):
        assert await Mender(desk.store).mend(QUEUE) == 1

    assert [await desk.state(one) for one in (lost, sound)] == [State.PENDING, State.PENDING]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert lost in caplog.text
    assert sound not in caplog.text
    assert sorted(await desk.claim()) == sorted([lost, sound])


@pytest.mark.parametrize(("ended", "index"), [(State.SUCCEEDED, "succeeded"), (State.DEAD, "dead")])
async def test_what_has_ended_stays_so(desk: Desk, ended: State, index: str) -> None:
    task_id = await desk.in_state(ended)
    await displace(desk, index, task_id)

    assert await Mender(desk.store).mend(QUEUE) == 1

    assert await desk.state(task_id) is ended


async def test_a_task_that_vanished_while_it_ran_runs_again(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await displace(desk, "running", task_id)

    await Mender(desk.store).mend(QUEUE)
    refused = (await desk.call(succeeded=[task_id, OUTCOME])).refused

    assert await desk.state(task_id) is State.PENDING
    assert refused == [task_id.encode()]


@pytest.mark.parametrize("state", [state for state in State if state is not State.BLOCKED])
async def test_what_is_in_a_state_is_left_alone(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    assert await Mender(desk.store).mend(QUEUE) == 0
    assert await desk.store.mend(QUEUE, [(task_id.encode(), State.DEAD, 5)]) == 0

    assert await desk.state(task_id) is state


async def test_all_are_found_page_by_page_and_then_nothing_is_read_any_more(store: Store, new_id: Callable[[], str]) -> None:
    desk = Desk(store, new_id)
    count = SEEK_PAGE * 6
    ids = await desk.submit(count)
    await store.command("test", "DEL", store.key("pending", QUEUE))
    mender = Mender(store)
    found: list[int] = []

    with anyio.fail_after(10):
        while sum(found) < count:
            found.append(await mender.mend(QUEUE))

    assert max(found) < count / 2
    assert sorted(await desk.claim(count)) == sorted(ids)
    assert await store.stateless(QUEUE, 0) == (0, [])
    assert await _scans(store, mender) == 0


async def _scans(store: Store, mender: Mender) -> int:
    """How many pages of records a visit reads."""

    async def count() -> int:
        info: Any = await store.command("test", "INFO", "commandstats")
        return int(info["cmdstat_hscan"]["calls"])

    before = await count()
    await mender.mend(QUEUE)
    return await count() - before


async def test_the_scheduler_mends_and_one_broken_queue_holds_up_no_other(
    store: Store, metrics: Metrics, new_id: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(store, new_id)
    (lost,) = await desk.submit()
    await displace(desk, "pending", lost)
    await store.route("a broken queue comes first".replace(" ", "-"))
    broken = store.key("scheduled", "a-broken-queue-comes-first")
    await store.command("test", "SET", broken, "x")
    scheduler = Scheduler(store, metrics, load_settings({"role": "scheduler"}, {}).settings, anyio.Event())

    await scheduler.tick()
    await scheduler.tick()

    assert await desk.state(lost) is State.PENDING
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR" and broken in record.getMessage()]
    assert len(said) == 1
    await store.command("test", "DEL", broken)


async def test_the_outcome_of_a_failed_attempt_is_told_with_its_end(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("dead", task_id, 0, ATTEMPT, FAILED)
    await displace(desk, "dead", task_id)

    await Mender(desk.store).mend(QUEUE)

    sight = await desk.sight(task_id)
    assert sight.outcome is not None
    assert sight.outcome.reason == "attempts"
