"""The client: submissions that share calls, a store that is away, and waiting for an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import anyio
import pytest

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import StoreError, StoreFull, StoreUnavailable
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Outcome, Submission
from _taskqueue.metrics import Metrics
from _taskqueue.producer import SUBMIT_S, Producer
from _taskqueue.store import wire
from _taskqueue.store.answers import Denial, Exchange
from _taskqueue.store.connect import Connector
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import Registry
from _taskqueue.terms import PayloadTooLarge
from tests.conftest import submission

pytestmark = pytest.mark.anyio


class Probe:
    """Stands before the store's submit: counts the calls, and fails or hangs on request."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.errors: list[StoreError] = []
        """raised by the next calls, in order"""
        self.hang = False
        self._submit = store.submit
        monkeypatch.setattr(store, "submit", self.submit)

    async def submit(self, queue: str, batch: Sequence[tuple[str, Submission]], level: Durability) -> dict[str, Denial]:
        self.batches.append(len(batch))
        if self.hang:
            await anyio.sleep_forever()
        if self.errors:
            raise self.errors.pop(0)
        return await self._submit(queue, batch, level)


@pytest.fixture
def probe(store: Store, monkeypatch: pytest.MonkeyPatch) -> Probe:
    return Probe(store, monkeypatch)


@pytest.fixture
async def client(store: Store, metrics: Metrics) -> AsyncIterator[Producer]:
    client = Producer(store, metrics, Registry(), 1000)
    async with anyio.create_task_group() as group:
        await group.start(client.run)
        yield client
        group.cancel_scope.cancel()


async def test_submissions_at_once_share_a_few_calls(client: Producer, store: Store, probe: Probe) -> None:
    ids = await asyncio.gather(*(client.submit(submission()) for _ in range(500)))

    assert len(set(ids)) == 500
    assert (await store.count("default")).states["pending"] == 500
    assert sum(probe.batches) == 500
    assert len(probe.batches) <= 5


async def test_submissions_one_after_another_need_a_call_each(client: Producer, probe: Probe) -> None:
    for _ in range(3):
        await client.submit(submission())

    assert probe.batches == [1, 1, 1]


async def test_many_submissions_keep_their_order(client: Producer, store: Store) -> None:
    ids = await client.submit_many([submission(str(number).encode()) for number in range(50)])

    assert ids == sorted(map(str, ids))
    sights = [await store.inspect("default", str(task_id)) for task_id in ids]
    assert [sight.record.payload for sight in sights if sight] == [str(number).encode() for number in range(50)]


async def test_a_fault_that_passes_is_not_seen(client: Producer, store: Store, probe: Probe) -> None:
    probe.errors = [StoreUnavailable("one"), StoreUnavailable("two")]

    task_id = await client.submit(submission())

    assert probe.batches == [1, 1, 1]
    assert await store.inspect("default", task_id) is not None


async def test_a_full_store_is_an_answer_at_once(client: Producer, probe: Probe) -> None:
    probe.errors = [StoreFull("full")]

    with pytest.raises(StoreFull):
        await client.submit(submission())

    assert probe.batches == [1]


@pytest.mark.parametrize("hang", [True, False])
async def test_a_store_that_is_away_is_an_answer_within_a_second(client: Producer, probe: Probe, hang: bool) -> None:
    probe.hang = hang
    probe.errors = [StoreUnavailable("away")] * 1000
    began = anyio.current_time()

    with pytest.raises(StoreUnavailable):
        await client.submit(submission())

    took_s = anyio.current_time() - began
    assert SUBMIT_S * 0.9 < took_s < SUBMIT_S + 0.6


async def test_a_store_that_was_never_there_is_an_answer_within_a_second(metrics: Metrics) -> None:
    store = Store(Connector("unix:///nowhere/redis.sock"), metrics, namespace="nowhere")
    client = Producer(store, metrics, Registry(), 1000)
    async with anyio.create_task_group() as group:
        await group.start(client.run)
        with anyio.fail_after(SUBMIT_S + 0.6), pytest.raises(StoreUnavailable):
            await client.submit(submission())
        group.cancel_scope.cancel()
    await store.aclose()


