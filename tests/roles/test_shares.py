"""Sharing of slots: the arithmetic by itself, and queues on a real worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.store import Store
from _taskqueue.tasks.context import Context
from _taskqueue.tasks.spec import task
from _taskqueue.work.shares import PREFETCH_MAX, Shares
from tests.roles.conftest import Working, until

pytestmark = pytest.mark.anyio


@dataclass(eq=False)
class Queue:
    """A claimant that takes whatever it may."""

    weight: float = 1.0
    hungry: bool = True
    asking: int = 0
    served: float = 0.0
    woken: int = field(default=0, compare=False)

    def wake(self) -> None:
        self.woken += 1


class Pool:
    """Free slots, and the shares of these queues in them."""

    def __init__(self, free: int, *queues: Queue) -> None:
        self.free = free
        self.shares = Shares(lambda: self.free, lambda: queues)


@pytest.mark.parametrize(("weights", "free"), [((1, 1), 1), ((3, 1), 1), ((3, 1), 7), ((5, 1, 1), 10), ((5, 1, 1), 2), ((100, 1), 5)])
def test_starts_are_shared_by_weight_however_few_slots_there_are(weights: tuple[float, ...], free: int) -> None:
    queues = [Queue(weight) for weight in weights]
    started: Counter[float] = Counter()
    for turn in range(2_000):
        pool = Pool(free, *queues)
        for at in range(len(queues)):
            queue = queues[(turn + at) % len(queues)]
            taken = pool.shares.room_for(queue)
            pool.shares.serve(queue, taken)
            started[queues.index(queue)] += taken
            pool.free -= taken
        assert pool.free < free, "a free slot is always for somebody"

    for at, weight in enumerate(weights):
        assert started[at] == pytest.approx(started.total() * weight / sum(weights), rel=0.03, abs=free)


def test_who_is_alone_gets_everything() -> None:
    mine, other = Queue(), Queue(hungry=False)
    assert Pool(10, mine, other).shares.room_for(mine) == 10


def test_what_others_ask_for_is_gone_and_they_stay_rivals() -> None:
    mine, other = Queue(), Queue(hungry=False, asking=4)
    assert Pool(10, mine, other).shares.room_for(mine) == 3
    assert Pool(4, mine, other).shares.room_for(mine) == 0


def test_to_have_been_idle_is_no_credit() -> None:
    for asking in (0, 1):  # whether the busy one is between two calls or in one
        busy, back = Queue(), Queue(hungry=False)
        pool = Pool(1, busy, back)
        for _ in range(500):
            pool.shares.serve(busy, 1)
        busy.hungry, busy.asking = False, asking
        pool.shares.join(back)
        busy.hungry, busy.asking = True, 0

        started: Counter[Queue] = Counter()
        for _ in range(100):
            first = max(busy, back, key=pool.shares.room_for)
            pool.shares.serve(first, 1)
            started[first] += 1
        assert started[busy] == started[back] == 50


def test_who_is_in_a_call_is_not_moved() -> None:
    busy, calling = Queue(served=500.0), Queue(hungry=False, asking=2)
    shares = Pool(1, busy, calling).shares
    shares.serve(busy, 1)
    shares.join(calling)

    assert (calling.hungry, calling.served) == (True, 0.0)


def test_only_what_ends_during_calls_is_held_ready() -> None:
    queue = Queue()
    pool = Pool(0, queue)
    assert pool.shares.room_for(queue) == 0
    pool.shares.note_pace(20)
    assert pool.shares.room_for(queue) == 40
    pool.shares.note_pace(1_000)
    assert pool.shares.room_for(queue) == PREFETCH_MAX
    pool.shares.note_pace(0)
    pool.shares.note_pace(0)
    assert pool.shares.room_for(queue) == 0


def test_room_wakes_as_many_as_it_serves_the_hungry_and_least_served_first() -> None:
    sated, served, starved = Queue(hungry=False), Queue(served=9.0), Queue(served=1.0)
    pool = Pool(0, sated, served, starved)
    for queue in (sated, served, starved):
        pool.shares.wait(queue)

    woken = []
    for free in (0, 1, 1, 5, 5):
        pool.free = free
        pool.shares.spread()
        woken.append((starved.woken, served.woken, sated.woken))
    assert woken == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 1, 1)]


# -- on a worker --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("concurrency", "queues", "share"), [("1", "default,other", 1), ("4", "default=3,other=1", 3)])
async def test_a_worker_that_is_full_serves_its_queues_by_weight(
    working: Working, store: Store, concurrency: str, queues: str, share: int
) -> None:
    started: list[str] = []

    @task
    async def note(ctx: Context) -> None:
        started.append(ctx.queue)
        await anyio.sleep(0.005)

    await store.route("other")
    async with working(note, concurrency=concurrency, queues=queues) as bench:
        terms = [{"task": "note", "queue": queue} for queue in ("default", "other") for _ in range(200)]
        await bench.client.submit_many([bench.client.read(one, b"", True) for one in terms])
        await until(lambda: len(started) >= 120)
        found = Counter(started[:120])
        bench.worker.dispatcher.close()

    assert found["default"] / found["other"] == pytest.approx(share, rel=0.35)


async def test_a_free_slot_is_offered_to_the_other_queues_at_once(working: Working, store: Store) -> None:
    end = anyio.Event()

    @task
    async def held(text: str) -> None:
        await end.wait()

    @task
    async def quick(text: str) -> None:
        pass

    await store.route("other")
    async with working(held, quick, concurrency="1", queues="default,other") as bench:
        bench.client.on_news = lambda queue: None
        first = await bench.submit("held")
        await bench.reaches(first, State.RUNNING)
        waiting = await bench.submit("quick", queue="other")
        await anyio.sleep(2)  # long enough for the other queue to have looked and found no room
        end.set()
        with anyio.fail_after(0.5):
            await bench.reaches(waiting, State.SUCCEEDED)


async def test_a_queue_that_rarely_calls_holds_nothing_ready_for_the_pace_of_another(working: Working, store: Store) -> None:
    @task
    async def brisk(text: str) -> None:
        await anyio.sleep(0.002)

    await store.route("other")
    async with working(brisk, concurrency="1", queues="default,other") as bench:
        lines = bench.worker.dispatcher.lines
        busy = [bench.client.read({"task": "brisk"}, b"", True) for _ in range(900)]
        await bench.client.submit_many(busy)
        await anyio.sleep(1.6)  # more than a poll
        await bench.client.submit_many([bench.client.read({"task": "brisk", "queue": "other"}, b"", True) for _ in range(200)])
        most = 0
        with anyio.move_on_after(1):
            while True:
                most = max(most, len(lines["other"].held))
                await anyio.sleep(0.001)
        bench.worker.dispatcher.close()

    assert 0 < most < 10
