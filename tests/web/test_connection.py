"""Bodies, on ASGI itself: streamed ones come as they are asked for, others end at a limit, crumbs are hung up on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from _taskqueue.web.app import BODY_BYTES_MAX
from _taskqueue.web.connection import BYTES_A_CHUNK, CHUNKS_FREE, STREAMED, UPLOAD, feed
from tests.web.conftest import Api

pytestmark = pytest.mark.anyio

WAIT_S = 5.0
App = Callable[[Any, Any, Any], Awaitable[None]]


class Client:
    """The other end of one ASGI connection."""

    def __init__(self, parts: list[bytes], *, more: bool = False) -> None:
        self.left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self.left[-1]["more_body"] = more
        self.sent: list[dict[str, Any]] = []
        self.gone = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        if not self.left:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        return self.left.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.gone.set()

    async def call(self, app: App, path: str = "/tasks/batch", kind: str = STREAMED) -> None:
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "http_version": "1.1",
            "headers": [(b"host", b"localhost"), (b"content-type", kind.encode())], "scheme": "http", "client": ("127.0.0.1", 1),
            "extensions": {},
        }  # fmt: skip
        with anyio.fail_after(WAIT_S):
            await app(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def test_a_streamed_body_is_read_only_as_far_as_somebody_asks() -> None:
    client = Client([b"a", b"", b"b", b"c"])
    seen: list[tuple[bytes, int]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        seen.extend([(part, len(client.left)) async for part in scope[UPLOAD]])
        await send({"type": "http.response.body", "body": b""})

    await client.call(feed(app, BODY_BYTES_MAX), kind="Application/X-NDJSON; charset=utf-8")

    assert seen == [(b"a", 3), (b"b", 1), (b"c", 0)]


async def test_who_hangs_up_in_a_stream_ends_its_request(api: Api) -> None:
    client = Client([b'{"payload": 1}\n{"pay'], more=True)
    client.gone.set()

    await client.call(api.site.quart)

    assert not any(message.get("more_body") is False for message in client.sent), "an end was told to who is gone"


async def test_what_is_left_of_a_stream_that_was_refused_is_dropped(api: Api) -> None:
    client = Client([b"x" * 200_000] + [b"y"] * 5)

    await client.call(api.site.quart)

    assert b"payload_too_large" in b"".join(message.get("body", b"") for message in client.sent)
    assert not client.left


async def test_a_body_without_a_length_ends_at_the_limit() -> None:
    came = bytearray()
    client = Client([b"x" * 6, b"y" * 6, b"z" * 6])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            came.extend(message["body"])
            if not message["more_body"]:
                await send({"type": "http.response.body", "body": b""})

    await client.call(feed(app, 10), kind="application/json")

    assert bytes(came) == b"xxxxxxyyyyy", "one byte more than the limit, by which the framework knows"
    assert not client.left


async def test_a_body_over_the_limit_is_refused_without_being_kept(api: Api) -> None:
    part = b" " * (BODY_BYTES_MAX // 4)
    client = Client([part] * 6)

    await client.call(api.site.quart, kind="application/json")

    assert client.status == 413


@pytest.mark.parametrize("kind", [STREAMED, "application/json"])
async def test_a_body_in_crumbs_is_hung_up_on(api: Api, kind: str) -> None:
    client = Client([b" "] * (CHUNKS_FREE + CHUNKS_FREE // BYTES_A_CHUNK + 100))
    client.gone.set()

    await client.call(api.site.quart, kind=kind)

    assert not any(message.get("more_body") is False for message in client.sent)
    assert client.left, "it went on reading"
