"""A store is tried out before anything relies on it: what it would refuse later ends the start, in one line."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis

from _taskqueue.domain.errors import StoreRefused, StoreUnavailable, StoreUnsuitable
from _taskqueue.metrics import Metrics
from _taskqueue.store.connect import Connector
from _taskqueue.store.store import Store
from _taskqueue.store.trial import needed_commands, try_out
from tests.conftest import start_server, submission
from tests.keyspace import every_key

pytestmark = pytest.mark.anyio

PACKAGE = Path(__file__).parents[2] / "_taskqueue"
USED = {"EVAL", "EVALSHA", "INFO", "TYPE", "BLPOP"}
"""Commands that the trial itself sends."""
ASKED_FOR = {"CONFIG", "WAIT", "WAITAOF"}
"""Commands that only a submission with a durability of its own needs; it is refused where they are denied."""

AsUser = Callable[..., Store]


@pytest.fixture(params=["bundled", "debian"])
def root(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A client that may do anything, on each real server in turn."""
    with redis.Redis.from_url(str(request.getfixturevalue(f"{request.param}_url"))) as client:
        yield client


@pytest.fixture
async def as_user(root: redis.Redis, metrics: Metrics) -> AsyncIterator[AsUser]:
    """``as_user("-zadd")``: a store whose user has the rights that the README names, and then these."""
    made: list[Store] = []

    def make(*rights: str, keys: tuple[str, ...] = ("~{0}:*", "~{{{0}}}:*")) -> Store:
        name = f"t{secrets.token_hex(6)}"
        grant(root, name, *(key.format(name) for key in keys), "+@all", "-@dangerous", "+info", *rights)
        path = root.connection_pool.connection_kwargs["path"]
        made.append(Store(Connector(f"unix://{name}:pw@{path}"), metrics, namespace=name))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()
        root.execute_command("ACL", "DELUSER", store.namespace)  # type: ignore[no-untyped-call]


def grant(root: redis.Redis, name: str, *rights: str) -> None:
    """Make a user with these rights, or change them."""
    root.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rights)  # type: ignore[no-untyped-call]


async def test_the_rights_that_the_readme_names_are_enough(as_user: AsUser) -> None:
    store = as_user()

    await try_out(store)
    await store.ping()
    await store.route("default")

    assert await store.submit("default", [("task" + "0" * 26, submission())]) == {}


async def test_nothing_is_left_that_does_not_go_by_itself(as_user: AsUser, root: redis.Redis) -> None:
    store = as_user()

    await try_out(store)

    stem = store.namespace
    left = {key.decode() for key in root.scan_iter(f"*{stem}*")}
    assert left == {f"{{{stem}}}:alive", f"{stem}:{{default}}:durable"}
    assert all(0 < root.pttl(key) <= 10_000 for key in left)


@pytest.mark.parametrize("command", ["eval", "evalsha", "set", "type", "zadd", "hset", "blpop", "hscan", "xadd", "time", "hgetall"])
async def test_a_command_that_is_denied_is_named(as_user: AsUser, root: redis.Redis, command: str) -> None:
    store = as_user(f"-{command}")

    with pytest.raises(StoreRefused, match=rf"(?i)lacks a permission: .*\b{command}\b"):
        await try_out(store)

    assert all(root.pttl(key) > 0 for key in root.scan_iter(f"*{store.namespace}*"))


@pytest.mark.parametrize("keys", [("~other:*",), ("~{0}:*",), ("~{{{0}}}:*",)])
async def test_keys_that_are_denied_are_noticed(as_user: AsUser, keys: tuple[str, ...]) -> None:
    with pytest.raises(StoreRefused, match=r"lacks a permission: .*key"):
        await try_out(as_user(keys=keys))


@pytest.mark.parametrize(
    ("key", "plant"),
    [
        ("{namespace}:{{default}}:pending", ("SET", "x")),
        ("{namespace}:{{default}}:wake", ("SADD", "x")),
        ("{namespace}:{{mails}}:records", ("ZADD", "1", "x")),
        ("{{{namespace}}}:queues", ("RPUSH", "x")),
        ("{{{namespace}}}:secret", ("HSET", "x", "y")),
        ("{{{namespace}}}:operating", ("XADD", "*", "x", "y")),
    ],
)
async def test_a_key_of_another_type_is_named(as_user: AsUser, root: redis.Redis, key: str, plant: tuple[str, ...]) -> None:
    store = as_user()
    await store.route("mails")
    key = key.format(namespace=store.namespace)
    root.delete(key)
    root.execute_command(plant[0], key, *plant[1:])  # type: ignore[no-untyped-call]

    with pytest.raises(StoreUnsuitable, match=re.escape(key)) as caught:
        await try_out(store)

    assert "--namespace" in str(caught.value)
    root.delete(key)


async def test_a_full_store_passes_and_one_that_only_reads_does_not(tmp_path: Path, metrics: Metrics) -> None:
    process, url = start_server("redis-server", tmp_path)
    try:
        store = Store(Connector(url), metrics, namespace="t")
        with redis.Redis.from_url(url) as root:
            root.config_set("maxmemory", "1")
            await try_out(store)
            await store.ping()

            root.config_set("maxmemory", "0")
            root.replicaof("127.0.0.1", "1")
            with pytest.raises(StoreUnavailable, match=r"takes no writes: You can't write against a read only replica\.?$") as caught:
                await try_out(store)
        assert "master" in caught.value.remedy
        await store.aclose()
    finally:
        process.kill()
        process.wait()


async def test_rights_that_are_taken_away_at_run_time_are_an_error_of_the_call(as_user: AsUser, root: redis.Redis) -> None:
    store = as_user()
    await try_out(store)
    stem = store.namespace

    grant(root, stem, "~*", "+@all", "-evalsha")
    with pytest.raises(StoreRefused):
        await store.ping()
    grant(root, stem, "~*", "+@all")

    await store.ping()


def test_every_command_is_tried(root: redis.Redis) -> None:
    texts = [path.read_text(encoding="utf-8") for kind in ("py", "lua") for path in PACKAGE.rglob(f"*.{kind}")]
    words = {word for text in texts for word in re.findall(r"""["']([A-Z]{3,})["']""", text)}
    known = {name.upper() for name in root.command()} | {"WAITAOF"}  # since Redis 7.2

    assert {"ZADD", "HGET", "BLPOP", "XADD"} <= words & known
    assert words & known - {"COMMAND"} <= set(needed_commands()) | USED | ASKED_FOR


async def test_in_memory_there_is_nothing_to_try(metrics: Metrics) -> None:
    store = Store(Connector("memory://"), metrics, namespace="t")

    await try_out(store)

    assert await every_key(store) == set()
    await store.aclose()
