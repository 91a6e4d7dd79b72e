"""Tries a store out before anything relies on it: it may answer PING, and refuse the work."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from redis.exceptions import NoPermissionError

from _taskqueue.domain.errors import StoreFull, StoreRefused, StoreUnsuitable
from _taskqueue.domain.task import QUEUE_DEFAULT
from _taskqueue.store.calls import Calls
from _taskqueue.store.faults import rights
from _taskqueue.store.keys import GLOBAL_KEYS, QUEUE_KEYS
from _taskqueue.store.scripts import load_scripts
from _taskqueue.store.store import Store

BLOCK_S = 0.01
"""Not waited for: the key that is tried holds no list."""
QUEUES_MAX = 100
"""Queues whose keys are looked at: a foreign key is met at the start or, in a store of very many queues, by its calls."""
DIRECT = (
    "EXISTS", "GET", "HDEL", "HGET", "HGETALL", "HMGET", "HSCAN", "HSET", "SADD", "SET", "SMEMBERS", "SREM", "XADD",
    "XRANGE", "XREVRANGE", "ZLEXCOUNT", "ZMSCORE", "ZRANGE", "ZRANK", "ZREM", "ZSCORE",
)  # fmt: skip
"""Commands that are sent as they are, besides those in scripts."""

_WORD = re.compile(r"'([A-Z]{3,})'")
_KINDS = {"hash": b"hash", "sorted": b"zset", "string": b"string", "list": b"list", "stream": b"stream", "set": b"set"}
"""First word of the table of keys → what TYPE says."""


@cache
def needed_commands() -> tuple[str, ...]:
    """Every command that works on a key, in scripts or not, and some words that are none, which no server denies."""
    return tuple(sorted({*DIRECT, *(word for script in load_scripts().values() for word in _WORD.findall(script.source))}))


async def try_out(store: Store) -> None:
    """See that the store runs what will be asked of it. A store that is full, or in memory, passes.

    Raises:
        StoreRefused: its user may not run a command, or not touch a key.
        StoreUnsuitable: somebody else's keys have the names of ours.
        StoreUnavailable: no answer.
    """
    if store.connector.in_memory:
        return
    for queue, key in (("", "alive"), (QUEUE_DEFAULT, "durable")):
        await _try_commands(store, queue, key)
    await _look_at_types(store, "", GLOBAL_KEYS.items())
    for queue in {QUEUE_DEFAULT, *(await store.queues())[:QUEUES_MAX]}:
        await _look_at_types(store, queue, QUEUE_KEYS.items())


async def _try_commands(store: Calls, queue: str, index: str) -> None:
    script, keys = store.bound("probe", queue, index)
    try:
        denied = await store.command("probe", "EVAL", script.source, len(keys), *keys, *needed_commands())
        await store.command("probe", "EVALSHA", script.sha, len(keys), *keys)
        blocked = (await store.pipeline("probe", keys[0], ("BLPOP", keys[0], BLOCK_S)))[0]  # no script may
    except StoreFull:  # says so before it looks at commands; whoever starts may drain it
        return
    if isinstance(blocked, NoPermissionError):
        raise store.translated(blocked) from blocked
    if denied:
        names = ", ".join(name.decode() for name in denied)
        raise StoreRefused(f"the store's user lacks a permission: it may not run {names} on {keys[0]}", rights(store.namespace))


async def _look_at_types(store: Calls, queue: str, table: Iterable[tuple[str, str]]) -> None:
    expected = {store.key(name, queue): _KINDS[text.partition(" ")[0]] for name, text in table}
    replies = await store.pipeline("probe", next(iter(expected)), *(("TYPE", key) for key in expected))
    for (key, kind), reply in zip(expected.items(), replies, strict=True):
        if isinstance(reply, Exception):
            raise store.translated(reply) from reply
        found = reply if isinstance(reply, bytes) else str(reply).encode()
        if found not in (b"none", kind):
            raise StoreUnsuitable(
                f"the key {key} in the Redis at {store.connector.shown} is a {found.decode()}, where this queue keeps a {kind.decode()}: "
                "something else uses these names; choose another --namespace, or another database"
            )
