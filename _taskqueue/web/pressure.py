"""Back-pressure: when to say "not now", and for how long."""

from __future__ import annotations

import math
from contextlib import suppress

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import StoreError, StoreFull
from _taskqueue.store.store import Store

LOOK_S = 5.0
LOOK_FULL_S = 0.5
"""While the store is full: submissions are refused on this word, so it must not be old."""
FULL_SHARE = 0.95
"""Submissions are refused while the store uses more of its memory limit than this."""
RETRY_MIN_S, RETRY_MAX_S = 1, 300
ROOM_TASKS = 100
"""How much room a queue that is full should have when its clients come back."""


class Pressure:
    """Watches the store's memory, and the rate at which queues drain."""

    def __init__(self, store: Store, stopping: anyio.Event) -> None:
        self._store, self._stopping = store, stopping
        self.used_share = 0.0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look every few seconds, until the process stops."""
        task_status.started()
        while not self._stopping.is_set():
            with suppress(StoreError):  # calls will say so themselves
                self.used_share = await self._store.memory_share()
            with anyio.move_on_after(LOOK_FULL_S if self.used_share > FULL_SHARE else LOOK_S):
                await self._stopping.wait()

    def check(self) -> None:
        """Raises StoreFull while the store is near its memory limit."""
        if self.used_share > FULL_SHARE:
            raise StoreFull(f"the store uses {self.used_share:.0%} of its memory limit")

    async def retry_after_s(self, queue: str) -> int:
        """When a full queue should have room again, by the rate at which its tasks ended in the last minute."""
        try:
            rate_s = (await self._store.count(queue)).rate_s
        except StoreError:
            return RETRY_MIN_S
        return RETRY_MAX_S if not rate_s else max(RETRY_MIN_S, min(RETRY_MAX_S, math.ceil(ROOM_TASKS / rate_s)))
