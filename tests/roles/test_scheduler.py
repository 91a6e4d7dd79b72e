"""One tick of the scheduler promotes, recovers and prunes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.domain.errors import StoreUnavailable
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Outcome
from _taskqueue.metrics import Metrics
from _taskqueue.settings import load_settings
from _taskqueue.store import wire
from _taskqueue.store.answers import Exchange
from _taskqueue.store.store import Store
from _taskqueue.upkeep.scheduler import Scheduler
from tests.conftest import submission

pytestmark = pytest.mark.anyio

NewId = Callable[[], str]


def scheduler_of(store: Store, metrics: Metrics, flags: dict[str, str] | None = None, stopping: anyio.Event | None = None) -> Scheduler:
    settings = load_settings({"role": "scheduler"} | (flags or {}), {}).settings
    return Scheduler(store, metrics, settings, stopping or anyio.Event(), lambda: 0.5)


async def state_of(store: Store, task_id: str) -> State | None:
    sight = await store.inspect("default", task_id)
    return sight.state if sight else None


async def claim(store: Store, lease: str, limit: int = 1, slots: int = 1) -> list[str]:
    """Open a lease and claim; gives the ids."""
    await store.open_lease("default", lease)
    answer = await store.settle_and_claim("default", lease, Exchange(limit, slots))
    assert answer is not None
    return [one.id.decode() for one in answer.claims]


async def test_a_tick_promotes_what_is_due_and_nothing_else(store: Store, metrics: Metrics, new_id: NewId) -> None:
    due, later = new_id(), new_id()
    await store.submit("default", [(due, submission(delay_ms=1)), (later, submission(delay_ms=60_000))])
    scheduler = scheduler_of(store, metrics)

    with anyio.fail_after(10):
        while await state_of(store, due) is State.SCHEDULED:
            await scheduler.tick()

    assert [await state_of(store, due), await state_of(store, later)] == [State.PENDING, State.SCHEDULED]
    assert (metrics.registry.get_sample_value("taskqueue_schedule_lag_seconds_count") or 0) >= 1


async def test_a_tick_expires_what_was_not_started_in_time(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, msgspec.structs.replace(submission(), expires_in_ms=1))])
    scheduler = scheduler_of(store, metrics, {"retain-failed": "1d"})

    with anyio.fail_after(10):
        while await state_of(store, task_id) is State.PENDING:
            await scheduler.tick()

    assert await state_of(store, task_id) is State.EXPIRED


async def test_a_tick_takes_tasks_back_from_a_lost_worker(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    impatient = Store(store.connector, metrics, namespace=store.namespace, lease_ms=1)
    await claim(impatient, "host:1:abc/x")
    await impatient.patrol("default", 1000)  # the first look of all waits for the length of a lease, which is short here
    scheduler = scheduler_of(store, metrics)

    with anyio.fail_after(10):
        while await state_of(store, task_id) is State.RUNNING:
            await scheduler.tick()

    await impatient.aclose()
    sight = await store.inspect("default", task_id)
    assert sight is not None
    assert (sight.state, sight.crashes, sight.attempts[0].worker) == (State.PENDING, 1, "host:1:abc")


async def test_a_tick_leaves_a_living_worker_alone(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    await claim(store, "host:1:abc/x")
    scheduler = scheduler_of(store, metrics)

    for _ in range(3):
        await scheduler.tick()

    assert await state_of(store, task_id) is State.RUNNING


@pytest.mark.parametrize(("flags", "left"), [({"retain-succeeded": "0s"}, 0), ({"retain-max": "2"}, 2), ({}, 5)])
async def test_a_tick_forgets_what_is_over_the_bounds(
    store: Store, metrics: Metrics, new_id: NewId, flags: dict[str, str], left: int
) -> None:
    await store.submit("default", [(new_id(), submission()) for _ in range(5)])
    ids = await claim(store, "host:1:abc/x", 5, 5)
    outcome = wire.encode(Outcome(1, 0, 0, "host:1:abc"))
    ended: list[Any] = [part for task_id in ids for part in (task_id, outcome)]
    await store.settle_and_claim("default", "host:1:abc/x", Exchange(0, 0, ended))

    await scheduler_of(store, metrics, flags).tick()

    count = await store.count("default")
    assert count.states["succeeded"] == left
    trimmed = metrics.registry.get_sample_value("taskqueue_records_trimmed_total", {"queue": "default", "state": "succeeded"})
    assert (trimmed or 0) == 5 - left


async def test_the_loop_survives_a_store_that_is_away_and_ends_when_told(
    store: Store, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, twice = anyio.Event(), anyio.Event()
    calls: list[int] = []

    async def away(max_age_s: float = 0.0) -> list[str]:
        calls.append(1)
        if len(calls) == 2:
            twice.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "queues", away)
    scheduler = scheduler_of(store, metrics, {"lease": "1s"}, stopping)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            await group.start(scheduler.run)
            await twice.wait()
            stopping.set()
    monkeypatch.undo()

    assert len(calls) >= 2
