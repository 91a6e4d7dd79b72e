"""The worker role: starts slots, lines and heartbeat, and drains them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskStatus

from _taskqueue import __version__
from _taskqueue.domain.beat import Beat
from _taskqueue.domain.errors import HandlerError, StoreError
from _taskqueue.domain.task import message_of
from _taskqueue.life import Life
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.settings import Settings
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import Registry
from _taskqueue.tasks.spec import current_submitter
from _taskqueue.work.dispatcher import Dispatcher
from _taskqueue.work.execution import Execution, Means, name_of
from _taskqueue.work.farewell import Farewell
from _taskqueue.work.heartbeat import Heartbeat
from _taskqueue.work.pool import Pool
from _taskqueue.work.rivals import Rivals, signature_id

CLEANUP_S = 2.0
"""What cancelled handlers get to clean up …"""
CLOSE_S = 2.0
"""… and what the last words to the store may take."""
GAUGES_S = 1.0
WHERE = {"loop": "on the event loop", "thread": "in a thread", "process": "in a process of its own"}

log = logging.getLogger("taskqueue.worker")


def worker_name() -> str:
    """A name for this process, unique among all that ever ran: host, process, random."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"


class Worker:
    """Runs tasks until told to stop.

    Args:
        life: tells when to drain, and when not to wait for running tasks.
        random: gives a float in [0, 1), for jitter.
    """

    def __init__(
        self,
        store: Store,
        producer: Producer,
        registry: Registry,
        settings: Settings,
        metrics: Metrics,
        life: Life,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.name = worker_name()
        self.clean = True
        """everything was given back at the end"""
        store = store.apart()
        self._store, self._producer, self._registry, self._settings, self._metrics = store, producer, registry, settings, metrics
        self._life = life
        self._pool = Pool(settings.concurrency)
        self._signatures = {name: signature_id(spec) for name, spec in registry.tasks.items()}
        rivals = Rivals(store, self._signatures, registry.default)
        self.dispatcher = Dispatcher(store, self._pool, registry, metrics, settings.queues, self._new_lease, random, life.part)
        self.dispatcher.rivals = rivals
        means = Means(registry, settings, metrics, producer, self.name, self._signatures, random)
        self._execution = Execution(means, self.dispatcher.lines, rivals, self._pool.ended, self.dispatcher.rest)
        self.heartbeat = Heartbeat(
            store, metrics, self.dispatcher.lines.values, self._describe, self._announcements(), self._obey,
            lease_s=settings.lease_s, stall_limit_s=settings.stall_limit_s,
        )  # fmt: skip
        self._farewell = Farewell(settings.data_dir if settings.redis_url else None, self.name, store)
        self._started_at = time.time()
        self._quiet = False
        self._memory_max_bytes = _memory_max_bytes()
        metrics.know_tasks(registry.tasks)
        for spec in registry.tasks.values():
            metrics.meters(spec.queue, spec.name)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run tasks; returns when the process stops and everything is settled or given back."""
        current_submitter.set(self._producer)
        part = self._life.part
        async with aclosing(self._store), self._lifespans(), anyio.create_task_group() as group:
            self._execution.open()
            self._pool.start_with(self._execution.start)
            try:
                group.start_soon(part("the watch over deadlines", self._execution.watch))
                group.start_soon(part("the isolation of suspects", self.dispatcher.isolation.run))
                group.start_soon(part("the worker's gauges", self._keep_gauges))
                with suppress(StoreError):
                    await self._farewell.tell()
                lines = anyio.Event()
                await group.start(part("the lines to the queues", self._run_lines), lines)
                self._producer.on_news = self.dispatcher.poke
                self._life.stalled = lambda: self.heartbeat.stalled
                self._life.lacking = lambda: self.dispatcher.lacking
                self.heartbeat.start()
                self._introduce()
                task_status.started()
                await self._life.stopping.wait()
                await self._drain(lines)
            finally:
                self.heartbeat.stop()
                self._execution.close()
            group.cancel_scope.cancel()

    def _new_lease(self) -> str:
        """The name of the worker, for people; 64 random bits, which make it the fencing token."""
        return f"{self.name}/{secrets.token_hex(8)}"

    def _introduce(self) -> None:
        for name, spec in sorted(self._registry.tasks.items()):
            log.info("task %s(%s), queue %s, runs %s", name, spec.signature, spec.queue, WHERE[spec.where], extra={"event": "task.found"})

    @property
    def busy(self) -> int:
        """How many tasks run now."""
        return self._pool.busy

    async def _run_lines(self, ended: anyio.Event, *, task_status: TaskStatus[None]) -> None:
        await self.dispatcher.run(task_status=task_status)
        ended.set()

    @asynccontextmanager
    async def _lifespans(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for function in self._registry.hooks_of("lifespan"):
                try:
                    given: Mapping[str, Any] | None = await stack.enter_async_context(asynccontextmanager(function)())
                    self._execution.state.update(given or {})
                except BaseException as error:
                    if isinstance(error, asyncio.CancelledError) and self._life.stopping.is_set():
                        raise
                    said = f"{type(error).__name__}: {message_of(error)}"
                    raise HandlerError(f"the lifespan {name_of(function)} failed: {said}") from error
            yield

    # -- the end ----------------------------------------------------------------------------------------------------

    async def _drain(self, lines_ended: anyio.Event) -> None:
        self.dispatcher.drain()
        back = self.dispatcher.give_back_unstarted()
        if self.busy:
            log.info(
                "draining: %d tasks run on for up to %g s", self.busy, self._settings.drain_timeout_s, extra={"event": "worker.draining"}
            )
        await self._until_idle(self._settings.drain_timeout_s, self._life.hurrying)
        back += await self._stop_handlers()
        self.dispatcher.close()
        with anyio.move_on_after(CLOSE_S):
            await lines_ended.wait()
            with suppress(StoreError):
                await self._store.forget_worker(self.name)
        self.clean = lines_ended.is_set() and all(line.clean for line in self.dispatcher.lines.values())
        self._farewell.keep([(line.queue, line.lease) for line in self.dispatcher.lines.values() if line.lease and not line.clean])
        log.info("worker stopped; %d tasks went back to their queues", back, extra={"event": "worker.stopped"})

    async def _until_idle(self, limit_s: float, hurrying: anyio.Event | None) -> None:
        with anyio.move_on_after(limit_s):
            while self.busy and not (hurrying and hurrying.is_set()):  # noqa: ASYNC110 - two conditions, for seconds at most
                await anyio.sleep(0.01)

    async def _stop_handlers(self) -> int:
        """Cancel what still runs; gives how many tasks that cut short."""
        left = self._execution.stop_all()
        await self._until_idle(CLEANUP_S, None)
        for run in self._execution.runs:
            log.warning("task %s does not stop; leaving it behind", run.id)
        return left

    # -- what others see --------------------------------------------------------------------------------------------

    async def _keep_gauges(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self._metrics.slots.labels("async").set(self._settings.concurrency)
        self._metrics.slots.labels("thread").set(self._settings.threads)
        while True:
            busy, threads = self._pool.busy, self._execution.calls.busy_threads
            self._metrics.busy_slots.labels("async").set(busy)
            self._metrics.busy_slots.labels("thread").set(threads)
            self.dispatcher.look_for_unattended()
            await anyio.sleep(GAUGES_S)

    def _announcements(self) -> dict[str, bytes]:
        return {name: msgspec.json.encode(spec.describe()) for name, spec in self._registry.tasks.items()}

    def _obey(self, order: str) -> None:
        """What somebody told this worker through the store."""
        log.info("told to %s", order, extra={"event": "worker.ordered"})
        if order == "stop":
            self._life.stop()
        elif order in ("quiet", "resume"):
            self._quiet = order == "quiet"
            self.dispatcher.hush(self._quiet)

    def _describe(self) -> Beat:
        return Beat(
            worker=self.name,
            queues=sorted(self.dispatcher.lines),
            tasks=sorted(self._registry.tasks),
            signatures=self._signatures,
            slots=self._settings.concurrency,
            busy=self._pool.busy,
            lag_seconds=round(self.heartbeat.lag_s, 3),
            memory_bytes=_memory_bytes(),
            memory_max_bytes=self._memory_max_bytes,
            started_at=self._started_at,
            quiet=self._quiet,
            version=__version__,
            stalled=self.heartbeat.stalled,
            block=self.heartbeat.block,
        )


def _memory_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _memory_max_bytes() -> int:
    """What the container may use (cgroup v2, memory.max); 0 where nothing is set."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
