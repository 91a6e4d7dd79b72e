"""A store at its memory limit: what takes new data is refused as a whole, everything else passes, so that a full store
can be drained, by workers that start then too.

Each script is called on real servers whose limit is set below what they use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import anyio
import pytest

from _taskqueue.domain.errors import StoreFull
from _taskqueue.domain.task import Unique
from _taskqueue.metrics import Metrics
from _taskqueue.store.scripts import load_scripts
from _taskqueue.store.store import Store
from tests.conftest import bundled_binary, debian_binary, end_server, open_store, start_server, submission
from tests.store.desk import ATTEMPT, FAILED, FAULT, LEASE, OUTCOME, QUEUE, Desk
from tests.store.scenarios import PASSING, REFUSED, verb_of

pytestmark = pytest.mark.anyio

LIMIT_S = 20.0
OF_A_QUEUE = (
    "adopt", "cancel", "configure", "mend", "open", "patrol", "promote", "prune", "reap", "release", "remove", "renew", "retry",
    "settle_and_claim",
)  # fmt: skip
READING = frozenset({"count", "inspect", "look", "muster", "page", "seek"})
TRYING = frozenset({"probe"})
"""It tells that the store is full; a test below holds that this is no reason to be unready."""


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


@pytest.mark.parametrize("verb", sorted(PASSING))
async def test_what_drains_passes_when_the_store_is_full(desk: Desk, verb: str) -> None:
    call, look = await PASSING[verb](desk)

    async with full(desk.store):
        with anyio.fail_after(LIMIT_S):
            await call()

        assert await look()


def test_every_script_is_known_to_pass_to_be_refused_or_to_read() -> None:
    assert sorted({verb_of(name) for name in [*PASSING, *REFUSED, *READING, *TRYING]}) == sorted(load_scripts())


@pytest.mark.parametrize("verb", OF_A_QUEUE)
def test_what_drains_a_queue_begins_with_the_write_that_cannot_grow(verb: str) -> None:
    """Whatever it does first: another order of its writes must not stop it at the limit."""
    text = (resources.files("_taskqueue.store") / "lua" / f"{verb}.lua").read_text()
    (uses,) = [line for line in text.splitlines() if line.startswith("-- uses:")]

    assert "drain" in uses.removeprefix("-- uses:").replace(" ", "").split(",")


# -- what must be refused, as a whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [{}, {"delay_ms": 60_000}, {"expires_in_ms": 60_000}, {"tags": ("t",), "batch": "b"}, {"unique": Unique("k"), "unique_key": "k"}],
)
async def test_a_submission_is_refused_and_nothing_of_it_is_kept(desk: Desk, terms: dict[str, Any]) -> None:
    task_id = desk.mint()

    async with full(desk.store):
        with pytest.raises(StoreFull):
            await desk.store.submit(QUEUE, [(task_id, submission(**terms))])

    assert await desk.store.inspect(QUEUE, task_id) is None
    assert await desk.store.submit(QUEUE, [(desk.mint(), submission(**terms))]) == {}


@pytest.mark.parametrize("verb", sorted(REFUSED))
async def test_what_takes_new_data_is_refused_and_changes_nothing(desk: Desk, verb: str) -> None:
    call, look = await REFUSED[verb](desk)

    async with full(desk.store):
        with pytest.raises(StoreFull):
            await call()

    assert not await look()


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
