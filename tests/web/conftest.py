"""The API on a real store, without a server in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from quart.typing import TestClientProtocol

from _taskqueue.life import Life, running
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.settings import load_settings
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import discover
from _taskqueue.web.health import Health
from _taskqueue.web.site import Site, open_site

PAYLOAD_BYTES_MAX = 1_000


@dataclass(slots=True)
class Api:
    """What the tests of the API hold in their hands."""

    http: TestClientProtocol
    store: Store
    life: Life
    client: Producer
    site: Site

    async def post(self, path: str, body: object = None, *, raw: bytes | str | None = None, **headers: str) -> Any:
        """POST; gives the response."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if raw is not None:
            return await self.http.post(path, data=raw, headers=named)
        return await self.http.post(path, json=body, headers=named)

    async def submit(self, **fields: object) -> str:
        """Submit a task; gives its id."""
        response = await self.post("/tasks", {"payload": "x", **fields})
        assert response.status_code == 202, await response.get_data()
        return str((await response.get_json())["task_id"])


@pytest.fixture
async def api(store: Store, metrics: Metrics) -> AsyncIterator[Api]:
    life = Life()
    client = Producer(store, metrics, discover([]), PAYLOAD_BYTES_MAX)
    health = Health(life)
    health.use(store)
    site = await open_site(client, metrics, health, life, load_settings({"role": "api", "redis-url": "memory://"}, {}), [])
    async with running(client.run), running(site.run):
        life.start()
        yield Api(site.quart.test_client(), store, life, client, site)
        life.stop()
