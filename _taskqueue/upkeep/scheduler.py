"""The scheduler role: one loop that promotes what is due, recovers what is lost, and forgets what is old."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.states import State
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.store.store import PAGE, Store
from _taskqueue.upkeep.mender import Mender
from _taskqueue.upkeep.reaper import Reaper
from _taskqueue.upkeep.retention import Retention

TICK_BESIDE_WORKER_S = 3.0
"""Workers promote with every call of theirs, so beside one the scheduler is only the safety net."""
TICK_S = 1.0
TRIM_S = 60.0

log = logging.getLogger("taskqueue.scheduler")


class Scheduler:
    """Runs in any number of processes; every step is one atomic script.

    Args:
        random: gives a float in [0, 1), so that replicas do not tick together.
    """

    def __init__(
        self, store: Store, metrics: Metrics, settings: Settings, stopping: anyio.Event, random: Callable[[], float] = random.random
    ) -> None:
        self._store, self._metrics, self._stopping, self._random = store, metrics, stopping, random
        longest = TICK_BESIDE_WORKER_S if "worker" in settings.roles else TICK_S
        self._tick_s = min(longest, settings.lease_s / 6)
        self._reaper = Reaper(store, metrics, pause_ms=max(1000, round(self._tick_s * 3000 * 1.5)))
        self._mender = Mender(store)
        self._retention = Retention(store, metrics, settings)
        self._trimmed_at = -TRIM_S
        self._refused: dict[str, str] = {}
        """queue → what its upkeep failed with last, to be said once"""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Tick until the process stops."""
        task_status.started()
        away = False
        while not self._stopping.is_set():
            try:
                await self.tick()
                away = False
            except StoreError as error:
                if not away:
                    log.warning("upkeep waits: %s", error)
                away = True
            with anyio.move_on_after(self._tick_s * (0.8 + 0.4 * self._random())):
                await self._stopping.wait()

    async def tick(self) -> None:
        """One round over all queues. Raises StoreError."""
        state, now = self._retention.next_state(), anyio.current_time()
        trims = now - self._trimmed_at > TRIM_S
        for queue in await self._store.queues(max_age_s=self._tick_s / 2):
            try:
                await self._care_for(queue, state, trims=trims)
                self._refused.pop(queue, None)
            except StoreError as error:
                await self._store.ping()  # what is wrong with one queue holds up no other; an outage ends the round
                if self._refused.get(queue) != str(error):
                    log.error("queue %s: its upkeep fails: %s", queue, error, extra={"event": "upkeep.failed"})
                self._refused[queue] = str(error)
        if trims:
            self._trimmed_at = now

    async def _care_for(self, queue: str, state: State, *, trims: bool) -> None:
        await self._promote(queue)
        await self._reaper.reap(queue)
        await self._retention.prune(queue, state)
        await self._mender.mend(queue)
        if trims:
            await self._store.trim(queue)

    async def _promote(self, queue: str) -> None:
        while True:
            promoted, late_ms, expired, _ = await self._store.promote(queue)
            if promoted:
                self._metrics.schedule_lag_seconds.observe(max(0, late_ms) / 1000)
            if promoted < PAGE and expired < PAGE:
                return
