"""The awaiting client on the real program: what it does in its own way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import httpx
import pytest

from _taskqueue.remote.async_client import AsyncClient
from _taskqueue.remote.errors import Forbidden, NotFound, TaskFailed, Unreachable
from tests.program import Program
from tests.remote.conftest import Script, problem

LATER: dict[str, Any] = {"delay": "1h"}
WAIT_S = 20.0


@pytest.fixture
async def client(program: Program) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(program.api) as found:
        yield found


async def test_a_task_is_submitted_and_waited_for(client: AsyncClient) -> None:
    task = await client.submit_and_wait({"left": 2, "right": 3}, task="add", wait=WAIT_S)

    assert (task.state, task.result) == ("succeeded", 5)


async def test_many_submissions_at_once_each_get_their_id(client: AsyncClient) -> None:
    ids: dict[int, str] = {}

    async def submit(number: int) -> None:
        ids[number] = await client.submit({"left": number, "right": 1}, task="add", queue="gathered")

    async with anyio.create_task_group() as group:
        for number in range(700):
            group.start_soon(submit, number)

    assert len(set(ids.values())) == 700
    assert [await client.result(ids[number], wait=WAIT_S) for number in (0, 350, 699)] == [1, 351, 700]


async def test_many_are_waited_for_as_they_end(client: AsyncClient) -> None:
    slow = await client.submit({"seconds": 1.0}, task="nap")
    quick = await client.submit({"seconds": 0.2}, task="nap")

    async with aclosing(client.wait_many([slow, quick], WAIT_S)) as ended:
        assert [task.task_id async for task in ended] == [quick, slow]


async def test_a_list_goes_over_all_pages(client: AsyncClient) -> None:
    ids = await client.submit_many(range(600), queue="async-list", task="echo", **LATER)

    assert [task.task_id async for task in client.list(queue="async-list", order="asc")] == ids


async def test_a_log_is_followed(client: AsyncClient) -> None:
    task_id = await client.submit({"lines": ["one", "two"]}, task="talk")

    lines = [line async for line in client.follow_log(task_id)]

    assert len(lines) == 2
    assert "two" in lines[1]


async def test_events_are_heard_until_one_stops_listening(client: AsyncClient) -> None:
    async with aclosing(client.events("queues")) as events:
        async for event in events:
            if event.name != "reset":  # which comes with each new queue
                assert event.name == "queue"
                break


async def test_errors_are_those_of_the_blocking_client(client: AsyncClient) -> None:
    with pytest.raises(NotFound):
        await client.get("task0")
    with pytest.raises(NotFound):
        await anext(client.follow_log("task0"))
    with pytest.raises(TaskFailed):
        await client.result(await client.submit("x", task="fail"), wait=WAIT_S)


async def test_a_wait_can_be_cancelled(client: AsyncClient) -> None:
    task_id = await client.submit("x", **LATER)

    with anyio.move_on_after(0.2) as scope:
        await client.wait(task_id)

    assert scope.cancelled_caught
    assert (await client.get(task_id)).state == "scheduled"


async def test_a_stream_that_breaks_is_resumed_and_one_that_is_refused_is_an_error() -> None:
    script = Script(
        httpx.Response(200, content=b'id: 7\nevent: task\ndata: {"a": 1}\n\n'),
        httpx.ConnectError("refused"),
        problem(403, "forbidden"),
    )
    client = AsyncClient("http://queue.test", transport=httpx.MockTransport(script.answer), sleep=script.asleep, clock=lambda: script.now)

    async with client, aclosing(client.events()) as events:
        assert (await anext(events)).data == {"a": 1}
        with pytest.raises(Forbidden):
            await anext(events)

    assert script.requests[2].headers["Last-Event-ID"] == "7"


async def test_waiting_for_none_and_for_too_long_ends() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/events":
            raise httpx.ReadError("cut off")
        return httpx.Response(200, json={"task_id": "a", "state": "running"})

    script = Script(serve)
    client = AsyncClient("http://queue.test", transport=httpx.MockTransport(script.answer), sleep=script.asleep, clock=lambda: script.now)

    async with client:
        assert [task async for task in client.wait_many([])] == []
        assert [task async for task in client.wait_many(["a"], 5)] == []


async def test_nobody_there_is_an_error_of_ours() -> None:
    async with AsyncClient("http://127.0.0.1:9", retry_for=0.2) as client:
        with pytest.raises(Unreachable):
            await client.submit("x")
