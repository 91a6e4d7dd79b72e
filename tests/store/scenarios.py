"""For each script that changes something: a call of it, made ready, and a look that tells whether it did what it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Ending, Record, Unique
from _taskqueue.filters import Filter
from _taskqueue.store.answers import Exchange, Verdict, pack_number
from _taskqueue.store.calls import BeatStore
from _taskqueue.store.operations import Operation, Operations
from _taskqueue.web.site import read_secret
from tests.conftest import submission
from tests.store.desk import ATTEMPT, FAULT, LEASE, OUTCOME, QUEUE, Desk

LONG_MS = 1_000_000

Call = Callable[[], Awaitable[Any]]
Scenario = Callable[[Desk], Awaitable[tuple[Call, Call]]]


async def score(desk: Desk, key: str, member: str) -> float:
    return float(await desk.store.command("test", "ZSCORE", desk.store.key(key, QUEUE), member) or 0)


PASSING: dict[str, Scenario] = {}
"""Scripts, by their verb and what it is made for, that run at the store's memory limit too."""
REFUSED: dict[str, Scenario] = {}
"""Scripts that take new data, and are refused there as a whole."""


def verb_of(name: str) -> str:
    """The script of a scenario."""
    return name.partition(" ")[0]


def passes(verb: str, among: dict[str, Scenario] = PASSING) -> Callable[[Scenario], Scenario]:
    """Enter a scenario."""

    def enter(ready: Scenario) -> Scenario:
        among[verb] = ready
        return ready

    return enter


def is_in(desk: Desk, task_id: str, *states: State) -> Call:
    async def look() -> bool:
        return await desk.state(task_id) in states

    return look


def holds(desk: Desk, command: str, key: str, field: str, queue: str = QUEUE) -> Call:
    async def look() -> bool:
        return await desk.store.command("test", command, desk.store.key(key, queue), field) is not None

    return look


@passes("open")
async def _open(desk: Desk) -> tuple[Call, Call]:
    async def call() -> None:
        await desk.store.open_lease(QUEUE, LEASE)

    return call, holds(desk, "ZSCORE", "leases", LEASE)


@passes("settle_and_claim")
async def _settle_and_claim(desk: Desk) -> tuple[Call, Call]:
    done, failed = await desk.submit(2)
    await desk.claim()
    (waiting,) = await desk.submit()

    async def call() -> None:
        reports = ["retry", failed, pack_number(60_000, 5), ATTEMPT, b"", FAULT]
        answer = await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(10, 10, [done, OUTCOME], reports, turn=1))
        assert answer is not None
        assert [claim.id.decode() for claim in answer.claims] == [waiting]

    async def look() -> bool:
        states = [await desk.state(one) for one in (done, failed, waiting)]
        return states == [State.SUCCEEDED, State.RETRYING, State.RUNNING]

    return call, look


@passes("settle_and_claim of successes")
async def _succeed(desk: Desk) -> tuple[Call, Call]:
    task_id = await desk.in_state(State.RUNNING)

    async def call() -> None:
        assert await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, [task_id, OUTCOME], turn=1)) is not None

    return call, is_in(desk, task_id, State.SUCCEEDED)


@passes("settle_and_claim of nothing")
async def _claim(desk: Desk) -> tuple[Call, Call]:
    await desk.store.open_lease(QUEUE, LEASE)
    (task_id,) = await desk.submit()

    async def call() -> None:
        assert await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(10, 10)) is not None

    return call, is_in(desk, task_id, State.RUNNING)


@passes("renew")
async def _renew(desk: Desk) -> tuple[Call, Call]:
    await desk.store.open_lease(QUEUE, LEASE)
    await desk.store.command("test", "ZADD", desk.store.key("leases", QUEUE), 1, LEASE)
    beats = BeatStore(desk.store)

    async def call() -> None:
        assert await anyio.to_thread.run_sync(beats.renew, QUEUE, LEASE)
        beats.close()

    async def look() -> bool:
        return await score(desk, "leases", LEASE) > 1

    return call, look


