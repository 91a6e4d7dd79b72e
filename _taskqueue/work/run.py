"""One attempt under way: the Desk behind its Context, and what is known of it until it is settled."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from _taskqueue.domain.beat import Block
from _taskqueue.domain.errors import Cancel
from _taskqueue.domain.task import TIMEOUT_DEFAULT_S, Claim, Failure, Progress
from _taskqueue.store import wire
from _taskqueue.tasks.context import Context
from _taskqueue.tasks.discovery import AnyTask
from _taskqueue.tasks.keptlog import KeptLog
from _taskqueue.work.aside import ferry
from _taskqueue.work.line import Line
from _taskqueue.work.verdict import max_attempts_of

if TYPE_CHECKING:
    from _taskqueue.work.execution import Execution

PROGRESS_S = 0.1
REMIND_FIRST_S, REMIND_MAX_S = 2.0, 30.0
"""A handler that swallows its cancellation is cancelled again after this long, then after twice as long, up to this. Longer than
what a process handler gets to stop by itself (processes.STOP_S).
"""
OVER = "this attempt is over; what it does now is not kept"


class Run:
    """One attempt under way."""

    after_hook: Callable[[Run], None] | None = None
    """a hook runs now, and this goes on when it has ended"""
    asked_at = math.inf
    cause = ""
    """why it was asked to stop: timeout, cancelled, fenced or released"""
    children: set[asyncio.Task[Any]] | None = None
    """the asyncio tasks that it started and that still run"""
    error: BaseException | None = None
    failure_in_child: Failure | None = None
    """what a process handler's own process told of its error"""
    lack: Exception | None = None
    """why the handler did not begin, at no fault of the task's; what its middlewares make of that does not count"""
    late_tasks = 0
    """how many asyncio tasks were started for it after its end"""
    log: KeptLog | None = None
    log_kept = 0
    over = False
    """it is settled; what is left of the handler changes nothing any more"""
    remind_s = REMIND_FIRST_S
    reported_at = 0.0
    result: Any = None
    returned = False
    """it has a result; it may have done so and have had its asyncio task cancelled"""
    task: asyncio.Task[None] | None = None
    """what runs for it now: the handler, then its hooks"""

    def __init__(self, execution: Execution, claim: Claim, spec: AnyTask, line: Line, began: float) -> None:
        self.execution, self.claim, self.spec, self.line, self.began = execution, claim, spec, line, began
        self.started_ms = line.tenure.store_ms(began)
        self.deadline = began + (claim.record.timeout_s or spec.timeout_s or TIMEOUT_DEFAULT_S)
        self.context = Context(claim, self)

    @property
    def ended_unseen(self) -> bool:
        """Its asyncio task has ended without a word: it was cancelled before it began."""
        return self.task is not None and self.task.done()

    def stop(self, cause: str) -> None:
        """Cancel the handler; ``cause`` is timeout, cancelled, fenced or released."""
        if self.cause:
            return
        self.cause = cause
        self.asked_at = time.monotonic()
        if self.task is not None:
            self.task.cancel()

    def remind(self, now: float) -> bool:
        """Cancel once more what was asked to stop and runs on; whether this is the first time."""
        if self.task is None or now - self.asked_at < self.remind_s:
            return False
        first = self.remind_s == REMIND_FIRST_S
        self.remind_s = min(2 * self.remind_s, REMIND_MAX_S)
        self.asked_at = now
        self.task.cancel()
        return first

    @property
    def id(self) -> str:
        return self.claim.id.decode()

    @property
    def task_name(self) -> str:
        return self.spec.name

    @property
    def max_attempts(self) -> int:
        return max_attempts_of(self.claim, self.spec)

    @property
    def worker(self) -> str:
        return self.execution.worker

    @property
    def state(self) -> Mapping[str, Any]:
        return MappingProxyType(self.execution.state)

    @property
    def cancel_asked(self) -> bool:
        return bool(self.cause) or self.over

    def remaining_s(self) -> float:
        return self.deadline - time.monotonic()

    def deadline_at(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.remaining_s(), UTC)

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        if self.over:
            return
        packed = wire.encode(Progress(done, total, message, self.line.tenure.store_ms(time.monotonic())))
        self.line.progress(self.claim.id, packed, wake=time.monotonic() - self.reported_at > PROGRESS_S)
        self.reported_at = time.monotonic()

    async def save(self, packed: bytes) -> None:
        self._check_not_over()
        self.execution.settlement.check_size("checkpoint", packed)
        await ferry(self.line.save(self.claim.id, packed), self.line.loop)

    async def submit(self, task: str, payload: Any, options: Mapping[str, Any]) -> str:
        self._check_not_over()
        return await ferry(self.execution.producer.submit_call(task, payload, options), self.line.loop)

    def _check_not_over(self) -> None:
        if self.over:
            raise Cancel(OVER)

    async def submit_packed(self, task: str, payload: bytes, is_text: bool, options: dict[str, Any]) -> str:
        """As :meth:`submit`, of a payload that is packed already."""
        return await self.execution.producer.submit_packed(task, payload, is_text, options)

    def keep_line(self, line: str) -> None:
        if self.over:
            return
        if self.log is None:
            self.log = KeptLog()
        self.log.add(line)

    def keep_log_so_far(self) -> None:
        """Hand the log to the line, so that it can be followed while the task runs."""
        if self.log is not None and self.log.said > self.log_kept and not self.cause and not self.over:
            self.log_kept = self.log.said
            self.line.keep_log(self.claim.id, self.log.text().encode(errors="replace"), wake=True)

    def forget(self) -> None:
        """Let go of what refers back to this: circles would keep payloads until the garbage collector comes by."""
        self.over = True
        self.error = self.result = self.after_hook = self.task = None
        del self.context

    def blocks(self, seconds: float, stack: str) -> Block:
        """Its handler blocks the event loop; called from the heartbeat's thread."""
        self.execution.calls.blockers.add(self.spec.name)
        self.keep_line(f"WARNING the handler has blocked the event loop for {seconds:.1f} s, at:\n{stack.rstrip()}")
        return Block(self.id, stack)
