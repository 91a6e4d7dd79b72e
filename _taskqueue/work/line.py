"""A line: one lease on one queue, and the only caller of it.

Everything known about finished attempts goes out, and new claims come in, in one call. While a call is in flight the
next batch gathers by itself; an idle line calls at once. A line with room also stands at the store, with a claim that is
carried out there as soon as a task comes. After an error whose outcome is unknown the line first compares what it holds
with what the store thinks it holds, then sends the same call again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Container

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.task import Claim, Outcome
from _taskqueue.metrics import Metrics
from _taskqueue.store import wire
from _taskqueue.store.answers import Answer, Exchange
from _taskqueue.store.connect import Client
from _taskqueue.store.store import CLAIM_MAX, Store
from _taskqueue.work.crew import Crew, Stoppable
from _taskqueue.work.pool import Pool
from _taskqueue.work.rivals import Elsewhere
from _taskqueue.work.tenure import Tenure

GATHER = 128
GATHER_S = 0.002
"""So many settlements are worth a call, and are waited for so long."""
LAST_CALL_S = 2.0
"""What a line that was cut short may take to tell what is settled and give the rest back."""
POLL_S = 1.0
"""A missed wake-up is caught by this; also how soon a request to cancel is noticed."""
RECONCILE_S = 5.0
"""How long line and store may count differently: two calls may cross."""
RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0

log = logging.getLogger("taskqueue.worker")


class Line:
    """One worker session on one queue.

    Args:
        new_lease: gives a fresh unpredictable lease id; it is the fencing token.
        random: gives a float in [0, 1), for jitter.
    """

    def __init__(
        self,
        queue: str,
        weight: float,
        store: Store,
        blocking: Client,
        pool: Pool,
        crew: Crew,
        metrics: Metrics,
        new_lease: Callable[[], str],
        random: Callable[[], float],
    ) -> None:
        self.queue = queue
        self.weight = weight
        self.lease = ""
        self.hungry = True
        """the store may have more than it gave"""
        self.asking = 0
        """how many tasks the call in flight may bring"""
        self.served = 0.0
        """tasks that came, divided by the weight"""
        self.called_at = 0.0
        """event-loop time of the last call that was answered; each one keeps the lease alive"""
        self.clean = False
        """it has ended, and nothing is left behind in the store"""
        self.held: set[bytes] = set()
        """everything received and not settled yet"""
        self.runs: dict[bytes, Stoppable] = {}
        self.tenure = Tenure(store)
        self._store, self._blocking, self._pool, self._crew, self._metrics = store, blocking, pool, crew, metrics
        self._new_lease, self._random = new_lease, random
        self._succeeded: list[object] = []
        self._reports: list[object] = []
        self._progress: dict[bytes, bytes] = {}
        self._settled: list[bytes] = []
        self._told: list[tuple[bytes, asyncio.Future[None]]] = []
        self._turn = 0
        self._wake = asyncio.Event()
        self._armed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._seen_unroutable = 0
        self._agreed_at = 0.0
        self._unsure = False
        self._claim_max = CLAIM_MAX
        """how many tasks a call may ask for; halved when an answer fails, and doubled back"""
        self._elsewhere = Elsewhere(store, queue, crew)
        self._doubtful: list[Claim] = []
        """claims that did not start, since the lease may have ended"""
        self._sending: set[bytes] = set()
        """what the call in flight settles"""
        self._unattended: set[bytes] = set()
        self._standing = anyio.CancelScope()
        self._place = anyio.Lock()
        """held by whoever stands at the store, or sees to it that nobody does"""
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    # -- what the execution tells -----------------------------------------------------------------------------------

    def succeeded(self, task_id: bytes, outcome: bytes) -> None:
        """Settle an attempt that ended well."""
        self._succeeded += (task_id, outcome)
        self._settled.append(task_id)
        if not self._wake.is_set():
            self._wake.set()

    def settle(self, verb: str, task_id: bytes, number: int = 0, first: bytes = b"", second: bytes = b"", fault: str = "") -> None:
        """Settle an attempt that ended otherwise: retry, dead, cancel, snooze, release, hold or misfit."""
        self._reports += (verb, task_id, number, first, second, fault)
        self._settled.append(task_id)
        self._wake.set()

    def keep_log(self, task_id: bytes, text: bytes, *, wake: bool = False) -> None:
        """Keep an attempt's log with it. Must come before the settlement."""
        self._reports += ("log", task_id, 0, text, b"", "")
        if wake:
            self._wake.set()

    def progress(self, task_id: bytes, packed: bytes, *, wake: bool) -> None:
        """Report progress; the last word wins, and goes with the next call. Callable from any thread."""
        self._progress[task_id] = packed
        if wake and threading.get_ident() == self._thread:
            self._wake.set()
        elif wake:
            self.loop.call_soon_threadsafe(self._wake.set)

    async def save(self, task_id: bytes, packed: bytes) -> None:
        """Keep a checkpoint; returns when the store has it, and is cancelled when the task is no longer ours."""
        await self._tell("save", task_id, packed)

    async def start(self, task_id: bytes, *, alone: bool) -> bool:
        """Say that a suspect runs now, and how; False when it is no longer ours."""
        told = self._tell("start", task_id, b"a" if alone else b"s")
        await asyncio.wait([told])
        return not told.cancelled()

    def _tell(self, verb: str, task_id: bytes, text: bytes) -> asyncio.Future[None]:
        self._reports += (verb, task_id, 0, text, b"", "")
        done = self.loop.create_future()
        self._told.append((task_id, done))
        self._wake.set()
        return done

    def doubt(self, claim: Claim) -> None:
        """A claim must not start before the store was asked whether it is still held here."""
        self._doubtful.append(claim)
        self.poke()

    def look_for_unattended(self, waiting: Container[bytes]) -> None:
        """Give back what is held though nobody runs it, waits with it or has settled it; such a task would be held for ever.

        Args:
            waiting: the claims that wait in the pool.
        """
        if self._crew.draining:  # what is released stays held until the lease ends
            return
        doubtful = {claim.id for claim in self._doubtful}
        attended = self.runs.keys() | self._sending | set(self._settled) | doubtful
        found = {task_id for task_id in self.held - attended if task_id not in waiting}
        for task_id in found & self._unattended:
            log.error("task %s is held here but nothing runs it: a defect; it goes back to its queue", task_id.decode())
            self.settle("release", task_id)
        self._unattended = found - self._unattended

    def poke(self) -> None:
        """There may be something to claim."""
        self._crew.shares.join(self)
        self._wake.set()

    def wake(self) -> None:
        """Look again whether there is anything to do."""
        self._wake.set()

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Claim and settle until the crew drains and nothing is held."""
        await self._open()
        task_status.started()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._stand)
                while not self._over():
                    await self._until_a_call_is_due()
                    if self._crew.closing:
                        break
                    await self._exchange()
                group.cancel_scope.cancel()
        except BaseException:  # a defect, or somebody cancelled all there is: what is known is told all the same
            with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_CALL_S):
                await self._end()
            raise
        await self._end()

    def _over(self) -> bool:
        return self._crew.closing or (self._crew.draining and not self.held)

    async def _end(self) -> None:
        """Tell what is settled, give everything else back, end the lease."""
        try:
            await self._store.settle_and_claim(self.queue, self.lease, self._compose(0))
            theirs = {held.id for held in await self._store.held_by(self.queue, self.lease)}
            await self._store.release(self.queue, self.lease, theirs, close=True)
            self.held.clear()
            self.clean = True
        except StoreError as error:
            log.warning("queue %s: %s; its %d unfinished tasks return when the lease ends", self.queue, error, len(self.held))

    def give_back(self, claims: list[Claim]) -> None:
        """Return claims that no slot has started, with the next call."""
        for claim in claims:
            self.settle("release", claim.id)

    async def _open(self) -> None:
        pause_s = RETRY_FIRST_S
        while not (self._crew.closing or self._crew.draining):
            lease, sent_at = self._new_lease(), time.monotonic()
            try:
                await self._store.open_lease(self.queue, lease)
            except StoreError:
                pause_s = await self._pause(pause_s)
            else:
                self.lease = lease
                self.called_at = self.loop.time()
                self.tenure.begin(sent_at)
                return

    async def _pause(self, pause_s: float) -> float:
        """Full jitter, so that many workers do not come back together; gives the next pause."""
        await anyio.sleep(pause_s * (0.1 + 0.9 * self._random()))
        return min(pause_s * 2, RETRY_MAX_S)

    async def _until_a_call_is_due(self) -> None:
        while True:
            self._wake.clear()
            if self._settled or self._reports or self._progress:
                if self._is_gathering:
                    await self._gather()
                return
            room = self._crew.room_for(self)
            if (self.hungry and room > 0) or self._over():
                return
            if room > 0:  # else the token is for a worker that has room
                self._armed.set()
            else:
                self._crew.shares.wait(self)
            with anyio.move_on_after(POLL_S * (1 + 0.5 * self._random())):
                await self._wake.wait()
                continue
            self._crew.shares.join(self)
            return

    @property
    def _is_gathering(self) -> bool:
        """Slots have work for as long as it took to settle what is to be told, so that they go on while the call is in flight."""
        return len(self._settled) < GATHER and len(self._pool.buffer) > len(self._settled)

    async def _gather(self) -> None:
        """Let the batch grow for a moment: the slots have work."""
        with anyio.move_on_after(GATHER_S):  # no comparing of clocks: a timer may fire before its time
            while self._is_gathering:
                self._wake.clear()
                await self._wake.wait()

    def _compose(self, limit: int) -> Exchange:
        for task_id, packed in self._progress.items():
            if task_id in self.held:
                self._reports[:0] = ("progress", task_id, 0, packed, b"", "")
        self._progress.clear()
        self._turn += 1
        exchange = Exchange(limit, max(0, self._pool.free), self._succeeded, self._reports, self._turn)
        self._succeeded, self._reports = [], []
        return exchange

    async def _exchange(self) -> None:
        settled, self._settled = self._settled, []
        self._sending = set(settled)
        told, self._told = self._told, []
        self.asking = min(self._crew.room_for(self), self._claim_max)
        exchange = self._compose(self.asking)
        finished = self._pool.finished
        if self.asking:
            self.hungry = False
        answer = await self._send(exchange)
        self.asking = 0
        self._crew.shares.note_pace(self._pool.finished - finished)
        if answer is None:
            await self._start_over(told)
            return
        self.called_at = self.loop.time()
        self.held.difference_update(settled)
        self._sending.clear()
        for task_id, done in told:
            if task_id in answer.refused:
                done.cancel()
            elif not done.done():
                done.set_result(None)
        self._take(answer, exchange)
        self._crew.shares.spread()
        await self._keep_in_step(answer)

    async def _send(self, exchange: Exchange) -> Answer | None:
        pause_s, complained = RETRY_FIRST_S, False
        while True:
            try:
                if self._unsure:
                    await self._reconcile()
                sent_at = time.monotonic()
                answer = await self._store.settle_and_claim(self.queue, self.lease, exchange)
            except StoreError as error:
                self._unsure = True
                exchange.limit = self._claim_less(exchange.limit)
                if not complained:
                    log.warning("queue %s: %s; trying again, running tasks go on", self.queue, error)
                    complained = True
                pause_s = await self._pause(pause_s)
                continue
            if complained:
                log.info("queue %s: the store is back", self.queue)
            self._claim_max = min(2 * self._claim_max, CLAIM_MAX)
            if answer is not None:
                self.tenure.answer(answer.now_ms, sent_at)
            return answer

    def _claim_less(self, limit: int) -> int:
        """An answer that did not come may have been too large for what is in between; gives the next limit."""
        self._claim_max = max(1, min(limit or CLAIM_MAX, self._claim_max) // 2)
        return min(limit, self._claim_max)

    def _take(self, answer: Answer, exchange: Exchange) -> None:
        claims, suspects = answer.claims, answer.suspects
        self.held.update(claim.id for claim in claims)
        self.held.update(claim.id for claim in suspects)
        came = len(claims) + len(suspects)
        self._crew.shares.serve(self, came)
        if came >= exchange.limit > 0:
            self.hungry = True
        if answer.refused:
            self._metrics.refused.labels(self._metrics.queue_label(self.queue)).inc(len(answer.refused))
        if answer.late_ms > 0:
            self._metrics.schedule_lag_seconds.observe(answer.late_ms / 1000)
        for task_id in answer.missing:
            log.error("task %s was pending but its record is gone; nothing to run", task_id.decode())
        if answer.paused:
            self.give_back(self._pool.take_back(lambda claim: claim.queue == self.queue))
        if back := self._crew.admit(claims, suspects):
            self.give_back(back)
        else:
            observe = self._metrics.wait(self.queue).observe
            for claim in claims:
                observe(max(0, answer.now_ms - claim.ready_ms) / 1000)
            self._pool.offer(claims)
        if self._doubtful and self.tenure.lasts:
            self._start_doubtful()
        for task_id in answer.cancel:
            self._stop_one(task_id)
        self._set_timer(answer.due_in_us)

    def _start_doubtful(self) -> None:
        doubtful, self._doubtful = self._doubtful, []
        if back := self._crew.admit(doubtful, []):
            self.give_back(back)
        else:
            self._pool.offer(doubtful)

    def _stop_one(self, task_id: bytes) -> None:
        run = self.runs.get(task_id)
        if run is not None:
            run.stop("cancelled")
        elif back := self._pool.take_back(lambda claim: claim.id == task_id):
            outcome = wire.encode(Outcome(back[0].attempt, 0, 0, ""))
            self.settle("cancel", task_id, 0, b"", outcome)

    def _set_timer(self, due_in_us: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_in_us < 0 else self.loop.call_later(due_in_us / 1e6, self.poke)

    # -- staying in step with the store -----------------------------------------------------------------------------

    async def _keep_in_step(self, answer: Answer) -> None:
        try:
            if answer.holding == len(self.held):
                self._agreed_at = self.called_at
            elif self.called_at - self._agreed_at > RECONCILE_S:
                await self._reconcile()
            if self._crew.room_for(self) > 0:  # who has none would take tasks from those who have
                await self._adopt(answer.newest_unroutable)
        except StoreError as error:
            self._unsure = True
            log.warning("queue %s: %s; looking again at the next call", self.queue, error)

    async def _reconcile(self) -> None:
        """Give back what the store thinks this lease holds and nobody here knows; stop what it no longer holds."""
        self._armed.clear()
        self._standing.cancel()
        async with self._place:
            theirs = {held.id for held in await self._store.held_by(self.queue, self.lease)}
            unknown = theirs - self.held
            await self._store.release(self.queue, self.lease, unknown, holding=len(theirs & self.held))
        for task_id in self.held - theirs - set(self._settled):
            if run := self.runs.get(task_id):
                run.stop("fenced")
        self._agreed_at = self.loop.time()
        self._unsure = False

    async def _adopt(self, newest: int) -> None:
        """Take held tasks that this worker knows, one page a call; and look again at those that did not fit here."""
        elsewhere = self._elsewhere
        if newest > self._seen_unroutable:
            page = await self._store.unroutable(self.queue, self._seen_unroutable)
            taken = await elsewhere.take([(task_id, record) for task_id, _, record in page if self._crew.knows(record.task)])
            self._seen_unroutable = max((number for _, number, _ in page), default=self._seen_unroutable)
        elif elsewhere.is_due:
            taken = await elsewhere.look_again()
        else:
            return
        if taken:
            log.info("queue %s: %d held tasks have a worker now", self.queue, taken)
            self.poke()

    async def _start_over(self, told: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        """The lease is gone: everything it held belongs to others now."""
        log.warning("queue %s: this worker was thought lost and its lease has ended; stopping its %d tasks", self.queue, len(self.held))
        self._metrics.refused.labels(self._metrics.queue_label(self.queue)).inc(len(self.held))
        self._pool.take_back(lambda claim: claim.queue == self.queue)
        for run in list(self.runs.values()):
            run.stop("fenced")
        for _, done in (*told, *self._told):
            done.cancel()
        self._told = []
        self.held.clear()
        self._sending.clear()
        self._doubtful.clear()
        for kept in (self._succeeded, self._reports, self._settled):
            kept.clear()
        self._progress.clear()
        await self._open()
        self.poke()

    # -- standing at the store --------------------------------------------------------------------------------------

    async def _stand(self) -> None:
        """Keep a claim waiting at the store whenever there is room, until cancelled."""
        pause_s = RETRY_FIRST_S
        while True:
            await self._armed.wait()
            try:
                async with self._place:
                    with anyio.CancelScope() as self._standing:
                        await self._wait_and_claim()
            except StoreError:
                self._unsure = True
                self._claim_less(self._claim_max)
                pause_s = await self._pause(pause_s)
            else:
                pause_s = RETRY_FIRST_S

    async def _wait_and_claim(self) -> None:
        exchange = Exchange(min(self._crew.room_for(self), self._claim_max), max(0, self._pool.free))
        if not exchange.limit or not self._armed.is_set():
            self._armed.clear()
            return
        lease = self.lease
        answer = await self._store.wait_and_claim(self._blocking, self.queue, lease, exchange)
        if answer is None:
            self._armed.clear()
            self.poke()
        elif lease == self.lease:  # else what it brought went with the lease
            self._take_what_fits(answer, exchange)

    def _take_what_fits(self, answer: Answer, exchange: Exchange) -> None:
        """Take what came; what filled the room meanwhile came first, so the rest goes back."""
        self.called_at = self.loop.time()
        self.tenure.late_answer(answer.now_ms)
        if answer.claims or answer.suspects:
            self._armed.clear()
        room = self._crew.room_for(self)
        spare = answer.claims[room:]
        del answer.claims[room:]
        if spare:
            self.held.update(claim.id for claim in spare)
            self.give_back(spare)
            self.hungry = True
        self._take(answer, exchange)
        self._crew.shares.spread()
        self._wake.set()
