"""Calls to Redis: the connection, scripts by their verb, and errors in the product's own words.

Every call raises StoreUnavailable when Redis is out of reach or not ready (the outcome is then unknown) and StoreFull
when it refuses to grow.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, Self

import msgspec
from redis.exceptions import NoScriptError

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import StoreFull, StoreUnsuitable
from _taskqueue.domain.task import MAX_CRASHES_DEFAULT
from _taskqueue.metrics import Metrics
from _taskqueue.store import faults
from _taskqueue.store.clock import StoreClock
from _taskqueue.store.connect import Connector
from _taskqueue.store.direct import DirectClient
from _taskqueue.store.keys import QueueKeys, global_key
from _taskqueue.store.scripts import Script, load_scripts

VERSION_MIN = (6, 2)
WORKER_SILENT_MS = 600_000
"""A worker that did not beat for this long is forgotten."""


class Calls:
    """One namespace of one Redis.

    Args:
        lease_ms: how long a lease lasts without renewal.
        head_start_ms: head start of each priority level.
        max_crashes: lost workers before a task is dead as poison.
    """

    def __init__(
        self,
        connector: Connector,
        metrics: Metrics,
        *,
        namespace: str,
        lease_ms: int = 30_000,
        head_start_ms: int = 60_000,
        max_crashes: int = MAX_CRASHES_DEFAULT,
    ) -> None:
        self.connector = connector
        self.namespace = namespace
        self.lease_ms = lease_ms
        self.head_start_ms = head_start_ms
        self.max_crashes = max_crashes
        self.clock = StoreClock()
        self._metrics = metrics
        self._client = connector.client()
        self._scripts = load_scripts()
        self._calls: dict[tuple[str, str, str], tuple[Script, list[str]]] = {}
        self._timers: dict[str, Any] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def apart(self) -> Self:
        """The same store, and what it knows, on connections of its own, which no crowd elsewhere in this process can use up."""
        twin = copy.copy(self)
        twin._client = self.connector.client()  # noqa: SLF001 - its own class
        return twin

    # -- the connection ---------------------------------------------------------------------------------------------

    async def check(self, level: Durability = Durability.PRIMARY) -> list[str]:
        """See that the store can be used for writes of this level; gives what its owner should know.

        Raises:
            StoreUnsuitable: older than 6.2, evicts keys, or has no disk or replica for the level.
            StoreUnavailable: no answer, or still loading.
        """
        if self.connector.in_memory:
            if level is not Durability.PRIMARY:
                raise StoreUnsuitable(f"memory:// keeps nothing, so it cannot promise --durability {level}; name a real store")
            return ["memory:// keeps nothing: all tasks are gone when this process ends"]
        info = await self.command("check", "INFO")
        fields = _read_info(info)
        version = str(fields.get("redis_version", "0"))
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < VERSION_MIN:
            raise StoreUnsuitable(f"the Redis at {self.connector.shown} is version {version}; 6.2 or newer is needed")
        policy = fields.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreUnsuitable(
                f"the Redis at {self.connector.shown} may evict keys (maxmemory-policy {policy}), so tasks could vanish; "
                "run: redis-cli config set maxmemory-policy noeviction"
            )
        return self._read_safety(fields, level)

    def _read_safety(self, fields: Mapping[str, Any], level: Durability) -> list[str]:
        keeps, copies = str(fields.get("aof_enabled", "1")) == "1", int(fields.get("connected_slaves", 0))
        if level is Durability.DISK and not keeps:
            raise StoreUnsuitable(
                f"the Redis at {self.connector.shown} keeps no append-only file, so it cannot promise --durability disk; "
                "run: redis-cli config set appendonly yes"
            )
        if level is Durability.REPLICA and not copies:
            return ["no replica is connected: with --durability replica submissions are refused until one is"]
        if keeps or copies:
            return []
        return [
            "the store has neither an append-only file nor a replica: a restart of it loses tasks; run: redis-cli config set appendonly yes"
        ]

    async def memory_share(self) -> float:
        """How much of its memory limit the store uses, from 0 to 1; 0 when it has none."""
        if self.connector.in_memory:
            return 0.0
        fields = _read_info(await self.command("memory", "INFO", "memory"))
        limit = int(fields.get("maxmemory", 0))
        return int(fields.get("used_memory", 0)) / limit if limit else 0.0

    async def ping(self) -> None:
        """Prove that the store runs scripts that write (PING alone is fine in a wedged Redis); one that is full still drains."""
        with suppress(StoreFull):
            await self.run("probe", "", index="alive")

    async def command(self, op: str, *args: Any) -> Any:
        """One command; ``op`` names it in the metrics."""
        return await self._timed(op, self._client.execute_command(*args))

    async def pipeline(self, op: str, key: str, *commands: tuple[Any, ...]) -> list[Any]:
        """Commands on the node of a key, down one connection; gives replies, and errors in the place of replies."""
        client: Any = self._client
        if isinstance(client, DirectClient):
            call = client.execute_together(*commands)
        else:
            clustered = self.connector.scheme == "redis+cluster"
            where = {"target_nodes": client.get_node_from_key(key)} if clustered else {}
            line = client.pipeline() if clustered else client.pipeline(transaction=False)
            for one in commands:
                line.execute_command(*one, **where)
            call = line.execute(raise_on_error=False)
        replies: list[Any] = await self._timed(op, call)
        return replies

    async def _timed(self, op: str, call: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        try:
            return await call
        except NoScriptError:
            raise
        except Exception as error:
            raise self.translated(error) from error
        finally:
            timer = self._timers.get(op)
            if timer is None:
                timer = self._timers[op] = self._metrics.redis_command_seconds.labels(op)
            timer.observe(time.perf_counter() - began)

    def translated(self, error: Exception) -> Exception:
        """The product's own error for one of redis-py; counts it."""
        self._metrics.redis_errors.labels(faults.kind_of(error)).inc()
        return faults.translate(error, self.namespace) or error

    async def run(self, verb: str, queue: str, *args: Any, index: str = "") -> Any:
        """One script, for a queue or (without one) for the whole namespace; ``index`` names its key ``index``."""
        script, keys = self.bound(verb, queue, index)
        try:
            return await self.command(verb, "EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:  # first use, or the server was restarted or flushed; EVAL also caches it
            return await self.command(verb, "EVAL", script.source, len(keys), *keys, *args)

    def bound(self, verb: str, queue: str = "", index: str = "") -> tuple[Script, list[str]]:
        """A script with its keys, for a queue or (without one) for the whole namespace."""
        found = self._calls.get((verb, queue, index))
        if found is None:
            script = self._scripts[verb]
            found = script, [self.key(name, queue, index) for name in script.keys]
            if queue or not index:
                self._calls[verb, queue, index] = found
        return found

    def key(self, name: str, queue: str = "", index: str = "") -> str:
        """The Redis key of this name, of a queue or of none."""
        if not queue:
            return global_key(self.namespace, index or name)
        return QueueKeys(self.namespace, queue).key(index if name == "index" else name)


class BeatStore:
    """What the heartbeat thread does, on a blocking connection of its own."""

    def __init__(self, store: Calls) -> None:
        self._store = store
        self._client = store.connector.thread_client()

    def renew(self, queue: str, lease: str) -> bool:
        """Extend a lease; False when it is gone. Raises StoreError."""
        return bool(self._run("renew", queue, lease, self._store.lease_ms))

    def beat(self, beat: Beat) -> str:
        """Tell everybody that this worker lives; gives what it is told to do, or nothing. Raises StoreError."""
        order: bytes = self._run("beat", "", beat.worker, msgspec.json.encode(beat), WORKER_SILENT_MS)
        return order.decode()

    def announce(self, tasks: Mapping[str, bytes]) -> None:
        """Tell everybody which tasks this worker knows. Raises StoreError."""
        self._run("announce", "", WORKER_SILENT_MS, *chain.from_iterable(tasks.items()))

    def _run(self, verb: str, queue: str, *args: Any) -> Any:
        script, keys = self._store.bound(verb, queue)
        try:
            try:
                return self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:
                return self._client.execute_command("EVAL", script.source, len(keys), *keys, *args)
        except Exception as error:
            raise self._store.translated(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _read_info(info: Any) -> dict[str, Any]:
    if isinstance(info, dict):
        if "redis_version" in info or "used_memory" in info:
            return info
        return next((value for value in info.values() if isinstance(value, dict)), info)  # a cluster answers by node
    lines = (line.partition(":") for line in info.decode().splitlines())
    return {key: value.strip() for key, _, value in lines}
