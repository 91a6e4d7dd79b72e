"""Opens the clients for a store URL: single, TLS, unix socket, Sentinel, Cluster, or in memory.

redis-py's own retries are off everywhere: its default runs a slow script eleven times. Whoever calls decides whether to
send again, and every script can take it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from typing import Any, Protocol

import hiredis
import redis
import redis.asyncio as aio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry as ThreadRetry

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.address import hide_password, read_address
from _taskqueue.store.direct import DirectClient

SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
BLOCK_S = 20.0
"""How long a wake-up call may block before it is sent anew: bounds how long a half-open connection goes unnoticed."""
CONNECTIONS_MAX = 64
"""Of one client; whoever finds none free waits. In a Cluster redis-py sets no bound."""


class Client(Protocol):
    """What the store needs of an asyncio client."""

    def execute_command(self, *args: Any) -> Awaitable[Any]: ...

    def aclose(self) -> Awaitable[None]: ...


class ThreadClient(Protocol):
    """What the heartbeat thread needs of a blocking client."""

    def execute_command(self, *args: Any) -> Any: ...

    def close(self) -> None: ...


class _FastPacking:
    """Packs commands in C: redis-py's asyncio connections do it in Python, 1.2 µs more for each argument pair."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [hiredis.pack_command(args)]


class _Tcp(_FastPacking, Connection):
    pass


class _Tls(_FastPacking, SSLConnection):
    pass


class _Unix(_FastPacking, UnixDomainSocketConnection):
    pass


_FAST: dict[str, type[Connection | SSLConnection | UnixDomainSocketConnection]] = {"redis": _Tcp, "rediss": _Tls, "unix": _Unix}


class Connector:
    """Knows how to reach one store.

    Args:
        url: as in ``address.py``.

    Raises:
        UsageError: the URL is none of these.
    """

    def __init__(self, url: str) -> None:
        self.shown = hide_password(url)
        self._address = read_address(url)
        self.scheme = self._address.scheme
        self._memory = _memory_server() if self.scheme == "memory" else None

    @property
    def in_memory(self) -> bool:
        """Everything is lost at exit, and only this process sees it."""
        return self._memory is not None

    def client(self) -> Client:
        """An asyncio client for calls that answer at once."""
        return self._open(0.0, CONNECTIONS_MAX)

    def blocking_client(self) -> Client:
        """An asyncio client whose calls may block up to BLOCK_S."""
        return self._open(BLOCK_S, sys.maxsize)

    def _open(self, block_s: float, connections_max: int) -> Client:
        if self._memory is not None:
            from fakeredis import FakeAsyncRedis

            return FakeAsyncRedis(server=self._memory)
        terms = self._terms(Retry(NoBackoff(), 0), block_s)
        if self.scheme == "redis+cluster":
            return RedisCluster(startup_nodes=[ClusterNode(*node) for node in self._address.nodes], **terms)
        if self.scheme == "redis+sentinel":
            library = self._master(Sentinel, terms)
        else:
            library = aio.Redis.from_pool(ConnectionPool(connection_class=_FAST[self.scheme], **self._place("path"), **terms))
        return DirectClient(library, terms["socket_timeout"], connections_max)

    def thread_client(self) -> ThreadClient:
        """A blocking client for use in an OS thread."""
        if self._memory is not None:
            from fakeredis import FakeRedis

            return FakeRedis(server=self._memory)
        terms = self._terms(ThreadRetry(NoBackoff(), 0))
        if self.scheme == "redis+cluster":
            nodes = [redis.cluster.ClusterNode(*node) for node in self._address.nodes]  # type: ignore[no-untyped-call]
            return redis.RedisCluster(startup_nodes=nodes, **terms)
        if self.scheme == "redis+sentinel":
            return self._master(redis.Sentinel, terms)  # type: ignore[no-any-return]
        return redis.Redis(**self._place("unix_socket_path"), ssl=self.scheme == "rediss", **terms)

    def _terms(self, retry: Any, block_s: float = 0.0) -> dict[str, Any]:
        """What all of redis-py's clients take alike."""
        address = self._address
        found = {"socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": CONNECT_TIMEOUT_S, **address.login, **address.options}
        if self.scheme != "redis+cluster":
            found["db"] = address.database
        return {**found, "socket_timeout": found["socket_timeout"] + block_s, "retry": retry}

    def _place(self, socket: str) -> dict[str, Any]:
        if self.scheme == "unix":
            return {socket: self._address.socket}
        host, port = self._address.nodes[0]
        return {"host": host, "port": port}

    def _master(self, kind: Any, terms: dict[str, Any]) -> Any:
        sentinel = kind(list(self._address.nodes), sentinel_kwargs={"socket_timeout": CONNECT_TIMEOUT_S})
        return sentinel.master_for(self._address.service, **terms)


def _memory_server() -> Any:
    try:
        from fakeredis import FakeServer
    except ImportError:
        raise UsageError("memory:// needs fakeredis; install it with: pip install 'fakeredis[lua]'") from None
    return FakeServer()
