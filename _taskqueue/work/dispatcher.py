"""Which queues this worker serves, and how its free slots are shared among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup, TaskStatus

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.task import QUEUE_DEFAULT, Claim
from _taskqueue.life import Part
from _taskqueue.metrics import Metrics
from _taskqueue.store.patience import until_answered
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import Registry
from _taskqueue.work.isolation import Isolation
from _taskqueue.work.line import Line
from _taskqueue.work.pool import Pool
from _taskqueue.work.rivals import Rivals
from _taskqueue.work.shares import Shares

DISCOVER_S = 5.0
"""How soon another process' new queue is noticed."""

REST_S = 5.0
"""How long a worker claims nothing when it has no thread or process left."""

log = logging.getLogger("taskqueue.worker")


class Dispatcher:
    """One line for each queue.

    Args:
        queues: (queue, weight) to serve; empty means every queue there is and will be.
        new_lease: gives a fresh unpredictable lease id.
        random: gives a float in [0, 1), for jitter.
        part: watches over what must not end before the process does.
    """

    def __init__(
        self,
        store: Store,
        pool: Pool,
        registry: Registry,
        metrics: Metrics,
        queues: tuple[tuple[str, float], ...],
        new_lease: Callable[[], str],
        random: Callable[[], float],
        part: Callable[[str, Part], Part],
    ) -> None:
        self.lines: dict[str, Line] = {}
        self.draining = False
        """claim no more; go on settling"""
        self.quiet = False
        """as long as somebody wants it so, claim no more"""
        self.closing = False
        """settle what is known, give the rest back, end"""
        self._store, self._pool, self._registry, self._metrics = store, pool, registry, metrics
        self._queues, self._new_lease, self._random, self._part = queues, new_lease, random, part
        self._blocking = store.connector.blocking_client()
        self._news = anyio.Event()
        self._lacking = False
        self.rivals = Rivals(store, {}, registry.default)
        """what other workers may make of a payload"""
        self.shares = Shares(lambda: pool.free, self.lines.values)
        self.isolation = Isolation(pool, self.lines.__getitem__, self._poke_all)

    # -- what the lines ask -----------------------------------------------------------------------------------------

    def room_for(self, line: Line) -> int:
        """How many tasks a line may ask for now."""
        if self.draining or self.quiet or self.isolation.closed or self._lacking:
            return 0
        return self.shares.room_for(line)

    def knows(self, task: str) -> bool:
        """Whether this worker has a handler for the name."""
        return self._registry.knows(task)

    def admit(self, claims: list[Claim], suspects: list[Claim]) -> list[Claim]:
        """Decide on what came: nothing to return and all may start, or what must go back."""
        if self.draining or self.isolation.closed:
            return claims + suspects
        if not suspects:
            return []
        self.give_back_unstarted()
        return claims + self.isolation.admit(suspects)

    # -- life -------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve the queues until every line has ended."""
        try:
            async with anyio.create_task_group() as group:
                for queue, weight in await until_answered(self._served):
                    await group.start(self._add(queue, weight))
                task_status.started()
                if not self._queues:
                    await self._follow_new_queues(group)
        finally:
            with anyio.CancelScope(shield=True):
                await self._blocking.aclose()

    def _add(self, queue: str, weight: float) -> Part:
        line = self.lines[queue] = Line(
            queue, weight, self._store, self._blocking, self._pool, self, self._metrics, self._new_lease, self._random
        )
        return self._part(f"the line to the queue {queue}", line.run)

    async def _served(self) -> Sequence[tuple[str, float]]:
        if self._queues:
            return self._queues
        for queue in {QUEUE_DEFAULT, *self._registry.queues()}:
            await self._store.route(queue)
        return [(queue, 1.0) for queue in await self._store.queues()]

    async def _follow_new_queues(self, group: TaskGroup) -> None:
        while not self.draining:
            with anyio.move_on_after(DISCOVER_S):
                await self._news.wait()
            self._news = anyio.Event()
            try:
                known = await self._store.queues(max_age_s=DISCOVER_S / 2)
            except StoreError:
                continue
            for queue in known:
                if queue not in self.lines and not self.draining:
                    group.start_soon(self._add(queue, 1.0))
                    log.info("now serving queue %s too", queue)

    def poke(self, queue: str) -> None:
        """Something on this queue may be claimed or cancelled."""
        line = self.lines.get(queue)
        if line is not None:
            line.poke()
        elif not self._queues:
            self._news.set()

    def hush(self, quiet: bool) -> None:
        """Claim no more, or go on."""
        self.quiet = quiet
        if quiet:
            self.give_back_unstarted()
        self._poke_all()

    def rest(self, why: str) -> None:
        """Claim no more for a while: this worker lacks what it needs to run tasks."""
        if self._lacking:
            return
        log.error("%s; claiming nothing for %g s, what came goes back at no cost", why, REST_S)
        self._lacking = True
        self.give_back_unstarted()
        asyncio.get_running_loop().call_later(REST_S, self._rested)

    def _rested(self) -> None:
        self._lacking = False
        self._poke_all()

    @property
    def lacking(self) -> bool:
        """Whether it rests for want of threads or processes."""
        return self._lacking

    def look_for_unattended(self) -> None:
        """Give back what is held though nothing runs it."""
        waiting = {claim.id for claim in self._pool.buffer}
        if self._pool.suspect is not None:
            waiting.add(self._pool.suspect.id)
        for line in self.lines.values():
            line.look_for_unattended(waiting)

    def drain(self) -> None:
        """Claim no more."""
        self.draining = True
        self._news.set()
        self._poke_all()

    def close(self) -> None:
        """Let every line say what it knows, give the rest back and end."""
        self.draining = self.closing = True
        self._news.set()
        self._poke_all()

    def _poke_all(self) -> None:
        for line in self.lines.values():
            line.poke()

    def give_back_unstarted(self) -> int:
        """Return the claims no slot has taken; gives how many."""
        back: dict[str, list[Claim]] = {}
        for claim in self._pool.take_back(lambda claim: True):
            back.setdefault(claim.queue, []).append(claim)
        for queue, claims in back.items():
            self.lines[queue].give_back(claims)
        return sum(map(len, back.values()))
