"""Opens the clients for a store URL: single, TLS, unix socket, Sentinel, Cluster, or in memory.

redis-py's own retries are off everywhere: its default runs a slow script eleven times. Whoever calls decides whether to
send again, and every script can take it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import hiredis
import redis
import redis.asyncio as aio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry as ThreadRetry

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.direct import DirectClient

SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
BLOCK_S = 20.0
"""How long a wake-up call may block before it is sent anew: bounds how long a half-open connection goes unnoticed."""
CONNECTIONS_MAX = 64
"""Of one client; whoever finds none free waits. In a Cluster redis-py sets no bound."""
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "memory")

_PASSWORD = re.compile(r"(://[^/?@:]*:).*(?=@)")
_PASSWORD_OPTION = re.compile(r"([?&]password=)[^&]*")


class Client(Protocol):
    """What the store needs of an asyncio client."""

    def execute_command(self, *args: Any) -> Awaitable[Any]: ...

    def aclose(self) -> Awaitable[None]: ...


class ThreadClient(Protocol):
    """What the heartbeat thread needs of a blocking client."""

    def execute_command(self, *args: Any) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Hosts:
    """The parts of a Sentinel or Cluster URL."""

    nodes: tuple[tuple[str, int], ...]
    path: tuple[str, ...]
    username: str | None
    password: str | None


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


_FAST = {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}


def hide_password(url: str) -> str:
    """The URL as it may be shown."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1***", url))


class Connector:
    """Knows how to reach one store.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://host:port,host:port/service/db``,
            ``redis+cluster://host:port,host:port`` or ``memory://``.

    Raises:
        UsageError: the URL is not one of these.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.shown = hide_password(url)
        self.scheme = url.partition("://")[0]
        if "://" not in url or self.scheme not in SCHEMES:
            raise UsageError(f"{self.shown!r} is no store URL; write one of " + ", ".join(f"{s}://" for s in SCHEMES))
        self._memory = _memory_server() if self.scheme == "memory" else None
        self._hosts = self._read_hosts() if "+" in self.scheme else None
        if self._memory is None and self._hosts is None:
            self._check_plain()

    @property
    def in_memory(self) -> bool:
        """Everything is lost at exit, and only this process sees it."""
        return self._memory is not None

    def client(self) -> Client:
        """An asyncio client for calls that answer at once."""
        return self._open(SOCKET_TIMEOUT_S, CONNECTIONS_MAX)

    def blocking_client(self) -> Client:
        """An asyncio client whose calls may block up to BLOCK_S."""
        return self._open(BLOCK_S + SOCKET_TIMEOUT_S, sys.maxsize)

    def _open(self, timeout_s: float, connections_max: int) -> Client:
        limits: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
        }
        if self._memory is not None:
            from fakeredis import FakeAsyncRedis

            return FakeAsyncRedis(server=self._memory)
        if self._hosts is not None and self.scheme == "redis+cluster":
            nodes = [ClusterNode(host, port) for host, port in self._hosts.nodes]
            return RedisCluster(startup_nodes=nodes, **_login(self._hosts), **limits)
        library = self._open_plain(limits) if self._hosts is None else _open_master(self._hosts, limits)
        return DirectClient(library, timeout_s, connections_max)

    def _open_plain(self, limits: dict[str, Any]) -> aio.Redis:
        options: dict[str, Any] = dict(parse_url(self.url))
        kind = options.pop("connection_class", Connection)
        return aio.Redis.from_pool(ConnectionPool(connection_class=_FAST[kind], **{**limits, **options}))

    def thread_client(self) -> ThreadClient:
        """A blocking client for use in an OS thread."""
        limits: dict[str, Any] = {
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": ThreadRetry(NoBackoff(), 0),
        }
        if self._memory is not None:
            from fakeredis import FakeRedis

            return FakeRedis(server=self._memory)
        if self._hosts is None:
            return redis.Redis.from_url(self.url, **limits)
        if self.scheme == "redis+cluster":
            nodes = [redis.cluster.ClusterNode(host, port) for host, port in self._hosts.nodes]  # type: ignore[no-untyped-call]
            return redis.RedisCluster(startup_nodes=nodes, **_login(self._hosts), **limits)
        sentinel: Any = redis.Sentinel(list(self._hosts.nodes), sentinel_kwargs={"socket_timeout": CONNECT_TIMEOUT_S})  # type: ignore[no-untyped-call]
        service, database = _sentinel_path(self._hosts)
        return sentinel.master_for(service, db=database, **_login(self._hosts), **limits)  # type: ignore[no-any-return]

    def _check_plain(self) -> None:
        try:
            parse_url(self.url)
        except ValueError:  # its text may hold part of the password
            raise UsageError(f"{self.shown!r} is no store URL; write redis://:password@host:port/db, odd characters as %40") from None

    def _read_hosts(self) -> Hosts:
        parts = urlsplit(self.url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        nodes = tuple(_node(text, 26379 if "sentinel" in self.scheme else 6379, self.shown) for text in hosts.split(","))
        path = tuple(filter(None, parts.path.split("/")))
        found = Hosts(nodes, path, unquote(user) or None, unquote(password) or None)
        if self.scheme == "redis+sentinel":
            _sentinel_path(found, self.shown)
        return found


def _open_master(hosts: Hosts, limits: dict[str, Any]) -> aio.Redis:
    sentinel: Any = Sentinel(list(hosts.nodes), sentinel_kwargs={"socket_timeout": CONNECT_TIMEOUT_S})  # type: ignore[no-untyped-call]
    service, database = _sentinel_path(hosts)
    return sentinel.master_for(service, db=database, **_login(hosts), **limits)  # type: ignore[no-any-return]


def _node(text: str, port_default: int, shown: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":") if ":" in text else (text.strip(), "", str(port_default))
    if not host or not port.isdigit():
        raise UsageError(f"{shown!r} names a host wrongly: {text!r}; write host:port,host:port")
    return host, int(port)


def _sentinel_path(hosts: Hosts, shown: str = "") -> tuple[str, int]:
    database = hosts.path[1] if len(hosts.path) > 1 else "0"
    if not hosts.path or not database.isdigit():
        raise UsageError(f"{shown!r} must end in the service name: redis+sentinel://host:port,host:port/service/db")
    return hosts.path[0], int(database)


def _login(hosts: Hosts) -> dict[str, Any]:
    return {"username": hosts.username, "password": hosts.password}


def _memory_server() -> Any:
    try:
        from fakeredis import FakeServer
    except ImportError:
        raise UsageError("memory:// needs fakeredis; install it with: pip install 'fakeredis[lua]'") from None
    return FakeServer()
