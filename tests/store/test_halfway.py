"""A script that fails half-way: Redis undoes nothing of it. No task may be lost by that, and none be taken for done.

Every script is made to fail at every key it has, by a key of a foreign type in its place, and at every write, by a user
who lacks the command. Then all is put right: each task is in exactly one state, and the same call does what it is for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from _taskqueue.domain.errors import StoreError
from _taskqueue.metrics import Metrics
from _taskqueue.store.keys import GLOBAL_KEYS, QUEUE_KEYS
from _taskqueue.store.scripts import load_scripts
from _taskqueue.store.store import Store
from tests.conftest import bundled_binary, debian_binary, end_server, open_store, start_server
from tests.keyspace import check_states, read_queue
from tests.store.desk import QUEUE, Desk
from tests.store.scenarios import PASSING, REFUSED, verb_of

pytestmark = pytest.mark.anyio

LIMIT_S = 20.0
ALL = {verb: ready for verb, ready in (PASSING | REFUSED).items() if verb != "mend"}
"""All but the one that begins with a task in no state."""
BROKEN = [(verb, name) for verb in sorted(ALL) for name in load_scripts()[verb_of(verb)].keys if name not in ("index", "idempotency")]
OPTIONAL = ("stats", "events", "wake")
WRITES = ["hset", "hdel", "hincrby", "hsetnx", "zadd", "zrem", "zremrangebyrank", "xadd", "rpush", "set"]


class RichDesk(Desk):
    """All that can hang on a task hangs on each of them, and somebody watches."""

    def more(self, terms: dict[str, Any]) -> dict[str, Any]:
        return {**self.everything(), **terms}


@pytest.fixture(scope="module", params=[bundled_binary, debian_binary], ids=["bundled", "debian"])
def server_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose users only these tests change."""
    process, url = start_server(request.param(), tmp_path_factory.mktemp("halfway"))
    yield url
    end_server(process)


@pytest.fixture
async def desk(server_url: str, metrics: Metrics, new_id: Callable[[], str]) -> AsyncIterator[Desk]:
    """A watched queue on that server, with a task that no scenario touches."""
    async for store in open_store(server_url, metrics):
        await store.command("test", "SET", store.key("watched", QUEUE), "1", "PX", 10_000)
        desk = RichDesk(store, new_id)
        await desk.submit(delay_ms=80_000)
        yield desk


@asynccontextmanager
async def foreign(store: Store, key: str, kind: str) -> AsyncIterator[None]:
    """Something else lies in the place of a key for the length of the block."""
    aside = f"aside {key}"
    with suppress(StoreError):  # there is none yet
        await store.command("test", "RENAME", key, aside)
    await store.command("test", *{"string": ("SET", key, "x"), "list": ("RPUSH", key, "x"), "hash": ("HSET", key, "x", "x")}[kind])
    try:
        yield
    finally:
        await store.command("test", "DEL", key)
        with suppress(StoreError):
            await store.command("test", "RENAME", aside, key)


@asynccontextmanager
async def denied(store: Store, command: str) -> AsyncIterator[None]:
    """The store's user lacks a command for the length of the block."""
    await store.command("test", "ACL", "SETUSER", "default", f"-{command}")
    try:
        yield
    finally:
        await store.command("test", "ACL", "SETUSER", "default", "+@all")


async def fails_and_is_made_again(desk: Desk, verb: str, trouble: Callable[[], Any]) -> None:
    """A call in trouble, and once more without it when it has not done what it is for."""
    call, look = await ALL[verb](desk)
    before = set((await read_queue(desk.store, QUEUE))["records"])

    async with trouble():
        with anyio.fail_after(LIMIT_S), suppress(StoreError, AssertionError):
            await call()

    space = await read_queue(desk.store, QUEUE)
    check_states(space)
    assert verb in ("remove", "prune") or before <= set(space["records"])
    if not await look():
        await call()
    assert await look()


@pytest.mark.parametrize(("verb", "name"), [("submit", "records"), ("settle_and_claim", "running"), ("release", "pending")])
async def test_the_trouble_is_trouble(desk: Desk, verb: str, name: str) -> None:
    call, _ = await ALL[verb](desk)

    async with foreign(desk.store, desk.store.key(name, QUEUE), "string"):
        with pytest.raises((StoreError, AssertionError)):
            await call()
    async with denied(desk.store, "zadd"):
        with pytest.raises((StoreError, AssertionError)):
            await call()


@pytest.mark.parametrize("kind", ["string", "list"])
@pytest.mark.parametrize(("verb", "name"), BROKEN)
async def test_a_key_of_a_foreign_type_loses_nothing(desk: Desk, verb: str, name: str, kind: str) -> None:
    schema = {**GLOBAL_KEYS, **QUEUE_KEYS}
    key = desk.store.key(name, QUEUE if name in QUEUE_KEYS else "")
    kind = "hash" if schema[name].startswith(kind) else kind

    await fails_and_is_made_again(desk, verb, lambda: foreign(desk.store, key, kind))


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("verb", sorted(ALL))
async def test_a_user_that_lacks_a_command_loses_nothing(desk: Desk, verb: str, command: str) -> None:
    await fails_and_is_made_again(desk, verb, lambda: denied(desk.store, command))


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, name in BROKEN if name in OPTIONAL and verb != "trim"])
async def test_counts_events_and_wake_ups_stand_in_the_way_of_no_task(desk: Desk, verb: str, name: str) -> None:
    call, look = await ALL[verb](desk)

    async with foreign(desk.store, desk.store.key(name, QUEUE), "string"):
        await call()

        assert await look()
