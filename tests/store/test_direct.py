"""The client of one server: its limit, its time-out, and that no call ever reads another call's answer."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import anyio
import pytest
import redis.asyncio as aio
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as SilentServer

from _taskqueue.store.direct import DirectClient

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(bundled_url: str) -> AsyncIterator[DirectClient]:
    client = DirectClient(aio.Redis.from_url(bundled_url), 5.0, 2)
    yield client
    await client.aclose()


async def ids_of(client: DirectClient, calls: int) -> set[int]:
    """The connections that so many calls at a time go down."""
    found: set[int] = set()

    async def ask() -> None:
        number, _ = await client.execute_together(("CLIENT", "ID"), ("BLPOP", "nothing", 0.05))
        found.add(number)

    async with anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(ask)
    return found


async def test_calls_share_no_more_connections_than_allowed(client: DirectClient) -> None:
    assert len(await ids_of(client, 7)) == 2
    assert len(await ids_of(client, 1)) == 1


async def test_an_error_is_an_answer_and_its_connection_serves_on(client: DirectClient) -> None:
    (before,) = await ids_of(client, 1)
    with pytest.raises(ResponseError, match="unknown command"):
        await client.execute_command("NONSENSE")
    first, wrong, last = await client.execute_together(("PING",), ("NONSENSE",), ("ECHO", "on"))

    assert (first, isinstance(wrong, ResponseError), last) == (True, True, b"on")
    assert await ids_of(client, 1) == {before}


async def test_a_cancelled_call_leaves_no_answer_behind(client: DirectClient) -> None:
    for _ in range(20):
        with anyio.move_on_after(0.002):
            await client.execute_together(("BLPOP", "nothing", 0.01), ("ECHO", "of the cancelled"))
        assert await client.execute_command("ECHO", "mine") == b"mine"


async def test_a_connection_that_the_server_closed_is_made_anew_unnoticed(client: DirectClient) -> None:
    (before,) = await ids_of(client, 1)
    second = aio.Redis.from_pool(client._library.connection_pool)
    await second.client_kill_filter(_id=str(before))
    await anyio.sleep(0.05)

    assert await client.execute_command("ECHO", "again") == b"again"
    assert await ids_of(client, 1) != {before}


async def test_a_mute_server_ends_the_call_in_time_whoever_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = DirectClient(aio.Redis(port=mute.getsockname()[1]), 0.2, 1)
        began = time.monotonic()
        ends: list[object] = await asyncio.gather(*(client.execute_command("PING") for _ in range(2)), return_exceptions=True)

    assert [type(end) for end in ends] == [SilentServer, SilentServer]
    assert 0.2 <= time.monotonic() - began < 2
    await client.aclose()


async def test_closing_ends_calls_under_way(client: DirectClient) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_until_closed, client)
        await anyio.sleep(0.05)
        await client.aclose()


async def _until_closed(client: DirectClient) -> None:
    with pytest.raises(Unreachable):
        await client.execute_command("BLPOP", "nothing", 4)