@passes("release")
async def _release(desk: Desk) -> tuple[Call, Call]:
    task_id = await desk.in_state(State.RUNNING)

    async def call() -> None:
        assert await desk.store.release(QUEUE, LEASE, [task_id.encode()]) == 1

    return call, is_in(desk, task_id, State.PENDING)


@passes("cancel")
async def _cancel(desk: Desk) -> tuple[Call, Call]:
    (task_id,) = await desk.submit(retain_ms=60_000)

    async def call() -> None:
        await desk.store.cancel(QUEUE, task_id)

    return call, is_in(desk, task_id, State.CANCELLED)


@passes("patrol")
async def _patrol(desk: Desk) -> tuple[Call, Call]:
    await desk.store.open_lease(QUEUE, LEASE)
    await desk.store.command("test", "ZADD", desk.store.key("leases", QUEUE), 10**15, LEASE)

    async def call() -> None:
        await desk.store.patrol(QUEUE, LONG_MS)

    async def look() -> bool:
        return await score(desk, "leases", LEASE) < 10**14

    return call, look


@passes("reap")
async def _reap(desk: Desk) -> tuple[Call, Call]:
    task_id = await desk.in_state(State.RUNNING)
    (held,) = await desk.store.held_by(QUEUE, LEASE)
    await desk.store.command("test", "ZADD", desk.store.key("leases", QUEUE), 1, LEASE)
    verdict = Verdict(held, "pending", 0, 5, Attempt(1, Ending.LOST, 1, 0, "worker"))

    async def call() -> None:
        assert await desk.store.reap(QUEUE, LEASE, [verdict]) == 1

    return call, is_in(desk, task_id, State.PENDING)


@passes("remove")
async def _remove(desk: Desk) -> tuple[Call, Call]:
    task_id, _ = await desk.submit(2, batch="b")

    async def call() -> None:
        await desk.store.remove(QUEUE, task_id)

    async def look() -> bool:
        return await desk.store.inspect(QUEUE, task_id) is None

    return call, look


@passes("promote")
async def _promote(desk: Desk) -> tuple[Call, Call]:
    (task_id,) = await desk.submit(delay_ms=60_000)
    await desk.store.command("test", "ZADD", desk.store.key("scheduled", QUEUE), 1, task_id)

    async def call() -> None:
        await desk.store.promote(QUEUE)

    return call, is_in(desk, task_id, State.PENDING)


@passes("prune")
async def _prune(desk: Desk) -> tuple[Call, Call]:
    task_id = await desk.in_state(State.SUCCEEDED, batch="b")

    async def call() -> None:
        assert await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=0, keep=0) == 1

    async def look() -> bool:
        return await desk.store.inspect(QUEUE, task_id) is None

    return call, look


@passes("adopt")
async def _adopt(desk: Desk) -> tuple[Call, Call]:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("hold", task_id)

    async def call() -> None:
        assert await desk.store.adopt(QUEUE, [(task_id.encode(), Record("echo", True))]) == 1

    async def look() -> bool:
        return await desk.store.place(QUEUE, task_id) == 0

    return call, look


@passes("retry")
async def _retry(desk: Desk) -> tuple[Call, Call]:
    task_id = await desk.in_state(State.DEAD, unique=Unique("k"), unique_key="k")

    async def call() -> None:
        await desk.store.retry(QUEUE, [(task_id, 5)], [State.DEAD])

    return call, is_in(desk, task_id, State.PENDING)


@passes("configure")
async def _configure(desk: Desk) -> tuple[Call, Call]:
    async def call() -> None:
        await desk.store.configure(QUEUE, {"paused": "1"})

    return call, holds(desk, "HGET", "settings", "paused")


@passes("trim")
async def _trim(desk: Desk) -> tuple[Call, Call]:
    await desk.store.command("test", "HSET", desk.store.key("stats", QUEUE), "rolled", 1)

    async def call() -> None:
        await desk.store.trim(QUEUE)

    async def look() -> bool:
        return int(await desk.store.command("test", "HGET", desk.store.key("stats", QUEUE), "rolled")) > 1

    return call, look


