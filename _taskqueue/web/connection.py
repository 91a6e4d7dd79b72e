"""How requests reach the app: limits on their head and shape, and bodies that stream without filling memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import msgspec

from _taskqueue.web.problems import Problem

HEAD_BYTES_MAX = 32 * 1024
URL_BYTES_MAX = 8 * 1024
CHUNKS_FREE, BYTES_A_CHUNK = 4_096, 64
"""A body may come in this many parts, and one more for each so many bytes: each costs 7 µs."""
STREAMED = "application/x-ndjson"
UPLOAD = "taskqueue.upload"
"""Where a request's scope has its streamed body, an :class:`Upload`."""
_WHOLE_URL = re.compile(r"(?i:https?)://([^/?#]+)(/.*)?", re.DOTALL)
SINGLE = (b"authorization", b"idempotency-key", b"x-request-id", b"content-type", b"origin", b"sec-fetch-site")
"""Headers of which two would be read one way here and another way there."""

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
"""An ASGI application, and what it is called with."""


class Upload:
    """A body that is read as it comes: what nobody has asked for yet stays with the sender.

    Args:
        receive: gives the messages of one ASGI connection.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._over = asyncio.Event()
        self._begun = self._gone = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts of the body; they end early when the client hangs up, which cancels who reads them."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                self._gone = True
                break
            more = message.get("more_body", False)
            if part := message.get("body", b""):
                yield part
        self._over.set()
        if self._gone:
            await asyncio.Event().wait()  # the framework cancels the request as soon as it hears of it

    async def receive(self) -> Message:
        """What the framework gets to see: a request without a body, and the client's hanging up."""
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._over.wait()
        while not self._gone:
            self._gone = (await self._receive())["type"] != "http.request"
        return {"type": "http.disconnect"}

    def answering(self, send: Send) -> Send:
        """As ``send``; what is left of the body when the answer is out is dropped."""

        async def sent(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._over.set()

        return sent


def upload_of(request: Any) -> Upload:
    """The body of a request that streams it."""
    found: Upload = request.scope[UPLOAD]
    return found


def feed(app: App, bytes_max: int) -> App:
    """The app behind a reader of bodies: streamed ones are left to who asks for them (``scope[UPLOAD]``), others end at a limit."""

    async def fed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        whole = _without_crumbs(receive)
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if kind.partition(b";")[0].strip().lower() == STREAMED.encode():
            upload = Upload(whole)
            await app({**scope, UPLOAD: upload}, upload.receive, upload.answering(send))
        else:
            await app(scope, _up_to(bytes_max, whole), send)

    return fed


def _without_crumbs(receive: Receive) -> Receive:
    """Hang up on a body that comes in crumbs."""
    chunks = size = 0

    async def counted() -> Message:
        nonlocal chunks, size
        message = await receive()
        chunks, size = chunks + 1, size + len(message.get("body", b""))
        return {"type": "http.disconnect"} if chunks > CHUNKS_FREE + size / BYTES_A_CHUNK else message

    return counted


def _up_to(bytes_max: int, receive: Receive) -> Receive:
    """Cut a body off one byte after its limit, where the framework refuses it, and drop the rest."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        while size > bytes_max:
            message = await receive()
            if message["type"] != "http.request":
                return message
        message = await receive()
        body = message.get("body", b"")
        size += len(body)
        if size <= bytes_max:
            return message
        return {"type": "http.request", "body": body[: len(body) - size + bytes_max + 1], "more_body": False}

    return limited


def guard(app: App) -> App:
    """The app behind checks of a request's head that its framework does not make."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        scope = in_origin_form(scope)
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


def in_origin_form(scope: Scope) -> Scope:
    """A request whose target is a whole URL, which a server must take (RFC 9112, 3.2.2), as one with path and Host."""
    path = scope.get("path", "/")
    found = None if path.startswith("/") else _WHOLE_URL.fullmatch(path)
    if found is None:
        return scope
    raw = _WHOLE_URL.fullmatch((scope.get("raw_path") or b"").decode("latin-1"))
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope, "path": found[2] or "/", "raw_path": ((raw and raw[2]) or "/").encode("latin-1"),
        "headers": [(b"host", found[1].encode("latin-1", "replace")), *headers],
    }  # fmt: skip


def _fault(scope: Scope) -> tuple[int, str, str] | None:
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


async def _refuse(send: Send, status: int, code: str, detail: str) -> None:
    problem = Problem(status, code, detail).document()
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(problem) + b"\n", "more_body": False})
