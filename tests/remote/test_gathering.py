"""Submissions at the same time travel together, and each caller gets its own end."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from _taskqueue.remote.async_client import AsyncClient
from _taskqueue.remote.errors import Duplicate, QueueFull, Unreachable
from _taskqueue.remote.submission import BATCH_BYTES
from tests.remote.conftest import Script, accepted, problem

DUPLICATE: dict[str, Any] = json.loads(problem(409, "duplicate_task", task_id="other").content)
FULL: dict[str, Any] = json.loads(problem(429, "queue_full").content)


def take(request: httpx.Request) -> httpx.Response:
    """A server that names tasks after their payloads; it refuses what is called bad."""
    body = json.loads(request.content)
    if request.url.path == "/tasks":
        return accepted(f"alone-{body['payload']}")
    results = [{"error": DUPLICATE} if one["payload"] == "bad" else {"task_id": f"{one['payload']}"} for one in body["tasks"]]
    return httpx.Response(202, json={"results": results})


class Distant(httpx.AsyncBaseTransport):
    """A server that does not answer before others had their turn, nor before it may."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.go = anyio.Event()
        self.go.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        answer = self.script.answer(request)
        await others()
        await self.go.wait()
        return answer


async def others() -> None:
    """Let all others run as far as they can."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


def client_of(script: Script, transport: httpx.AsyncBaseTransport | None = None, **options: Any) -> AsyncClient:
    """An awaiting client of this script; to linger takes no time, but lets others run."""

    async def sleep(seconds: float) -> None:
        script.sleep(seconds)
        await others()

    found = {"clock": lambda: script.now, "sleep": sleep, "random": lambda: 1.0, **options}
    return AsyncClient("http://queue.test", transport=transport or Distant(script), **found)


async def gather(client: AsyncClient, payloads: list[Any]) -> dict[Any, str | Exception]:
    """Submit all at once; gives payload → id or error."""
    ends: dict[Any, str | Exception] = {}

    async def one(payload: Any) -> None:
        try:
            ends[payload] = await client.submit(payload)
        except Exception as error:  # noqa: BLE001  # shown to the test
            ends[payload] = error

    async with anyio.create_task_group() as group:
        for payload in payloads:
            group.start_soon(one, payload)
    return ends


def paths(script: Script) -> list[str]:
    return [request.url.path for request in script.requests]


async def test_one_alone_goes_at_once() -> None:
    script = Script(take)

    assert await client_of(script).submit("a") == "alone-a"
    assert await client_of(script).submit("b") == "alone-b"
    assert script.slept == []


async def test_many_at_once_go_in_two_requests() -> None:
    script = Script(take)

    ends = await gather(client_of(script), [f"p{number}" for number in range(100)])

    assert sorted(paths(script)) == ["/tasks", "/tasks/batch"]
    assert ends == {"p0": "alone-p0", **{f"p{number}": f"p{number}" for number in range(1, 100)}}


async def test_each_gets_its_own_error() -> None:
    ends = await gather(client_of(Script(take)), ["first", "good", "bad"])

    assert isinstance(ends["bad"], Duplicate)
    assert ends["bad"].task_id == "other"
    assert ends["good"] == "good"


async def test_more_than_a_batch_holds_go_in_several() -> None:
    script = Script(take)

    await gather(client_of(script), list(range(1102)))

    sizes = [len(json.loads(request.content)["tasks"]) for request in script.requests if request.url.path == "/tasks/batch"]
    assert sorted(sizes) == [101, 500, 500]


async def test_large_ones_go_in_several() -> None:
    script = Script(take)
    large = "x" * (BATCH_BYTES // 2)

    await gather(client_of(script), [large + "1", large + "2", large + "3"])

    assert sorted(paths(script)) == ["/tasks", "/tasks/batch", "/tasks/batch"]


async def test_it_can_be_turned_off() -> None:
    script = Script(take)

    await gather(client_of(script, linger=None), [1, 2, 3])

    assert paths(script) == ["/tasks"] * 3


async def test_what_a_full_queue_refuses_is_tried_again_alone() -> None:
    def full(request: httpx.Request) -> httpx.Response:
        return problem(422, "all_refused", results=[{"error": FULL}]) if request.url.path == "/tasks/batch" else take(request)

    script = Script(full)

    assert await gather(client_of(script), ["a", "b"]) == {"a": "alone-a", "b": "alone-b"}


async def test_a_full_queue_is_an_error_in_the_end() -> None:
    script = Script(problem(429, "queue_full", headers={"Retry-After": "1"}))

    with pytest.raises(QueueFull):
        await client_of(script, retry_for=5).submit("a")


async def test_a_lost_connection_is_an_error_for_all() -> None:
    ends = await gather(client_of(Script(httpx.ConnectError("refused")), retry_for=0), [1, 2, 3])

    assert [type(end) for end in ends.values()] == [Unreachable] * 3


async def test_when_the_one_that_sends_is_cancelled_another_sends_under_the_same_key() -> None:
    script = Script(take)
    server = Distant(script)
    server.go = anyio.Event()
    client = client_of(script, server)
    ends: list[str] = []

    async def one(payload: str, scope: anyio.CancelScope) -> None:
        with scope:
            ends.append(await client.submit(payload))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            scopes = [anyio.CancelScope() for _ in range(3)]
            for number, scope in enumerate(scopes):
                group.start_soon(one, f"p{number}", scope)
            while len(script.requests) < 2:
                await others()
            scopes[1].cancel()
            while len(script.requests) < 3:
                await others()
            server.go.set()

    batches = [request for request in script.requests if request.url.path == "/tasks/batch"]
    assert sorted(ends) == ["alone-p0", "p2"]
    assert batches[0].content == batches[1].content
    assert batches[0].headers["Idempotency-Key"] == batches[1].headers["Idempotency-Key"]
