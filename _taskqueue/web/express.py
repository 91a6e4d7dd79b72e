"""``POST /tasks`` without the framework: the one call that every producer makes, at two thirds of its cost.

The framework takes 150 µs for a request of which nothing here needs anything. So a plain submission, without query and
without the headers that ask for more, is read and answered on ASGI itself, by the same steps: the same access, the same
reader, the same store. Everything else goes on to the framework; a test sends both ways what may be sent and compares.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import msgspec

from _taskqueue.metrics import Metrics
from _taskqueue.web.access import Access, Visit
from _taskqueue.web.connection import BYTES_A_CHUNK, CHUNKS_FREE
from _taskqueue.web.frame import REQUEST_ID, SECURITY_HEADERS
from _taskqueue.web.problems import Problem, refuse_coded
from _taskqueue.web.routing import Route
from _taskqueue.web.submit import SubmitApi, accepted, headers_of

PATHS = ("/tasks", "/v1/tasks")
BODY_S = 30.0
FRAMEWORK_HEADERS = frozenset((b"idempotency-key", b"prefer", b"origin", b"sec-fetch-site", b"cookie", b"expect", b"upgrade"))
"""Requests with one of these are left to the framework."""

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_FRAME = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()] + [
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"api-version", b"1"),
    (b"cache-control", b"no-store"),
]


class Express:
    """In front of the framework's application.

    Args:
        found: the declaration of ``POST /tasks``.
    """

    def __init__(self, app: Any, api: SubmitApi, found: Route, access: Access, metrics: Metrics, payload_bytes_max: int) -> None:
        self._app, self._api, self._route, self._access, self._metrics = app, api, found, access, metrics
        self._body_bytes_max = payload_bytes_max
        self._observers: dict[int, Callable[[float], None]] = {}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "http" and scope["path"] in PATHS and scope["method"] == "POST" and not scope["query_string"]:
            headers = dict(scope["headers"])
            if not FRAMEWORK_HEADERS & headers.keys():
                await self._submit(scope, headers, receive, send)
                return
        await self._app(scope, receive, send)

    async def _submit(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            status, kind, more, body = await self._answer(scope, headers, receive)
        except Problem as problem:
            status, kind, more = problem.status, b"application/problem+json", problem.headers
            body = msgspec.json.encode(problem.document()) + b"\n"
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        fields = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"x-request-id", request_id.encode()), *_FRAME]
        fields += [(name.lower().encode(), value.encode("latin-1")) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        self._observe(status // 100, time.perf_counter() - began)

    async def _answer(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, Mapping[str, str], bytes]:
        """Status, content type, headers and body. Raises Problem."""
        host, authorization = headers.get(b"host", b""), headers.get(b"authorization", b"")
        peer = (scope.get("client") or ("<local>",))[0]
        self._access.admit(self._route, Visit(host.decode("latin-1"), peer, authorization.decode("latin-1")))
        body = await self._read(headers, receive)
        try:
            submission, ignored = await self._api.read_one(body, strict=False)
            task_id = await self._api.store_one(submission)
        except Problem as problem:
            raise self._api.rejected(problem) from None
        return 202, b"application/json", headers_of(task_id, ignored, self._api.durability), msgspec.json.encode(accepted(task_id)) + b"\n"

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Raises Problem when it is too large, too slow, in crumbs, or cut off."""
        refuse_coded(headers.get(b"content-encoding", b"").decode("latin-1"))
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._body_bytes_max:
            raise self._too_large(int(length))
        parts: list[bytes] = []
        size = 0
        try:
            with anyio.fail_after(BODY_S):
                while (message := await receive())["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._body_bytes_max:
                        raise self._too_large(size)
                    if len(parts) > CHUNKS_FREE + size / BYTES_A_CHUNK:
                        raise Problem(400, "bad_request", "the body comes in too many parts")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Problem(408, "request_timeout", f"the body did not come within {BODY_S:g} s") from None
        raise Problem(400, "bad_request", "the client hung up")

    def _too_large(self, size: int) -> Problem:
        return Problem(413, "payload_too_large", f"the body has {size} bytes, more than {self._body_bytes_max}")

    def _observe(self, family: int, took_s: float) -> None:
        observer = self._observers.get(family)
        if observer is None:
            observer = self._observers[family] = self._metrics.http_seconds.labels("POST", "/tasks", f"{family}xx").observe
        observer(took_s)
