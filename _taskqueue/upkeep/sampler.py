"""Reads queue sizes every few seconds for the metrics: never during a scrape, which must not wait for the store."""

from __future__ import annotations

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import StoreError
from _taskqueue.metrics import OTHER_QUEUE, Metrics
from _taskqueue.store.answers import Count
from _taskqueue.store.store import Store

SAMPLE_S = 5.0


class Sampler:
    """Keeps the queue gauges fresh."""

    def __init__(self, store: Store, metrics: Metrics, stopping: anyio.Event) -> None:
        self._store, self._metrics, self._stopping = store, metrics, stopping

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sample until the process stops."""
        task_status.started()
        while not self._stopping.is_set():
            try:
                await self.sample()
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

    def _show(self, label: str, count: Count) -> None:
        for state, number in count.states.items():
            self._metrics.queue_tasks.labels(label, state).set(number)
        self._metrics.queue_latency_seconds.labels(label).set(count.latency_s(self._store.head_start_ms))
        self._metrics.queue_workers.labels(label).set(count.workers)
        self._metrics.unroutable_tasks.labels(label).set(count.unroutable)
