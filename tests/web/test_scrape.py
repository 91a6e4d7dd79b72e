"""The metrics port: probes and problems there are those of the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from _taskqueue.life import Life
from _taskqueue.metrics import Metrics
from _taskqueue.web.health import Health
from _taskqueue.web.scrape import scrape_app

pytestmark = pytest.mark.anyio


async def ask(path: str, method: str = "GET", host: str | None = "localhost") -> tuple[int, dict[bytes, bytes], Any]:
    """One request; gives status, headers and the JSON."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [] if host is None else [(b"host", host.encode())]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": headers}
    await scrape_app(Metrics("test", {"worker"}).registry, Health(Life()))(scope, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


@pytest.mark.parametrize("host", [None, "node-7.internal", "evil.example"])
@pytest.mark.parametrize("path", ["/livez", "http://node-7.internal:2112/livez"])
async def test_probes_are_answered_under_any_name(path: str, host: str | None) -> None:
    assert (await ask(path, host=host))[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status", "title"), [("/x", "GET", 404, "Not Found"), ("/livez", "POST", 405, "Method Not Allowed")]
)
async def test_problems_are_those_of_the_api(path: str, method: str, status: int, title: str) -> None:
    found, headers, problem = await ask(path, method)

    assert (found, problem["status"], problem["title"], problem["type"]) == (status, status, title, "about:blank")
    assert status != 405 or headers[b"allow"] == b"GET, HEAD"
