"""Takes tasks back from workers that were lost: their lease ran out, or the reaper before us died half-way."""

from __future__ import annotations

import logging

from _taskqueue.domain.task import Attempt, Ending, Outcome, Record, fault_of
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Held, Verdict, worker_of_lease
from _taskqueue.store.store import Store
from _taskqueue.upkeep.witness import Witness

BATCH = 200
CRASH_DELAYS_MS = (0, 10_000, 60_000)
"""How long a task waits after its first, second, … loss; the last one repeats."""
UNPROVEN_FACTOR = 3
"""So many times the allowed losses make a task dead that was never the only one to run."""

log = logging.getLogger("taskqueue.reaper")


class Reaper:
    """Recovers lost tasks.

    Args:
        pause_ms: a silence of all reapers longer than this means an outage, after which everybody gets one lease's time.
    """

    def __init__(self, store: Store, metrics: Metrics, *, pause_ms: int) -> None:
        self._store, self._metrics = store, metrics
        self._max_crashes, self._pause_ms = store.max_crashes, pause_ms
        self._cursors: dict[str, int] = {}

    async def reap(self, queue: str) -> int:
        """Take back what lost workers hold; gives how many tasks. Raises StoreError."""
        count = 0
        for lease in await self._store.patrol(queue, self._pause_ms):
            taken = await self._take(queue, lease, await self._store.held_by(queue, lease))
            log.warning(
                "queue %s: the worker %s is lost; %d tasks went on",
                queue,
                worker_of_lease(lease),
                taken,
                extra={"event": "worker.lost"},
            )
            count += taken
        return count + await self._sweep(queue)

    async def _sweep(self, queue: str) -> int:
        """Look at one page of running tasks for those whose lease no longer exists."""
        cursor, page = await self._store.running(queue, self._cursors.get(queue, 0))
        self._cursors[queue] = cursor
        if not page:
            return 0
        live = await self._store.live_leases(queue)
        orphans: dict[str, list[Held]] = {}
        for held in page:
            if held.lease not in live:
                orphans.setdefault(held.lease, []).append(held)
        return sum([await self._take(queue, lease, found) for lease, found in orphans.items()])

    async def _take(self, queue: str, lease: str, found: list[Held]) -> int:
        if not found:
            await self._store.reap(queue, lease, [])
            return 0
        count, witness = 0, Witness(await self._store.last_beat(found[0].worker))
        for start in range(0, len(found), BATCH):
            page = found[start : start + BATCH]
            records = await self._store.records(queue, [held.id for held in page])
            verdicts = [self._judge(held, record, witness) for held, record in zip(page, records, strict=True)]
            taken = await self._store.reap(queue, lease, verdicts)
            if taken < 0:  # renewed after all
                return count
            count += taken
            self._count(queue, verdicts, records)
        return count

    def _judge(self, held: Held, record: Record | None, witness: Witness) -> Verdict:
        number = held.attempt + held.crashes
        failure = witness.tell(held, self._max_crashes)
        attempt = Attempt(number, Ending.LOST, held.claimed_ms, 0, held.worker, failure)
        priority, fault = (record.priority, fault_of(record.task, failure)) if record else (0, "")
        if not held.started:
            return Verdict(held, "pending", 0, priority, attempt)
        if self._is_poison(held):
            outcome = Outcome(held.attempt, held.claimed_ms, 0, held.worker, None, "poison", failure)
            return Verdict(held, "dead", 0, priority, attempt, outcome, fault)
        delay_ms = CRASH_DELAYS_MS[min(held.crashes, len(CRASH_DELAYS_MS) - 1)]
        return Verdict(held, "retry" if delay_ms else "pending", delay_ms, priority, attempt, None, fault)

    def _is_poison(self, held: Held) -> bool:
        """It lost its last worker alone, so no neighbour can have done it; or it never came to run alone."""
        losses = held.crashes + 1
        proven = held.alone or self._max_crashes == 1
        return losses >= self._max_crashes and (proven or losses >= self._max_crashes * UNPROVEN_FACTOR)

    def _count(self, queue: str, verdicts: list[Verdict], records: list[Record | None]) -> None:
        label = self._metrics.queue_label(queue)
        self._metrics.recovered.labels(label).inc(len(verdicts))
        for verdict, record in zip(verdicts, records, strict=True):
            meters = self._metrics.meters(queue, record.task if record else "")
            if verdict.held.started:
                meters.ended(Ending.LOST, 0.0)
            if verdict.verdict == "dead":
                meters.finished_as("dead")
                log.error("task %s is dead (poison): it lost %d workers", verdict.held.id.decode(), verdict.held.crashes + 1)
