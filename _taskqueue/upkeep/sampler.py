"""Reads queue sizes every few seconds for the metrics: never during a scrape, which must not wait for the store."""

from __future__ import annotations

import logging

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import StoreError, StoreUnsuitable
from _taskqueue.metrics import OTHER_QUEUE, Metrics
from _taskqueue.store.answers import Count
from _taskqueue.store.store import Store

SAMPLE_S = 5.0
CHECK_S = 60.0

log = logging.getLogger("taskqueue.store")


class Sampler:
    """Keeps the queue gauges fresh, and an eye on the store's settings."""

    def __init__(self, store: Store, metrics: Metrics, level: Durability, stopping: anyio.Event) -> None:
        self._store, self._metrics, self._level, self._stopping = store, metrics, level, stopping
        self._checked_at = anyio.current_time()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sample until the process stops."""
        task_status.started()
        while not self._stopping.is_set():
            try:
                await self.sample()
                await self._check()
                self._metrics.redis_up.set(1)
            except StoreError:
                self._metrics.redis_up.set(0)
            with anyio.move_on_after(SAMPLE_S):
                await self._stopping.wait()

    async def sample(self) -> None:
        """Read every queue once. Raises StoreError."""
        for queue in await self._store.queues(max_age_s=SAMPLE_S / 2):
            label = self._metrics.queue_label(queue)
            if label != OTHER_QUEUE:
                self._show(label, await self._store.count(queue))
        live, silent = await self._store.muster()
        self._metrics.workers.labels("active").set(live)
        self._metrics.workers.labels("lost").set(silent)

    async def _check(self) -> None:
        """See that nobody made the store unfit meanwhile."""
        if anyio.current_time() - self._checked_at < CHECK_S:
            return
        self._checked_at = anyio.current_time()
        try:
            await self._store.check(self._level)
        except StoreUnsuitable as error:
            log.error("%s", error, extra={"event": "store.unsuitable"})

    def _show(self, label: str, count: Count) -> None:
        for state, number in count.states.items():
            self._metrics.queue_tasks.labels(label, state).set(number)
        self._metrics.queue_latency_seconds.labels(label).set(count.latency_s(self._store.head_start_ms))
        self._metrics.queue_workers.labels(label).set(count.workers)
        self._metrics.unroutable_tasks.labels(label).set(count.unroutable)