@passes("beat")
async def _beat(desk: Desk) -> tuple[Call, Call]:
    beats = BeatStore(desk.store)

    async def call() -> None:
        await anyio.to_thread.run_sync(beats.beat, Beat("worker"))
        beats.close()

    return call, holds(desk, "ZSCORE", "beats", "worker", "")


@passes("announce")
async def _announce(desk: Desk) -> tuple[Call, Call]:
    beats = BeatStore(desk.store)

    async def call() -> None:
        await anyio.to_thread.run_sync(beats.announce, {"echo": b"{}"})
        beats.close()

    return call, holds(desk, "HGET", "handlers", "echo", "")


@passes("register")
async def _register(desk: Desk) -> tuple[Call, Call]:
    async def call() -> None:
        await desk.store.route("other")

    return call, holds(desk, "HGET", "queues", "other", "")


@passes("secret")
async def _secret(desk: Desk) -> tuple[Call, Call]:
    found: list[bytes] = []

    async def call() -> None:
        found.append(await read_secret(desk.store))

    async def look() -> bool:
        return found == [await read_secret(desk.store)] and len(found[0]) == 32

    return call, look


@passes("note")
async def _note(desk: Desk) -> tuple[Call, Call]:
    operations = Operations(desk.store)

    async def call() -> None:
        await operations.create(Operation("op_1", "delete", Filter(), "running", 1, 1, "me"))

    async def look() -> bool:
        return await operations.under_way() == ["op_1"]

    return call, look


@passes("operate")
async def _operate(desk: Desk) -> tuple[Call, Call]:
    operations = Operations(desk.store)
    await operations.create(Operation("op_1", "delete", Filter(), "running", 1, 1, "me"))

    async def call() -> None:
        assert await operations.take("op_1", "first") is not None

    return call, holds(desk, "HGET", "operators", "op_1", "")


@passes("mend")
async def _mend(desk: Desk) -> tuple[Call, Call]:
    (task_id,) = await desk.submit()

    await desk.store.command("test", "ZREM", desk.store.key("pending", QUEUE), task_id)

    async def call() -> None:
        assert await desk.store.mend(QUEUE, [(task_id.encode(), State.PENDING, 5)]) == 1

    return call, holds(desk, "ZSCORE", "pending", task_id)


@passes("order")
async def _order(desk: Desk) -> tuple[Call, Call]:
    async def call() -> None:
        await desk.store.order("orders", "worker", "stop")

    return call, holds(desk, "HGET", "orders", "worker", "")


@passes("submit", REFUSED)
async def _submit(desk: Desk) -> tuple[Call, Call]:
    plain, delayed, rich = ids = [desk.mint() for _ in range(3)]
    terms: list[dict[str, Any]] = [{}, {"delay_ms": 60_000, "expires_in_ms": 90_000}, desk.everything()]
    batch = [(task_id, submission(**one)) for task_id, one in zip(ids, terms, strict=True)]

    async def call() -> None:
        assert await desk.store.submit(QUEUE, batch) == {}

    async def look() -> bool:
        sights = [await desk.store.inspect(QUEUE, task_id) for task_id in (plain, delayed, rich)]
        return [sight and sight.state for sight in sights] == [State.PENDING, State.SCHEDULED, State.PENDING]

    return call, look


@passes("edit", REFUSED)
async def _edit(desk: Desk) -> tuple[Call, Call]:
    (task_id,) = await desk.submit()
    raw = await desk.store.raw_record(QUEUE, task_id)
    assert raw is not None

    async def call() -> None:
        await desk.store.edit(QUEUE, task_id, raw, Record("other", True), 10**14)

    async def look() -> bool:
        sight = await desk.sight(task_id)
        return (sight.state, sight.record.task) == (State.SCHEDULED, "other")

    return call, look


@passes("reserve", REFUSED)
async def _reserve(desk: Desk) -> tuple[Call, Call]:
    name = "idempotency:x"

    async def call() -> None:
        await desk.store.run("reserve", "", b"x", 60_000, index=name)

    async def look() -> bool:
        return await desk.store.command("test", "GET", desk.store.key(name)) is not None

    return call, look
