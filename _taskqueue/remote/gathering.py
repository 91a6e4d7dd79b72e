"""Submissions that happen at the same time go to the server together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from _taskqueue.remote.errors import ClientError
from _taskqueue.remote.submission import BATCH_BYTES, BATCH_TASKS, Results, new_key

Send = Callable[[Sequence[bytes], str], Awaitable[Results]]


class Gathering:
    """Merges submissions that come within a short time.

    There is no task in the background: whoever holds the lock of a group waits for more and sends for all. If that one
    is cancelled, the next sends the same again under the same key, which the server does once.

    Args:
        send: the JSON of some tasks and their Idempotency-Key; gives for each its id or its error.
        linger_s: how long the first waits for others.
    """

    def __init__(self, send: Send, linger_s: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._send, self._linger_s, self._sleep = send, linger_s, sleep
        self._open = _Group()

    async def submit(self, body: bytes) -> str:
        """Submit one task among others; gives its id. Raises ClientError."""
        group, place = self._join(body)
        async with group.lock:
            if group.results is None:
                group.results = await self._carry(group)
        result = group.results[place]
        if isinstance(result, ClientError):
            raise result
        return result

    def _join(self, body: bytes) -> tuple[_Group, int]:
        group = self._open
        if len(group.bodies) == BATCH_TASKS or (group.bodies and group.bytes + len(body) > BATCH_BYTES):
            group = self._open = _Group()
        group.bodies.append(body)
        group.bytes += len(body)
        return group, len(group.bodies) - 1

    async def _carry(self, group: _Group) -> Results:
        if group is self._open:
            await self._sleep(self._linger_s)
        if group is self._open:  # nobody joins any more
            self._open = _Group()
        try:
            return await self._send(group.bodies, group.key)
        except ClientError as error:
            return [error] * len(group.bodies)


class _Group:
    """Some submissions that go together."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.bytes = 0
        self.key = new_key()
        self.lock = anyio.Lock()
        self.results: Results | None = None
