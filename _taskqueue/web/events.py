"""``/events``: everything live, as one stream of server-sent events for each client.

One reader per process feeds all clients. It reads the store four times a second while anybody listens, and merges what
happened to one task in between. A client that does not keep up, or that comes back after too long, is told to ``reset``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
import msgspec
from anyio.abc import TaskStatus
from quart import Response, g, request

from _taskqueue.domain.errors import StoreError
from _taskqueue.store.answers import Count
from _taskqueue.store.browse import Browse
from _taskqueue.store.eventlog import Event, EventLog
from _taskqueue.store.operations import Operations
from _taskqueue.store.store import Store
from _taskqueue.web.operations import show_operation
from _taskqueue.web.problems import Problem
from _taskqueue.web.reading import Duration, read_seconds
from _taskqueue.web.routing import Media, Scope, route
from _taskqueue.web.shapes import show_queue, show_time
from _taskqueue.web.workers import read_workers

READ_S = 0.25
QUEUES_S, WORKERS_S = 1.0, 5.0
FLOW_MS_MAX = 3_000
WATCH_S = 3.0
BUFFER = 256
CLIENTS_MAX, CLIENTS_EACH_MAX = 500, 60
LIFE_S = 3600.0
HEARTBEAT_S = 15.0
TASKS_A_SECOND_MAX = 200
"""Beyond that, single tasks are left out and the stream says so."""
_EVENT_ID = re.compile(r"\d{1,15}", re.ASCII)
TOPICS = ("stats", "queues", "tasks", "workers", "ops")

log = logging.getLogger("taskqueue.events")


TopicsText = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^(({'|'.join(TOPICS)})(,({'|'.join(TOPICS)})){{0,9}})?$"})]


class EventsQuery(msgspec.Struct):
    """Query of ``GET /events``."""

    topics: TopicsText = ",".join(TOPICS)
    queue: str = ""
    task_id: str = ""
    min_interval: Duration = "0"


@dataclass(slots=True)
class Listener:
    """One client."""

    topics: frozenset[str]
    queues: frozenset[str]
    task_id: str
    owner: str
    buffer: deque[bytes] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, message: bytes) -> None:
        """Queue a message; one that does not keep up loses what waits, and is told."""
        if len(self.buffer) >= BUFFER:
            self.buffer.clear()
            self.buffer.append(pack("reset", {"reason": "too slow"}, ""))
        self.buffer.append(message)
        self.wake.set()

    def wants(self, topic: str, queue: str = "") -> bool:
        """Whether this is for it."""
        return topic in self.topics and (not queue or not self.queues or queue in self.queues)


class Live:
    """The one reader, and the clients it feeds."""

    def __init__(self, store: Store, stopping: anyio.Event) -> None:
        self._store, self._stopping = store, stopping
        self._log, self._browse, self._operations = EventLog(store), Browse(store), Operations(store)
        self._listeners: list[Listener] = []
        self._arrived = asyncio.Event()
        self._watched_at = self._queues_at = self._workers_at = 0.0
        self._shown: dict[str, bytes] = {}
        self._counts: dict[str, Count] = {}
        self._now_ms = 0
        self._budget, self._budget_at = float(TASKS_A_SECOND_MAX), 0.0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read while anybody listens, until the process stops."""
        task_status.started()
        while not self._stopping.is_set():
            if not self._listeners:
                self._arrived.clear()
                self._shown.clear()
                self._log.rest()
                await self._idle()
                continue
            try:
                await self._round()
            except StoreError as error:
                log.debug("events wait: %s", error)
            with anyio.move_on_after(READ_S):
                await self._stopping.wait()

    async def _idle(self) -> None:
        async with anyio.create_task_group() as group:

            async def until(event: Any) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            group.start_soon(until, self._arrived)
            group.start_soon(until, self._stopping)

    async def _round(self) -> None:
        now = time.monotonic()
        if now - self._watched_at > WATCH_S:
            self._watched_at = now
            await self._log.watch()
        events = await self._log.read()
        if self._log.met_a_new_queue:
            await self._log.watch()
            for listener in self._listeners:
                listener.give(pack("reset", {"reason": "a new queue"}, self.now_id()))
        self._tell_tasks(events)
        if now - self._queues_at > QUEUES_S:
            self._queues_at = now
            await self._tell_queues()
            await self._tell_operations()
        if now - self._workers_at > WORKERS_S:
            self._workers_at = now
            for worker in await read_workers(self._store):
                self._tell_changed("worker", "workers", worker.worker, worker)

    def admit(self, owner: str) -> None:
        """Raises Problem when there are too many clients, of this owner or at all."""
        mine = sum(one.owner == owner for one in self._listeners)
        if len(self._listeners) >= CLIENTS_MAX or mine >= CLIENTS_EACH_MAX:
            raise Problem(429, "rate_limited", "too many event streams are open", retry_after_s=5)

    def add(self, listener: Listener) -> None:
        """Feed this client from now on."""
        self._listeners.append(listener)
        self._shown.clear()  # so that the newcomer hears everything once
        self._watched_at = self._queues_at = self._workers_at = 0.0
        self._arrived.set()

    def now_id(self) -> str:
        """The time by the store's clock, as an id to resume from; empty before it is known."""
        return str(self._now_ms) if self._now_ms else ""

    def remove(self, listener: Listener) -> None:
        """Feed it no more."""
        self._listeners.remove(listener)

    async def missed(self, last_id: str) -> list[Event] | None:
        """What a client that comes back has missed; None when that is not known."""
        return await self._log.since(int(last_id)) if _EVENT_ID.fullmatch(last_id) else None

    # -- telling ----------------------------------------------------------------------------------------------------

    def _tell_tasks(self, events: list[Event]) -> None:
        latest = merge_events(events)
        allowed = self._allowance(len(latest))
        if not allowed and latest:
            message = pack("busy", {"tasks": len(latest), "detail": "too much happens to tell each task"}, self.now_id())
            for listener in self._listeners:
                if listener.wants("tasks") and not listener.task_id:
                    listener.give(message)
        for task_id, event in latest.items():
            message = pack_task(task_id, event)
            for listener in self._listeners:
                if listener.wants("tasks", event.queue) and (allowed if not listener.task_id else listener.task_id == task_id):
                    listener.give(message)

    def _allowance(self, count: int) -> bool:
        now = time.monotonic()
        self._budget = min(TASKS_A_SECOND_MAX, self._budget + (now - self._budget_at) * TASKS_A_SECOND_MAX)
        self._budget_at = now
        if count > self._budget:
            return False
        self._budget -= count
        return True

    async def _tell_queues(self) -> None:
        totals: dict[str, float] = {}
        flow = {"submitted": 0, "done": 0, "failed": 0}
        oldest_s = 0.0
        for queue in await self._store.queues(max_age_s=2.0):
            count = await self._store.count(queue)
            self._now_ms = max(self._now_ms, count.now_ms)
            self._tell_changed("queue", "queues", queue, show_queue(count, self._store.head_start_ms))
            for state, number in count.states.items():
                totals[state] = totals.get(state, 0) + number
            totals["rate_1m"] = round(totals.get("rate_1m", 0.0) + count.rate_s, 3)
            oldest_s = max(oldest_s, count.latency_s(self._store.head_start_ms))
            self._add_flow(flow, count)
        now = {**flow, "running": totals.get("running", 0), "oldest": round(oldest_s, 3)}
        self._tell("stats", "stats", {"at": show_time(time.time() * 1000), **totals, "per_second": now})

    def _add_flow(self, flow: dict[str, int], count: Count) -> None:
        """What came and went since the last look, about a second ago."""
        before, self._counts[count.queue] = self._counts.get(count.queue), count
        if before is None or count.now_ms - before.now_ms > FLOW_MS_MAX:
            return
        for name, series in (("submitted", ("submitted",)), ("done", ("succeeded",)), ("failed", ("retried", "dead"))):
            flow[name] += sum(flow_between(before, count, one) for one in series)

    async def _tell_operations(self) -> None:
        for operation in (await self._operations.all())[:20]:
            self._tell_changed("operation", "ops", operation.id, show_operation(operation))

    def _tell_changed(self, name: str, topic: str, key: str, value: Any) -> None:
        text = msgspec.json.encode(value)
        if self._shown.get(name + key) != text:
            self._shown[name + key] = text
            self._tell(name, topic, value, key if topic == "queues" else "")

    def _tell(self, name: str, topic: str, value: Any, queue: str = "") -> None:
        message = pack(name, value, self.now_id())
        for listener in self._listeners:
            if listener.wants(topic, queue):
                listener.give(message)


