"""A client of one server: redis-py's connections without its pool.

redis-py 8.1 takes 47 µs of CPU to send PING and read its answer: locks, a condition, a task for the time-out of the write,
records of what the pool does. Its connections alone take 8, and 16 with what is here: a limit, a time-out for the whole
call, and redis-py's look at a connection before it is used again. Every request of the API makes at least one such call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio as aio
from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as SilentServer

Ask = Callable[[Connection, tuple[Any, ...]], Awaitable[Any]]


class DirectClient:
    """Calls of one server. Safe for many tasks at a time; a call that is cancelled closes its connection.

    Args:
        library: says how connections are made, and reads answers.
        timeout_s: what one call may take, from asking for a connection to the last byte of the answer.
        connections_max: whoever finds none free waits.
    """

    def __init__(self, library: aio.Redis, timeout_s: float, connections_max: int) -> None:
        self._library, self._timeout_s = library, timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._made: list[Connection] = []
        self._idle: list[Connection] = []

    async def execute_command(self, *args: Any) -> Any:
        """Send one command; gives its answer. Raises RedisError: the server answers with one, or not at all."""
        return await self._on_a_connection(self._ask, args)

    async def execute_together(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands in one write, to be done one after the other; gives answers, and errors in the place of answers."""
        answers: list[Any] = await self._on_a_connection(self._ask_all, commands)
        return answers

    async def _ask(self, connection: Connection, command: tuple[Any, ...]) -> Any:
        await connection.send_command(*command)
        return await self._library.parse_response(connection, command[0])

    async def _ask_all(self, connection: Connection, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        await connection.send_packed_command([part for command in commands for part in connection.pack_command(*command)])
        return [await self._answer(connection, command[0]) for command in commands]

    async def _answer(self, connection: Connection, name: str) -> Any:
        try:
            return await self._library.parse_response(connection, name)
        except ResponseError as error:
            return error

    async def _on_a_connection(self, ask: Ask, what: tuple[Any, ...]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                connection = self._idle.pop() if self._idle else self._make()
                try:
                    return await self._ask_safely(connection, ask, what)
                finally:
                    self._idle.append(connection)
        except TimeoutError:
            raise SilentServer(f"no answer within {self._timeout_s:g} s") from None

    async def _ask_safely(self, connection: Connection, ask: Ask, what: tuple[Any, ...]) -> Any:
        """Ask, and close the connection when that ends without an answer: the next call would read this one's."""
        try:
            await _make_ready(connection)
            return await ask(connection, what)
        except ResponseError:
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    def _make(self) -> Connection:
        """A connection without a time limit of its own, which would cost a task for each write."""
        pool = self._library.connection_pool
        connection: Connection = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})  # type: ignore[assignment]
        self._made.append(connection)
        return connection

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        for connection in self._made:
            await connection.disconnect(nowait=True)
        await self._library.aclose()


async def _make_ready(connection: Connection) -> None:
    """Connect, anew when the server has closed it meanwhile or something unread waits in it."""
    if connection.is_connected:
        if not await connection.can_read():
            return
        await connection.disconnect(nowait=True)
    await connection.connect()  # type: ignore[no-untyped-call]
