"""The servers: sockets bound before anything else starts, Hypercorn ended by an event.

``serve()`` must never be cancelled (with a request under way it breaks), so it runs shielded and its trigger is set when
the group around it is cancelled.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus
from hypercorn.asyncio import serve
from hypercorn.config import Config, Sockets

from _taskqueue.domain.errors import UsageError
from _taskqueue.forks import keep_from_children
from _taskqueue.life import Life

BACKLOG = 2_048
"""Connections that may wait to be accepted; a full backlog costs its client a second."""
KEEP_ALIVE_S = 15.0
"""Also the only guard against clients that send their header slowly."""
KEEP_ALIVE_REQUESTS_MAX = 1_000
"""The brake on HTTP/2 resets; higher would loosen it."""
GRACE_S = 5.0
"""What requests under way may still take when the server stops; waits end themselves at once."""


def listen(host: str, port: int, flag: str) -> socket.socket:
    """A bound, listening socket.

    Raises:
        UsageError: the address cannot be had; names the flag that changes it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} on {host} is in use by another process; choose another with {flag}") from None
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}; see --host and {flag}") from None
    found.setblocking(False)
    number = found.fileno()
    keep_from_children(lambda: [number])
    return found


def url_of(bound: socket.socket) -> str:
    """The http URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def run_server(
    app: Any, bound: socket.socket, stop: Callable[[], Any], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve until ``stop()`` returns.

    Args:
        stop: an awaitable function, such as ``event.wait``.
    """
    task_status.started()
    with anyio.CancelScope(shield=True):
        await serve(app, _config(bound), shutdown_trigger=stop)


@asynccontextmanager
async def serving(app: Any, bound: socket.socket, life: Life) -> AsyncIterator[None]:
    """Serve for the length of the block; an earlier end fails the process."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        await group.start(life.part("the metrics server", run_server), app, bound, stop.wait)
        try:
            yield
        finally:
            stop.set()


class _Config(Config):
    """Serves one bound socket, which no child inherits: Hypercorn makes those that it opens itself inheritable."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__()
        self._bound = bound

    def create_sockets(self) -> Sockets:
        return Sockets([], [self._bound], [])


def _config(bound: socket.socket) -> Config:
    config = _Config(bound)
    config.backlog = BACKLOG  # Hypercorn listens once more, by default for a hundred
    config.accesslog = None
    config.errorlog = logging.getLogger("taskqueue.http.server")
    config.graceful_timeout = GRACE_S
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS_MAX
    config.include_server_header = False
    return config
