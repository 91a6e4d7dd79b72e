"""A store at its memory limit: what takes new data is refused as a whole, everything else passes, so that a full store
can be drained, by workers that start then too.

Each script is called on real servers whose limit is set below what they use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import anyio
import pytest

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.errors import StoreFull
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Ending, Record, Unique
from _taskqueue.filters import Filter
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Exchange, Verdict, pack_number
from _taskqueue.store.calls import BeatStore
from _taskqueue.store.operations import Operation, Operations
from _taskqueue.store.scripts import load_scripts
from _taskqueue.store.store import Store
from _taskqueue.web.site import read_secret
from tests.conftest import bundled_binary, debian_binary, end_server, open_store, start_server, submission
from tests.store.desk import ATTEMPT, FAILED, FAULT, LEASE, OUTCOME, QUEUE, Desk

pytestmark = pytest.mark.anyio

LIMIT_S = 20.0
LONG_MS = 1_000_000
REFUSED = frozenset({"submit", "edit", "reserve"})
"""Scripts that take new data."""
READING = frozenset({"count", "inspect", "look", "muster", "page"})

Call = Callable[[], Awaitable[Any]]


@pytest.fixture(scope="module", params=[bundled_binary, debian_binary], ids=["bundled", "debian"])
def server_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that only these tests fill."""
    process, url = start_server(request.param(), tmp_path_factory.mktemp("full"))
    yield url
    end_server(process)


@pytest.fixture
async def desk(server_url: str, metrics: Metrics, new_id: Callable[[], str]) -> AsyncIterator[Desk]:
    """A queue on that server."""
    async for store in open_store(server_url, metrics):
        yield Desk(store, new_id)


@asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    """The server is over its limit for the length of the block."""
    await store.command("test", "CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        await store.command("test", "CONFIG", "SET", "maxmemory", "0")


async def score(desk: Desk, key: str, member: str) -> float:
    return float(await desk.store.command("test", "ZSCORE", desk.store.key(key, QUEUE), member) or 0)


# -- what must pass: a call, made ready before the store is full, and what must be so when it was made -----------------

PASSING: dict[str, Callable[[Desk], Awaitable[tuple[Call, Call]]]] = {}


def passes(verb: str) -> Callable[[Callable[[Desk], Awaitable[tuple[Call, Call]]]], object]:
    """Enter a scenario: it gives the call, and a look that gives whether the call did what it is for."""

    def enter(ready: Callable[[Desk], Awaitable[tuple[Call, Call]]]) -> object:
        PASSING[verb] = ready
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

    async def look() -> bool:
        return await operations.take("op_1", "second") is None

    return call, look


@passes("order")
async def _order(desk: Desk) -> tuple[Call, Call]:
    async def call() -> None:
        await desk.store.order("orders", "worker", "stop")

    return call, holds(desk, "HGET", "orders", "worker", "")


@pytest.mark.parametrize("verb", sorted(PASSING))
async def test_what_drains_passes_when_the_store_is_full(desk: Desk, verb: str) -> None:
    call, look = await PASSING[verb](desk)

    async with full(desk.store):
        with anyio.fail_after(LIMIT_S):
            await call()

        assert await look()


def test_every_script_is_known_to_pass_to_be_refused_or_to_read() -> None:
    assert sorted([*PASSING, *REFUSED, *READING]) == sorted(load_scripts())


@pytest.mark.parametrize(
    "verb", ["settle_and_claim", "reap", "renew", "release", "cancel", "patrol", "remove", "open", "promote", "prune", "adopt", "retry", "configure"]
)
def test_what_drains_a_queue_begins_with_the_write_that_cannot_grow(verb: str) -> None:
    """Whatever it does first: another order of its writes must not stop it at the limit."""
    text = (resources.files("_taskqueue.store") / "lua" / f"{verb}.lua").read_text()
    (uses,) = [line for line in text.splitlines() if line.startswith("-- uses:")]

    assert "drain" in uses.removeprefix("-- uses:").replace(" ", "").split(",")


# -- what must be refused, as a whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms", [{}, {"delay_ms": 60_000}, {"expires_in_ms": 60_000}, {"tags": ("t",), "batch": "b"}, {"unique": Unique("k"), "unique_key": "k"}]
)
async def test_a_submission_is_refused_and_nothing_of_it_is_kept(desk: Desk, terms: dict[str, Any]) -> None:
    task_id = desk.mint()

    async with full(desk.store):
        with pytest.raises(StoreFull):
            await desk.store.submit(QUEUE, [(task_id, submission(**terms))])

    assert await desk.store.inspect(QUEUE, task_id) is None
    assert await desk.store.submit(QUEUE, [(desk.mint(), submission(**terms))]) == {}


async def test_an_edit_is_refused_and_changes_nothing(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    raw = await desk.store.raw_record(QUEUE, task_id)
    assert raw is not None

    async with full(desk.store):
        with pytest.raises(StoreFull):
            await desk.store.edit(QUEUE, task_id, raw, Record("other", True), None)

    assert await desk.store.raw_record(QUEUE, task_id) == raw


async def test_an_idempotency_key_is_refused(desk: Desk) -> None:
    async with full(desk.store):
        with pytest.raises(StoreFull):
            await desk.store.run("reserve", "", b"x", 1_000, index="idempotency:x")


# -- together -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"succeeded": True}, {"failed": True}, {"released": True}])
async def test_a_worker_that_starts_at_a_full_store_drains_it(desk: Desk, how: dict[str, bool]) -> None:
    ids = await desk.submit(1_000)

    async with full(desk.store):
        await desk.store.route(QUEUE)
        await desk.store.open_lease(QUEUE, LEASE)
        claims = (await desk.call(100)).claims
        met: list[str] = []
        while claims:  # each call takes what is there, or fails
            met += [claim.id.decode() for claim in claims]
            if "succeeded" in how:
                answer = await desk.call(100, succeeded=[part for claim in claims for part in (claim.id, OUTCOME)])
            elif "failed" in how:
                reports = [part for claim in claims for part in ("dead", claim.id, 0, ATTEMPT, FAILED, FAULT)]
                answer = await desk.call(100, reports=reports)
            else:
                await desk.store.release(QUEUE, LEASE, [claim.id for claim in claims])
                break
            claims = answer.claims
        counts = (await desk.store.count(QUEUE)).states

    expected = {"succeeded": 1_000} if "succeeded" in how else {"dead": 1_000} if "failed" in how else {"pending": 1_000}
    assert {state: count for state, count in counts.items() if count} == expected
    assert met == ids[: len(met)]


async def test_a_full_store_is_no_reason_to_be_unready(desk: Desk) -> None:
    async with full(desk.store):
        await desk.store.ping()
