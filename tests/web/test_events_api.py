"""``GET /events``: what happens, live; coming back, keeping up, and the end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.web.events import BUFFER, CLIENTS_EACH_MAX, Listener
from tests.store.desk import QUEUE, Desk
from tests.web.conftest import Api

pytestmark = pytest.mark.anyio

WAIT_S = 5.0


class Stream:
    """One open stream."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._rest = connection, b""

    async def message(self) -> dict[str, str]:
        """The next message: its fields; of a comment the empty name."""
        with anyio.fail_after(WAIT_S):
            while b"\n\n" not in self._rest:
                self._rest += await self._connection.receive()
        text, _, self._rest = self._rest.partition(b"\n\n")
        return dict(line.split(": ", 1) for line in text.decode().splitlines())

    async def until(self, event: str) -> dict[str, Any]:
        """The data of the next message with this name, and its id."""
        while True:
            found = await self.message()
            if found.get("event") == event:
                return {**msgspec.json.decode(found["data"]), "id": found.get("id", "")}


@contextlib.asynccontextmanager
async def listening(api: Api, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    """An open stream; its retry line has been read, and its watch has begun."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.http.request(f"/events{query}", headers=named) as connection:
        await connection.send_complete()
        stream = Stream(connection)
        assert await stream.message() == {"retry": "2000"}
        with anyio.fail_after(WAIT_S):
            while not await api.store.command("test", "EXISTS", api.store.key("watched", QUEUE)):
                await anyio.sleep(0.005)
            await anyio.sleep(0.02)
        yield stream
        await connection.disconnect()


async def test_what_happens_to_a_task_is_told(api: Api, desk: Desk) -> None:
    async with listening(api, "?topics=tasks") as stream:
        task_id = await api.submit()
        first = await stream.until("task")
        await api.call("POST", f"/tasks/{task_id}/cancel")
        second = await stream.until("task")

    assert [(one["task_id"], one["queue"], one["state"]) for one in (first, second)] == [
        (task_id, QUEUE, "pending"),
        (task_id, QUEUE, "cancelled"),
    ]


async def test_a_newcomer_hears_how_things_stand(api: Api, desk: Desk) -> None:
    await desk.submit(2)

    async with listening(api) as stream:
        queue, stats = await stream.until("queue"), await stream.until("stats")

    assert (queue["queue"], queue["counts"]["pending"], stats["pending"]) == (QUEUE, 2, 2)


async def test_a_stream_of_one_task_or_queue_tells_of_no_other(api: Api, desk: Desk) -> None:
    await api.store.route("other")
    (mine,) = await desk.submit()
    async with listening(api, f"?topics=tasks&task_id={mine}") as by_task, listening(api, "?topics=tasks&queue=other") as by_queue:
        await desk.submit(2)
        theirs = await api.submit(queue="other")
        await api.call("POST", f"/tasks/{mine}/cancel")

        assert (await by_task.until("task"))["task_id"] == mine
        assert (await by_queue.until("task"))["task_id"] == theirs


async def test_who_comes_back_hears_what_was_missed(api: Api, desk: Desk) -> None:
    async with listening(api, "?topics=tasks") as stream:
        await desk.submit()
        last = (await stream.until("task"))["id"]
    (missed,) = await desk.submit()

    async with listening(api, "?topics=tasks", Last_Event_ID=last) as stream:
        seen = [await stream.until("task") for _ in range(2)]

    assert missed in {one["task_id"] for one in seen}


@pytest.mark.parametrize("last", ["1", "nonsense", "9" * 40, "-1"])
async def test_who_comes_back_too_late_is_told_to_begin_anew(api: Api, desk: Desk, last: str) -> None:
    await desk.submit()

    async with listening(api, "?topics=tasks", Last_Event_ID=last) as stream:
        assert (await stream.until("reset"))["reason"]


async def test_the_end_of_the_process_is_said(api: Api) -> None:
    async with listening(api, "?topics=ops") as stream:
        api.life.stop()

        assert (await stream.until("bye"))["reason"] == "stopping"


def test_a_client_that_does_not_keep_up_loses_what_waits_and_is_told() -> None:
    listener = Listener(frozenset({"tasks"}), frozenset(), "", "me")

    for number in range(BUFFER + 1):
        listener.give(b"%d" % number)

    assert b"event: reset" in listener.buffer[0]
    assert list(listener.buffer)[1:] == [b"%d" % BUFFER]


@pytest.mark.parametrize("query", ["?topics=nothing", "?topics=tasks,x", "?min_interval=soon", "?topic=tasks"])
async def test_a_wrong_query_is_refused(api: Api, query: str) -> None:
    assert (await api.call("GET", f"/events{query}"))[0] == 422


async def test_streams_of_one_caller_have_a_bound_and_those_that_end_count_no_more(api: Api) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(CLIENTS_EACH_MAX):
            await stack.enter_async_context(listening(api))
        response = await api.http.get("/events")
        assert (response.status_code, (await response.get_json())["code"]) == (429, "rate_limited")
        assert int(response.headers["Retry-After"]) >= 1

    with anyio.fail_after(WAIT_S):
        while api.site._live._listeners:
            await anyio.sleep(0.005)
    async with listening(api):
        assert len(api.site._live._listeners) == 1


async def test_a_client_that_hangs_up_before_the_first_byte_is_forgotten(api: Api) -> None:
    begun = anyio.Event()
    scope = {
        "type": "http", "http_version": "1.1", "asgi": {"version": "3.0"}, "method": "GET", "scheme": "http", "path": "/events",
        "raw_path": b"/events", "query_string": b"", "root_path": "", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2), "extensions": {},
    }  # fmt: skip
    first = True

    async def receive() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        begun.set()
        await anyio.sleep(0.2)  # the client reads nothing

    with anyio.fail_after(WAIT_S):
        await api.site.app(scope, receive, send)

    assert api.site._live._listeners == []