async def test_many_say_for_each_why_it_was_not_stored(client: Producer, probe: Probe) -> None:
    probe.errors = [StoreFull("full")]

    ends = await client.submit_many([submission(), submission()])

    assert [type(end) for end in ends] == [StoreFull, StoreFull]


async def test_a_caller_that_goes_away_harms_nobody(client: Producer, store: Store, probe: Probe) -> None:
    await client.submit(submission())
    async with anyio.create_task_group() as group:
        group.start_soon(client.submit, submission())
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    await client.submit(submission())

    assert (await store.count("default")).states["pending"] in {2, 3}


@pytest.mark.parametrize("queue", ["default", "other"])
async def test_a_client_that_has_ended_refuses_at_once(store: Store, metrics: Metrics, queue: str) -> None:
    client = Producer(store, metrics, Registry(), 1000)
    await store.route("other")
    async with anyio.create_task_group() as group:
        await group.start(client.run)
        await client.submit(submission())
        group.cancel_scope.cancel()

    with anyio.fail_after(2), pytest.raises(StoreUnavailable):
        await client.submit(submission(queue=queue))


async def test_a_client_that_has_not_begun_refuses(store: Store, metrics: Metrics) -> None:
    with pytest.raises(StoreUnavailable, match="starting or stopping"):
        await Producer(store, metrics, Registry(), 1000).submit(submission())


async def test_a_payload_over_the_limit_is_refused(client: Producer) -> None:
    assert client.read({}, b"x" * 1000, True).record.payload == b"x" * 1000
    with pytest.raises(PayloadTooLarge, match="1001 bytes"):
        client.read({}, b"x" * 1001, True)


async def test_waiting_ends_when_the_task_has_ended(client: Producer, store: Store) -> None:
    task_id = await client.submit(submission())
    ends: list[State | None] = []

    async def wait() -> None:
        sight = await client.wait(task_id, frozenset({State.SUCCEEDED}), 10, anyio.Event())
        ends.append(sight.state if sight else None)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await store.open_lease("default", "host:1:abc/x")
            await store.settle_and_claim("default", "host:1:abc/x", Exchange(1, 1))
            await store.settle_and_claim("default", "host:1:abc/x", Exchange(0, 0, [task_id, wire.encode(Outcome(1, 0, 0, "w"))]))

    assert ends == [State.SUCCEEDED]


async def test_waiting_ends_with_any_end_of_the_task(client: Producer) -> None:
    task_id = await client.submit(submission())
    await client.cancel(task_id)

    with anyio.fail_after(5):
        sight = await client.wait(task_id, frozenset({State.RUNNING}), 60, anyio.Event())

    assert sight is not None
    assert sight.state is State.CANCELLED


async def test_waiting_ends_when_the_time_is_up_or_the_process_stops(client: Producer) -> None:
    task_id = await client.submit(submission())
    stopping = anyio.Event()
    stopping.set()

    with anyio.fail_after(5):
        timed = await client.wait(task_id, frozenset({State.SUCCEEDED}), 0.05, anyio.Event())
        stopped = await client.wait(task_id, frozenset({State.SUCCEEDED}), 60, stopping)

    assert timed is not None
    assert stopped is not None
    assert {timed.state, stopped.state} == {State.PENDING}


async def test_an_unknown_task_is_none(client: Producer) -> None:
    assert await client.look("nonsense") is None
    assert await client.cancel("nonsense") is None
    assert await client.wait("nonsense", frozenset({State.SUCCEEDED}), 60, anyio.Event()) is None


async def test_cancelling_gives_the_state_before(client: Producer, store: Store) -> None:
    news: list[str] = []
    waiting, running = await client.submit(submission(priority=1)), await client.submit(submission(priority=9))
    await store.open_lease("default", "host:1:abc/x")
    await store.settle_and_claim("default", "host:1:abc/x", Exchange(1, 1))
    client.on_news = news.append

    was = [await client.cancel(waiting), await client.cancel(waiting), await client.cancel(running)]

    assert was == [State.PENDING, State.CANCELLED, State.RUNNING]
    assert news == ["default"]
