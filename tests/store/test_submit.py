"""submit: new → pending, new → scheduled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _taskqueue.domain.ids import created_ms_of
from _taskqueue.domain.states import State
from _taskqueue.life import running
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.store.answers import Exchange
from _taskqueue.store.store import SUBMIT_MAX, Store
from _taskqueue.tasks.discovery import discover
from tests.conftest import submission

pytestmark = pytest.mark.anyio


async def test_a_new_task_is_pending(any_store: Store, new_id: Callable[[], str]) -> None:
    task_id = new_id()

    fresh = await any_store.submit("default", [(task_id, submission())])

    sight = await any_store.inspect("default", task_id)
    assert fresh == {}
    assert sight is not None
    assert sight.state is State.PENDING
    assert sight.record.payload == b"hello"


async def test_a_delayed_task_is_scheduled(any_store: Store, new_id: Callable[[], str]) -> None:
    task_id = new_id()

    await any_store.submit("default", [(task_id, submission(delay_ms=60_000))])

    sight = await any_store.inspect("default", task_id)
    assert sight is not None
    assert sight.state is State.SCHEDULED


async def test_sending_the_same_ids_again_changes_nothing(any_store: Store, new_id: Callable[[], str]) -> None:
    first, second = new_id(), new_id()
    await any_store.submit("default", [(first, submission(b"one"))])
    await any_store.open_lease("default", "w/1")
    answer = await any_store.settle_and_claim("default", "w/1", Exchange(1, 1))
    assert answer is not None

    fresh = await any_store.submit("default", [(first, submission(b"other")), (second, submission(b"two"))])

    sight = await any_store.inspect("default", first)
    assert fresh == {}
    assert sight is not None
    assert sight.state is State.RUNNING
    assert sight.record.payload == b"one"


async def test_a_time_in_the_past_is_pending_at_once(any_store: Store, new_id: Callable[[], str]) -> None:
    task_id = new_id()

    await any_store.submit("default", [(task_id, submission(run_at_ms=1_000))])

    sight = await any_store.inspect("default", task_id)
    assert sight is not None
    assert sight.state is State.PENDING


async def test_tasks_come_out_by_priority_and_then_in_the_order_they_came_in(any_store: Store, new_id: Callable[[], str]) -> None:
    ids = [new_id() for _ in range(6)]
    priorities = [5, 0, 9, 5, 9, 0]

    await any_store.submit("default", [(task_id, submission(priority=one)) for task_id, one in zip(ids, priorities, strict=True)])

    await any_store.open_lease("default", "w/1")
    answer = await any_store.settle_and_claim("default", "w/1", Exchange(6, 6))
    assert answer is not None
    assert [claim.id.decode() for claim in answer.claims] == [ids[2], ids[4], ids[0], ids[3], ids[1], ids[5]]


async def test_one_token_is_left_however_many_tasks_come(any_store: Store, new_id: Callable[[], str]) -> None:
    for _ in range(3):
        await any_store.submit("default", [(new_id(), submission())])

    tokens = await any_store.command("test", "LLEN", any_store.key("wake", "default"))

    assert tokens == 1


async def test_a_full_batch_is_one_call(any_store: Store, new_id: Callable[[], str]) -> None:
    batch = [(new_id(), submission(b"x" * 100)) for _ in range(SUBMIT_MAX)]

    assert await any_store.submit("default", batch) == {}
    assert await any_store.submit("default", batch) == {}
    assert (await any_store.count("default")).states["pending"] == SUBMIT_MAX


async def test_a_task_is_made_by_the_clock_of_the_store(store: Store, metrics: Metrics) -> None:
    producer = Producer(store, metrics, discover([]), 1_000)
    now_s, _ = await store.command("test", "TIME")
    ahead_ms = 3_600_000

    async with running(producer.run):
        store.clock.note(int(now_s) * 1000 + ahead_ms)
        task_id = await producer.submit(submission())

    assert abs(created_ms_of(task_id) - int(now_s) * 1000 - ahead_ms) < 5_000


async def test_every_answer_to_a_submission_tells_the_time_of_the_store(store: Store, new_id: Callable[[], str]) -> None:
    now_s, _ = await store.command("test", "TIME")
    store.clock.note(1)

    await store.submit("default", [(new_id(), submission())])

    assert 0 <= store.clock.now_ms() - int(now_s) * 1000 < 5_000
