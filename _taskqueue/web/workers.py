"""``/workers`` and ``/handlers``: who works, what they know, and what they are told to do."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from quart import Response

from _taskqueue.domain.beat import Beat, read_beat
from _taskqueue.domain.task import TaskInfo
from _taskqueue.store.answers import pairs, score_pairs
from _taskqueue.store.store import Store
from _taskqueue.web.catalog import Catalog
from _taskqueue.web.frame import tagged
from _taskqueue.web.problems import Problem, in_time, json_response
from _taskqueue.web.routing import Scope, route
from _taskqueue.web.shapes import Seconds, Time, show_time


class WorkerView(msgspec.Struct):
    """One worker process."""

    worker: str
    state: Annotated[str, msgspec.Meta(description="active, quiet or lost")]
    queues: list[str]
    tasks: list[str]
    slots: int
    busy: int
    lag_seconds: Seconds
    memory_bytes: int
    version: str
    started_at: Time | None
    last_beat_at: Time | None

    @property
    def alive(self) -> bool:
        """It beats."""
        return self.state != "lost"


class WorkerPage(msgspec.Struct):
    """All worker processes that beat lately."""

    items: list[WorkerView]


class HandlerView(msgspec.Struct):
    """One task that live workers know."""

    task: str
    doc: str
    queue: str
    runs: Annotated[str, msgspec.Meta(description="on the event loop, in a thread, or in a process of its own")]
    timeout_seconds: Seconds
    max_attempts: int
    parameters: tuple[str, ...]
    schema: Annotated[dict[str, Any], msgspec.Meta(description="JSON Schema of its payload; empty when any will do")]


class HandlerPage(msgspec.Struct):
    """All tasks that live workers know."""

    items: list[HandlerView]


class Ordered(msgspec.Struct):
    """An order that the worker finds with its next beat."""

    worker: str
    order: str


class WorkersApi:
    """Worker processes and the tasks they know."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store, self._catalog = store, catalog

    @route("GET", "/workers", scope=Scope.READ, answers={200: WorkerPage})
    async def list_workers(self) -> Response:
        """The worker processes that beat within the last ten minutes."""
        with in_time():
            return json_response(WorkerPage(await read_workers(self._store)))

    @route("GET", "/handlers", scope=Scope.READ, answers={200: HandlerPage, 304: None})
    async def list_handlers(self) -> Response:
        """The tasks that live workers know, with the JSON Schema of their payloads."""
        with in_time():
            tasks = await self._catalog.tasks()
        return await tagged(json_response(HandlerPage([_show_handler(info) for info in tasks.values()])))

    @route("POST", "/workers/<worker>/quiet", scope=Scope.ADMIN, answers={202: Ordered}, problems=(404,))
    async def quiet(self, worker: str) -> Response:
        """Start no more tasks on a worker; what runs there goes on."""
        return await self._order(worker, "quiet")

    @route("POST", "/workers/<worker>/resume", scope=Scope.ADMIN, answers={202: Ordered}, problems=(404,))
    async def resume(self, worker: str) -> Response:
        """Let a quiet worker go on."""
        return await self._order(worker, "resume")

    @route("POST", "/workers/<worker>/stop", scope=Scope.ADMIN, answers={202: Ordered}, problems=(404,))
    async def stop(self, worker: str) -> Response:
        """Let a worker finish what it runs and end its process."""
        return await self._order(worker, "stop")

    async def _order(self, worker: str, order: str) -> Response:
        with in_time():
            if worker not in [one.worker for one in await read_workers(self._store)]:
                raise Problem(404, "not_found", f"there is no worker {worker[:100]!r}")
            await self._store.order("orders", worker, order)
        return json_response(Ordered(worker, order), 202)


async def read_workers(store: Store) -> list[WorkerView]:
    """The workers that beat lately. Raises StoreError."""
    texts = pairs(await store.command("workers", "HGETALL", store.key("workers")))
    times = dict(score_pairs(await store.command("workers", "ZRANGE", store.key("beats"), 0, -1, "WITHSCORES")))
    found = []
    for name, text in sorted(texts):
        beat = read_beat(text) or Beat(name.decode())
        found.append(_show(beat, times.get(name, 0.0), store.lease_ms))
    return found


def _show(beat: Beat, at_ms: float, lease_ms: int) -> WorkerView:
    lost = time.time() * 1000 - at_ms > lease_ms
    return WorkerView(
        beat.worker, "lost" if lost else "quiet" if beat.quiet else "active", beat.queues, beat.tasks, beat.slots, beat.busy,
        beat.lag_seconds, beat.memory_bytes, beat.version, show_time(beat.started_at * 1000), show_time(at_ms),
    )  # fmt: skip


def _show_handler(info: TaskInfo) -> HandlerView:
    where = {"loop": "on the event loop", "thread": "in a thread", "process": "in a process of its own"}.get(info.where, info.where)
    return HandlerView(
        info.name, info.doc, info.queue, where, info.timeout_s, info.max_attempts, info.parameters, info.schema
    )  # fmt: skip
