"""The API on a real store, without a server in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from quart.typing import TestClientProtocol

from _taskqueue.domain.task import TaskInfo
from _taskqueue.life import Life, running
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.settings import load_settings
from _taskqueue.store.calls import BeatStore
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import discover
from _taskqueue.web.health import Health
from _taskqueue.web.site import Site, open_site
from tests.store.desk import Desk

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

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Any call; gives status and parsed JSON, or None where there is none."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = b"" if body is None else msgspec.json.encode(body)
        response = await self.http.open(path, method=method, headers=named, data=sent)
        data = await response.get_data()
        return response.status_code, msgspec.json.decode(data) if data else None

    async def get(self, path: str, **headers: str) -> Any:
        """The JSON of a call that succeeds."""
        status, answer = await self.call("GET", path, **headers)
        assert status == 200, answer
        return answer


Opening = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def opening(store: Store, metrics: Metrics) -> Opening:
    """``async with opening(tokens="…") as api``: an API with these settings."""

    @asynccontextmanager
    async def make(**options: str) -> AsyncIterator[Api]:
        flags = {"role": "api", "redis-url": "memory://"} | {name.replace("_", "-"): text for name, text in options.items()}
        life = Life()
        client = Producer(store, metrics, discover([]), PAYLOAD_BYTES_MAX)
        health = Health(life)
        health.use(store)
        site = await open_site(client, metrics, health, life, load_settings(flags, {}), [])
        async with running(client.run), running(site.run):
            life.start()
            yield Api(site.quart.test_client(), store, life, client, site)
            life.stop()

    return make


@pytest.fixture
async def api(opening: Opening) -> AsyncIterator[Api]:
    """An API that is open to everybody."""
    async with opening() as found:
        yield found


@pytest.fixture
def desk(store: Store, new_id: Callable[[], str]) -> Desk:
    """The queue behind the API, for tasks in any state."""
    return Desk(store, new_id)


def announce(store: Store, *tasks: TaskInfo) -> None:
    """Tell what a worker knows."""
    beats = BeatStore(store)
    beats.announce({task.name: msgspec.json.encode(task) for task in tasks})
    beats.close()


def known_task(name: str, schema: dict[str, Any] | None = None, redact: bool | tuple[str, ...] = False) -> TaskInfo:
    """What a worker tells of a task."""
    return TaskInfo(name, "", "default", "loop", 60.0, 5, (), schema or {}, redact)
