"""``/queues``: sizes, settings, pause, purge, advice on scaling."""

from __future__ import annotations

import math
import secrets
import time
from typing import Annotated

import msgspec
from quart import Response, g

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import QUEUE_NAME
from _taskqueue.filters import Filter
from _taskqueue.producer import Producer
from _taskqueue.store.answers import Count
from _taskqueue.store.browse import Browse
from _taskqueue.store.operations import Operation, Operations
from _taskqueue.web.bodies import PauseBody, QueueBody
from _taskqueue.web.frame import tagged
from _taskqueue.web.operations import OperationView, show_operation
from _taskqueue.web.problems import Problem, in_time, json_response
from _taskqueue.web.reading import list_pattern, read_states
from _taskqueue.web.routing import Scope, route
from _taskqueue.web.shapes import QueuePage, QueueView, Seconds, show_queue
from _taskqueue.web.workers import read_workers

MANY_S = 3.0
DRAIN_TARGET_S = 60.0
HEADROOM = 0.8
"""Workers are planned to be this busy."""
WORKERS_MAX = 1_000


class AutoscaleQuery(msgspec.Struct):
    """Query of ``GET /autoscale``."""

    queue: str = "default"
    target: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = DRAIN_TARGET_S
    slots_per_worker: Annotated[int, msgspec.Meta(ge=0, le=10_000, description="0: as its workers have now")] = 0


PURGEABLE = TERMINAL | {State.PENDING, State.SCHEDULED, State.RETRYING}
PurgeText = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": list_pattern(*sorted(PURGEABLE))})]


class PurgeQuery(msgspec.Struct):
    """Query of ``DELETE /queues/{q}/tasks``."""

    state: PurgeText = "pending"


class Advice(msgspec.Struct):
    """How many workers a queue wants."""

    queue: str
    backlog: int
    latency_seconds: Seconds
    running: int
    slots: int
    desired_workers: int


class QueuesApi:
    """Queues."""

    def __init__(self, producer: Producer, browse: Browse) -> None:
        self._producer, self._store, self._browse = producer, producer.store, browse

    @route("GET", "/queues", scope=Scope.READ, answers={200: QueuePage, 304: None})
    async def list_queues(self) -> Response:
        """Every queue that was ever used, with its counts by state."""
        with in_time(MANY_S):
            counts = [await self._store.count(queue) for queue in await self._store.queues()]
        return await tagged(json_response(QueuePage([self._show(count) for count in counts])))

    @route("GET", "/queues/<queue>", scope=Scope.READ, answers={200: QueueView}, problems=(404,))
    async def read(self, queue: str) -> Response:
        """One queue."""
        return json_response(self._show(await self._count(queue)))

    @route("PATCH", "/queues/<queue>", scope=Scope.ADMIN, body=QueueBody, answers={200: QueueView}, problems=(400, 404, 422))
    async def change(self, queue: str, body: QueueBody) -> Response:
        """Limit the length of a queue, or take the limit away with null."""
        if body.max_length is not msgspec.UNSET:
            await self._configure(queue, max_length="" if body.max_length is None else str(body.max_length))
        return json_response(self._show(await self._count(queue)))

    @route("POST", "/queues/<queue>/pause", scope=Scope.OPERATE, body=PauseBody, answers={200: QueueView}, problems=(400, 404, 422))
    async def pause(self, queue: str, body: PauseBody) -> Response:
        """Start no more tasks of a queue; running ones go on, new ones are accepted and wait."""
        await self._configure(queue, paused=body.reason or " ")
        return json_response(self._show(await self._count(queue)))

    @route("POST", "/queues/<queue>/resume", scope=Scope.OPERATE, answers={200: QueueView}, problems=(404,))
    async def resume(self, queue: str) -> Response:
        """Go on with a queue that was paused."""
        await self._configure(queue, paused="")
        return json_response(self._show(await self._count(queue)))

    @route(
        "DELETE", "/queues/<queue>/tasks", scope=Scope.ADMIN, query=PurgeQuery, answers={202: OperationView}, problems=(404, 422)
    )  # fmt: skip
    async def purge(self, queue: str, query: PurgeQuery) -> Response:
        """Delete all tasks of a queue that are in some states (by default pending); becomes an operation."""
        states = read_states("state", query.state) or frozenset({State.PENDING})
        if not states <= PURGEABLE:
            raise Problem(422, "invalid_field", "state: running tasks cannot be purged; cancel them")
        count = await self._count(queue)
        wanted = Filter(states=tuple(sorted(states)), queues=(queue,), created_before_ms=self._producer.now_ms() + 1)
        matched = sum(count.states[state.value] for state in states)
        operation = Operation(
            f"op_{secrets.token_hex(10)}", "delete", wanted, "running", matched, int(time.time() * 1000), g.caller.name
        )  # fmt: skip
        with in_time():
            await Operations(self._store).create(operation)
        return json_response(show_operation(operation), 202, {"Location": f"/operations/{operation.id}"})

    @route("GET", "/autoscale", scope=Scope.READ, query=AutoscaleQuery, answers={200: Advice}, problems=(404, 422))
    async def autoscale(self, query: AutoscaleQuery) -> Response:
        """How many workers a queue wants, for a scaler that asks (such as KEDA's metrics-api)."""
        count = await self._count(query.queue)
        with in_time():
            workers = [one for one in await read_workers(self._store) if query.queue in one.queues and one.alive]
        slots = sum(one.slots for one in workers)
        each = query.slots_per_worker or (slots // len(workers) if workers else 100)
        wanted = desired_workers(count, each, query.target)
        latency = round(count.latency_s(self._store.head_start_ms), 3)
        return json_response(Advice(query.queue, count.backlog, latency, count.states["running"], slots, wanted))

    # -- steps ------------------------------------------------------------------------------------------------------

    def _show(self, count: Count) -> QueueView:
        return show_queue(count, self._store.head_start_ms)

    async def _count(self, queue: str) -> Count:
        with in_time():
            await self._known(queue)
            return await self._store.count(queue)

    async def _known(self, queue: str) -> None:
        if not QUEUE_NAME.fullmatch(queue) or queue not in await self._store.queues():
            raise Problem(404, "not_found", f"there is no queue {queue[:64]!r}; a queue exists once a task was submitted to it")

    async def _configure(self, queue: str, **changes: str) -> None:
        with in_time():
            await self._known(queue)
            await self._store.configure(queue, changes)
        self._producer.on_news(queue)


def desired_workers(count: Count, slots_each: int, drain_target_s: float) -> int:
    """Workers for what arrives and for the backlog within the target; mean run time by Little's law."""
    running, backlog = count.states["running"], count.backlog
    if not running and not backlog:
        return 0
    rate_s = count.rate_s
    mean_run_s = running / rate_s if rate_s and running else None
    needed = backlog if mean_run_s is None else (rate_s + backlog / drain_target_s) * mean_run_s
    slots = max(needed, running)
    return max(1, min(WORKERS_MAX, math.ceil(slots / (slots_each * HEADROOM))))