class EventsApi:
    """Live events."""

    def __init__(self, live: Live, stopping: anyio.Event) -> None:
        self._live, self._stopping = live, stopping

    @route(
        "GET", "/events", scope=Scope.READ, query=EventsQuery,
        answers={200: Media("text/event-stream", "stats, queue, task, worker, operation, busy, reset, bye")}, problems=(422,),
    )  # fmt: skip
    async def events(self, query: EventsQuery) -> Response:
        """Everything that happens, as server-sent events; Last-Event-ID resumes."""
        listener = Listener(_topics(query.topics), frozenset(filter(None, query.queue.split(","))), query.task_id, _owner())
        pause_s = min(60.0, read_seconds("min_interval", query.min_interval or "0"))
        self._live.admit(listener.owner)
        response = Response(self._messages(listener, pause_s, request.headers.get("Last-Event-ID", "")), 200, {}, "text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"
        response.timeout = None
        return response

    async def _messages(self, listener: Listener, pause_s: float, last_id: str) -> AsyncIterator[bytes]:
        ends = time.monotonic() + LIFE_S
        self._live.add(listener)  # only here: a client that is gone already is never served
        try:
            yield b"retry: 2000\n\n"
            if last_id:
                for message in await self._resumed(listener, last_id):
                    yield message
            while not self._stopping.is_set() and time.monotonic() < ends:
                listener.wake.clear()
                while listener.buffer:
                    yield listener.buffer.popleft()
                with anyio.move_on_after(pause_s):
                    await self._stopping.wait()
                if not await self._something(listener):
                    yield b": still here\n\n"
            yield pack("bye", {"reason": "stopping" if self._stopping.is_set() else "renew"}, self._live.now_id())
        finally:
            self._live.remove(listener)

    async def _something(self, listener: Listener) -> bool:
        """Wait for a message or the end; False when nothing came for a while."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        woken = asyncio.ensure_future(listener.wake.wait())
        try:
            done, _ = await asyncio.wait((stopped, woken), timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            return bool(done)
        finally:
            stopped.cancel()
            woken.cancel()

    async def _resumed(self, listener: Listener, last_id: str) -> Iterable[bytes]:
        try:
            missed = await self._live.missed(last_id)
        except StoreError:
            missed = None
        if missed is None:
            return [pack("reset", {"reason": "too long ago"}, self._live.now_id())]
        return [
            pack_task(task_id, event)
            for task_id, event in merge_events(missed).items()
            if listener.wants("tasks", event.queue) and listener.task_id in ("", task_id)
        ]


def flow_between(before: Count, now: Count, series: str) -> int:
    """How much a series grew from one look to the next, over the turn of a minute too."""
    minutes = now.now_ms // 60_000 - before.now_ms // 60_000
    if minutes >= len(now.recent[series]):
        return 0
    return now.recent[series][minutes] - before.recent[series][0] + sum(now.recent[series][:minutes])


def merge_events(events: Iterable[Event]) -> dict[str, Event]:
    """The last word on each task."""
    return {task_id: event for event in events for task_id in event.ids}


def pack_task(task_id: str, event: Event) -> bytes:
    """One task that came into a state."""
    name = "progress" if event.what == "progress" else "task"
    state = "pending" if event.what == "submitted" else event.what
    return pack(name, {"task_id": task_id, "queue": event.queue, "state": state, "at": show_time(event.at_ms)}, str(event.at_ms))


def pack(name: str, value: Any, event_id: str) -> bytes:
    """One message of the stream (WHATWG HTML, 9.2)."""
    head = f"id: {event_id}\n" if event_id else ""
    return b"%sevent: %s\ndata: %s\n\n" % (head.encode(), name.encode(), msgspec.json.encode(value))


def _topics(text: str) -> frozenset[str]:
    found = frozenset(part.strip() for part in text.split(",") if part.strip())
    if strange := found - set(TOPICS):
        raise Problem(422, "invalid_field", f"topics: {min(strange)[:64]!r} is none; known are {', '.join(TOPICS)}")
    return found or frozenset(TOPICS)


def _owner() -> str:
    name: str = g.caller.name
    return name if name not in ("anybody", "nobody") else str(request.remote_addr)
