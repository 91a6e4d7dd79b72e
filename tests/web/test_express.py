"""POST /tasks goes past the framework; what may be sent both ways is answered alike."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from tests.web.conftest import PAYLOAD_BYTES_MAX, Api

pytestmark = pytest.mark.anyio

HEAD = {b"host": b"localhost", b"content-type": b"application/json"}
VOLATILE = {"x-request-id", "location", "content-length"}


async def ask(
    app: Any, body: bytes | list[bytes], headers: Mapping[bytes, bytes] | None = None, *, path: str = "/tasks", hang_up: bool = False
) -> tuple[int, dict[str, str], Any]:
    """One request on ASGI itself; gives status, headers and the JSON."""
    parts = [body] if isinstance(body, bytes) else body
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = hang_up
    sent: list[dict[str, Any]] = []
    answered = anyio.Event()

    async def receive() -> dict[str, Any]:
        if not messages and not hang_up:
            await answered.wait()  # so does a server: it tells of the client's end, or of that of the answer
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "http_version": "1.1",
        "headers": list({**HEAD, **(headers or {})}.items()), "scheme": "http", "client": ("127.0.0.1", 1), "extensions": {},
    }  # fmt: skip
    await app(scope, receive, send)
    start, *rest = sent
    fields = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], fields, json.loads(b"".join(message.get("body", b"") for message in rest))


@pytest.mark.parametrize(
    "body",
    [
        b'{"payload": "hello"}',
        b'{"payload": {"a": [1, 2]}, "priority": 9, "tags": ["x"]}',
        b'{"payload": 1, "priorty": 9}',
        b'{"payload": 1, "priority": 10}',
        b'{"payload": 1, "queue": "No Name"}',
        b'{"task": "echo"}',
        b"{}",
        b"",
        b"[]",
        b"not json",
        b"\xff\xfe",
        b"[" * 20_000,
        b'{"payload": "' + b"x" * (PAYLOAD_BYTES_MAX + 1) + b'"}',
        b'{"payload": "' + b"x" * 100_000 + b'"}',
    ],
    ids=lambda body: body[:24].decode(errors="replace"),
)
async def test_both_ways_answer_alike(api: Api, body: bytes) -> None:
    status, headers, answer = await ask(api.site.app, body)
    other_status, other_headers, other = await ask(api.site.quart, body)

    assert (status, headers["content-type"]) == (other_status, other_headers["content-type"])
    assert headers.keys() == other_headers.keys()
    assert {name: headers[name] for name in headers.keys() - VOLATILE} == {
        name: other_headers[name] for name in other_headers.keys() - VOLATILE
    }
    if status == 202:
        assert answer.keys() == other.keys() == {"task_id"}
    else:
        assert answer == other


@pytest.mark.parametrize("path", ["/tasks", "/v1/tasks"])
async def test_a_body_may_come_in_parts(api: Api, path: str) -> None:
    status, headers, answer = await ask(api.site.app, [b'{"pay', b'load": ', b'"hello"}'], path=path)

    assert status == 202
    assert headers["location"] == f"/tasks/{answer['task_id']}"
    sight = await api.client.look(answer["task_id"])
    assert sight is not None
    assert sight.record.payload == b"hello"


@pytest.mark.parametrize(
    ("body", "hang_up", "status"), [([b"x"] * 10_000, False, 400), ([b"x" * 60_000] * 9, False, 413), ([b'{"payload":'], True, 400)]
)
async def test_a_body_in_crumbs_too_large_or_cut_off_is_refused(api: Api, body: list[bytes], hang_up: bool, status: int) -> None:
    assert (await ask(api.site.app, body, hang_up=hang_up))[0] == status


async def test_a_length_over_the_limit_is_refused_unread(api: Api) -> None:
    assert (await ask(api.site.app, b"", {b"content-length": b"99999999"}))[0] == 413


async def test_the_request_id_is_echoed_when_it_is_a_sane_one(api: Api) -> None:
    _, mine, _ = await ask(api.site.app, b'{"payload": 1}', {b"x-request-id": b"abc-1"})
    _, theirs, _ = await ask(api.site.app, b'{"payload": 1}', {b"x-request-id": b"<script>"})

    assert mine["x-request-id"] == "abc-1"
    assert re.fullmatch(r"[0-9a-f]{16}", theirs["x-request-id"])


@pytest.mark.parametrize("headers", [{b"sec-fetch-site": b"cross-site"}, {b"origin": b"https://elsewhere.example"}])
async def test_a_page_of_another_site_is_refused_here_too(api: Api, headers: dict[bytes, bytes]) -> None:
    assert (await ask(api.site.app, b'{"payload": 1}', headers))[0] == 403


async def test_a_foreign_host_is_refused_here_too(api: Api) -> None:
    assert (await ask(api.site.app, b'{"payload": 1}', {b"host": b"rebound.example"}))[0] == 421


async def test_a_body_that_is_coded_is_refused_here_too(api: Api) -> None:
    mine, theirs = [await ask(app, b'{"payload": 1}', {b"content-encoding": b"gzip"}) for app in (api.site.app, api.site.quart)]

    assert mine[0] == theirs[0] == 415
    assert mine[1]["accept-encoding"] == theirs[1]["accept-encoding"] == "identity"
    assert mine[2] == theirs[2]


@pytest.mark.parametrize("url", ["http://localhost:8080/tasks", "HTTPS://127.0.0.1/v1/tasks"])
async def test_a_whole_url_is_a_target_too(api: Api, url: str) -> None:
    assert (await ask(api.site.app, b'{"payload": 1}', {b"host": b"evil.example"}, path=url))[0] == 202


@pytest.mark.parametrize(
    ("url", "status", "title"),
    [
        ("http://evil.example/tasks", 421, "Misdirected Request"),
        ("http://me@localhost/tasks", 421, "Misdirected Request"),
        ("http://localhost", 405, "Method Not Allowed"),
        ("http:///tasks", 400, "Bad Request"),
        ("ftp://localhost/tasks", 400, "Bad Request"),
        ("*", 400, "Bad Request"),
    ],
)
async def test_a_whole_url_names_the_host_that_is_meant(api: Api, url: str, status: int, title: str) -> None:
    found, _, answer = await ask(api.site.app, b'{"payload": 1}', path=url)

    assert (found, answer["title"]) == (status, title)


async def test_two_lengths_of_a_body_are_refused(api: Api) -> None:
    headers = {b"content-length": b"14", b"transfer-encoding": b"chunked"}

    assert (await ask(api.site.app, b'{"payload": 1}', headers))[0] == 400


async def test_a_key_is_honoured_through_the_framework(api: Api) -> None:
    first, second = [await ask(api.site.app, b'{"payload": 1}', {b"idempotency-key": b"k"}) for _ in range(2)]

    assert first[2] == second[2]
    assert second[1]["idempotency-replayed"] == "true"
