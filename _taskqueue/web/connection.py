"""How requests reach the app: limits on their head and shape, and bodies that stream without filling memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body

HEAD_BYTES_MAX = 32 * 1024
URL_BYTES_MAX = 8 * 1024
CHUNKS_FREE, BYTES_A_CHUNK = 4_096, 64
"""A body may come in this many parts, and one more for each so many bytes: each costs 7 µs."""
BUFFER_BYTES = 1024 * 1024
"""A streamed body is read this far ahead."""
STREAMED = "application/x-ndjson"
SINGLE = (b"authorization", b"idempotency-key", b"x-request-id", b"content-type", b"origin", b"sec-fetch-site")
"""Headers of which two would be read one way here and another way there."""


class StreamBody(Body):
    """A body that can be read as it comes; what is not read yet holds the sender back."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(None, max_content_length)
        self._read = asyncio.Event()
        self.waiting = 0
        """bytes that came and were not read"""

    def append(self, data: bytes) -> None:
        """Take a part."""
        self.waiting += len(data)
        super().append(data)

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self.waiting = 0
        self._read.set()
        return data

    async def room(self) -> None:
        """Wait until most of what came was read."""
        while self.waiting > BUFFER_BYTES:
            self._read.clear()
            await self._read.wait()


class StreamRequest(Request):
    """A request with such a body."""

    body_class = StreamBody


class Connection(ASGIHTTPConnection):
    """Hands the parts of a request over, as fast as they are read."""

    async def handle_messages(self, request: Request, receive: Any) -> None:
        """Read until the request is whole, then until the client hangs up."""
        chunks = size = 0
        while True:
            if isinstance(request.body, StreamBody) and request.mimetype == STREAMED:
                await request.body.room()
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            chunks, size = chunks + 1, size + len(part)
            if chunks > CHUNKS_FREE + size / BYTES_A_CHUNK:
                return  # a body in crumbs: hang up
            request.body.append(part)
            if not message.get("more_body", False):
                request.body.set_complete()


def guard(app: Any) -> Any:
    """The app behind checks of a request's head that its framework does not make."""

    async def guarded(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # answered with 403: nothing here speaks it
            return
        fault = _fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await app(scope, receive, send)
        else:
            await _refuse(send, *fault)

    return guarded


def _fault(scope: Mapping[str, Any]) -> tuple[int, str, str] | None:
    names = [name for name, _ in scope["headers"]]
    if not scope["path"].startswith("/"):
        return 400, "bad_request", "the target of a request begins with /"
    if any(names.count(name) > 1 for name in SINGLE):
        return 400, "bad_request", "a header that can stand only once stands twice"
    if b"content-length" in names and b"transfer-encoding" in names:
        return 400, "bad_request", "a request has Content-Length or Transfer-Encoding, not both"
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES_MAX:
        return 431, "headers_too_large", f"the headers have more than {HEAD_BYTES_MAX} bytes"
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > URL_BYTES_MAX:
        return 414, "url_too_long", f"the URL has more than {URL_BYTES_MAX} bytes"
    return None


async def _refuse(send: Any, status: int, code: str, detail: str) -> None:
    problem = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(problem) + b"\n", "more_body": False})
