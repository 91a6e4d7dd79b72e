"""The reaper: what becomes of tasks whose worker was lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Ending
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Exchange, Sight
from _taskqueue.store.store import Store
from _taskqueue.upkeep import reaper
from tests.conftest import submission
from tests.roles.conftest import lose

pytestmark = pytest.mark.anyio

NewId = Callable[[], str]


async def claim(store: Store, lease: str, limit: int = 1, slots: int = 1) -> list[str]:
    """Open a lease and claim; gives the ids."""
    await store.open_lease("default", lease)
    answer = await store.settle_and_claim("default", lease, Exchange(limit, slots))
    assert answer is not None
    return [one.id.decode() for one in answer.claims]


async def see(store: Store, task_id: str) -> Sight:
    sight = await store.inspect("default", task_id)
    assert sight is not None
    return sight


async def test_a_task_that_loses_too_many_workers_is_dead_as_poison(
    store: Store, metrics: Metrics, new_id: NewId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "CRASH_DELAYS_MS", (0,))
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    states = []

    for number in range(3):
        assert await claim(store, f"host:{number}:abc/x") == [task_id]
        assert await lose(store, metrics, max_crashes=3) == 1
        states.append((await see(store, task_id)).state)

    sight = await see(store, task_id)
    assert states == [State.PENDING, State.PENDING, State.DEAD]
    assert sight.outcome is not None
    assert (sight.outcome.reason, sight.crashes, sight.failed_attempts) == ("poison", 3, 0)
    assert [one.ending for one in sight.attempts] == [Ending.LOST] * 3
    assert {one.worker for one in sight.attempts} == {"host:0:abc", "host:1:abc", "host:2:abc"}


async def test_the_second_loss_waits_before_the_next_start(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])

    for number in range(2):
        await claim(store, f"host:{number}:abc/x")
        await lose(store, metrics)

    sight = await see(store, task_id)
    assert (sight.state, sight.crashes) == (State.RETRYING, 2)
    assert sight.score is not None
    assert 5_000 < sight.score - sight.now_ms <= 10_001


async def test_a_prefetched_task_does_not_count_the_loss(store: Store, metrics: Metrics, new_id: NewId) -> None:
    started, prefetched = new_id(), new_id()
    await store.submit("default", [(started, submission()), (prefetched, submission())])
    assert await claim(store, "host:1:abc/x", limit=2, slots=1) == [started, prefetched]

    taken = await lose(store, metrics, max_crashes=1)

    first, second = await see(store, started), await see(store, prefetched)
    assert taken == 2
    assert (first.state, first.crashes) == (State.DEAD, 1)
    assert (second.state, second.crashes, second.attempts) == (State.PENDING, 0, [])


async def test_a_lost_task_that_was_asked_to_stop_is_cancelled(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    await claim(store, "host:1:abc/x")
    assert await store.cancel("default", task_id) == [State.RUNNING]

    await lose(store, metrics)

    assert (await see(store, task_id)).state is State.CANCELLED


async def test_the_late_answer_of_a_lost_worker_is_refused(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    await claim(store, "host:1:abc/x")
    await lose(store, metrics)

    answer = await store.settle_and_claim("default", "host:1:abc/x", Exchange(0, 0, [task_id, b"late"]))

    assert answer is None
    assert (await see(store, task_id)).state is State.PENDING


async def test_losses_are_counted(store: Store, metrics: Metrics, new_id: NewId) -> None:
    await store.submit("default", [(new_id(), submission()), (new_id(), submission())])
    await claim(store, "host:1:abc/x", 2, 2)

    await lose(store, metrics)

    assert metrics.registry.get_sample_value("taskqueue_tasks_recovered_total", {"queue": "default"}) == 2
