"""One attempt: run the handler in an asyncio task and a context of its own, within its deadline, and settle it.

The handler's part ends when its asyncio task ends, however that came about. What follows (reading the error, encoding the
result, hooks, the settlement) happens outside of that task, under one last guard: nothing a handler does to its task, its
cancel scopes or its context variables reaches beyond it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.task import Claim
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.tasks.context import current_context
from _taskqueue.tasks.discovery import Registry
from _taskqueue.work.calls import FORKED, Calls, Submitter
from _taskqueue.work.line import Line
from _taskqueue.work.ownership import Ownership
from _taskqueue.work.rivals import Rivals
from _taskqueue.work.run import Run
from _taskqueue.work.settlement import End, Settlement
from _taskqueue.work.verdict import ASK_AGAIN, MISFIT, WorkerLacks

WATCH_S = 0.05
"""How often deadlines are looked at: a timer for each task would cost ten times as much."""
LOGS_S = 1.0
"""How often the logs of running tasks are handed on."""
HOOK_S = 10.0
HELD_NAMES_MAX = 1_000
EAGERLY: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""An asyncio task may begin at once, without a pass of the event loop: 1.5 µs -> 0.9 a task."""

log = logging.getLogger("taskqueue.worker")


def run_on(frame: FrameType | None) -> Run | None:
    """The attempt whose handler a stack runs."""
    while frame is not None:
        if frame.f_code is _ATTEMPT:
            found: Run = frame.f_locals["run"]
            return found
        frame = frame.f_back
    return None


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker process runs tasks with."""

    registry: Registry
    settings: Settings
    metrics: Metrics
    producer: Submitter
    worker: str
    """this process' name, kept with every attempt"""
    signatures: Mapping[str, str]
    """task → what tells apart how workers read its payload"""
    random: Callable[[], float]
    """gives a float in [0, 1), for the jitter of retries"""


class Execution:
    """Runs the claims of one worker process.

    Args:
        lines: the line of each queue.
        rivals: what other workers may make of a payload.
        ended: called once for every claim that was started.
        lacking: called when an attempt could not begin for want of a thread or process.
    """

    def __init__(
        self,
        means: Means,
        lines: Mapping[str, Line],
        rivals: Rivals,
        ended: Callable[[], None],
        lacking: Callable[[str], None] = lambda why: None,
    ) -> None:
        registry, settings, metrics = means.registry, means.settings, means.metrics
        self.worker, self.producer = means.worker, means.producer
        self.state: dict[str, Any] = {}
        self.calls = Calls(registry, settings, metrics, means.producer)
        self._call = self.calls.begin
        self._tasks, self._default = registry.tasks, registry.default
        self._lines, self._on_end, self._lacking = lines, ended, lacking
        self._failure_hooks = registry.hooks_of("on_failure")
        self._rivals = rivals
        self.settlement = Settlement(settings, metrics, means.worker, means.signatures, means.random)
        self._ownership = Ownership()
        self._says_starts = settings.log_tasks == "all"
        self._held_names: set[str] = set()
        self._superseded: set[Run] = set()
        """attempts that lost their lease and still clean up, while the task runs here again"""
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._variables = contextvars.copy_context()

    @property
    def runs(self) -> list[Run]:
        """Every attempt under way."""
        current = [run for line in self._lines.values() for run in line.runs.values() if isinstance(run, Run)]
        return [*current, *self._superseded]

    def open(self) -> None:
        """Begin; every attempt gets a copy of the context variables as they are now."""
        self._variables = contextvars.copy_context()
        self._ownership.begin()

    def close(self) -> None:
        """End what handlers left behind, their processes first of all."""
        self._ownership.abandon(self.runs)
        self._ownership.end()
        self.calls.processes.close()

    # -- an attempt, from its start to its settlement -----------------------------------------------------------------

    def start(self, claim: Claim) -> None:
        """Begin one claim's attempt, and return at once. Raises nothing: what cannot begin goes back."""
        line = self._lines[claim.queue]
        try:
            now = time.monotonic()
            spec = self._tasks.get(claim.record.task or self._default)
            if now > line.tenure.until:
                line.doubt(claim)
            elif spec is None:
                self._hold(claim, line)
            else:
                if isinstance(before := line.runs.get(claim.id), Run):
                    self._superseded.add(before)
                run = line.runs[claim.id] = Run(self, claim, spec, line, now)
                if self._says_starts:
                    self.settlement.started(run)
                self._spawn(run, self._attempt(run))
                return
        except BaseException:
            line.runs.pop(claim.id, None)
            line.settle("release", claim.id)
            log.exception("task %s could not be started and goes back to its queue", claim.id.decode())
        self._on_end()

    def _spawn(self, run: Run, coroutine: Any) -> None:
        """Run a coroutine around the user's code in a task and a context of its own; it goes on by itself at its end."""
        task = asyncio.Task(coroutine, loop=self._loop, context=self._variables.copy(), **EAGERLY)
        if not task.done():
            run.task = task

    async def _attempt(self, run: Run) -> None:
        try:
            current_context.set(run.context)
            run.result = await self._call(run)
            run.returned = True
        except BaseException as error:  # noqa: BLE001 - whatever the handler raises
            run.error = error
        if FORKED:
            os._exit(0)  # the copy of a fork: its own life ends with the handler
        try:
            self._over(run)
        except BaseException:
            log.exception("task %s: a defect kept its end from being recorded as it was", run.id)
            self._give_up(run)

    def _over(self, run: Run) -> None:
        """The handler has ended: decide, and settle at once or after its hooks. Awaits nothing, so nothing is left of the
        handler's that could still reach this.
        """
        run.task = None
        if run.lack is not None:
            self._give_back(run, run.lack)
            return
        if run.returned and (end := self.settlement.read_result(run)).error is None:
            self._settle(run, end)
            return
        end = end if run.returned else self.settlement.read_error(run)
        if end.judged is not None and end.judged.reason == "invalid_payload" and not run.cause:
            self._after(run, partial(_ask_rivals, self._rivals, run, end), lambda run: self._close(run, end))
        else:
            self._close(run, end)

    def _close(self, run: Run, end: End) -> None:
        if hooks := self._hooks_of(run, end):
            self._next_hook(run, end, hooks)
        else:
            self._settle(run, end)

    def _hooks_of(self, run: Run, end: End) -> list[Any]:
        if end.error is None or run.cause in ("released", "fenced"):
            return []
        failure_hooks = self._failure_hooks if end.verb in ("retry", "dead") else []
        return [*failure_hooks, *([run.spec.on_dead] if end.verb == "dead" and run.spec.on_dead is not None else [])]

    def _next_hook(self, run: Run, end: End, hooks: list[Any]) -> None:
        if not hooks or self._stopping:
            self._settle(run, end)
            return
        hook, *others = hooks
        self._after(run, partial(self._run_hook, run, hook, end.error), partial(self._next_hook, end=end, hooks=others))

    def _after(self, run: Run, what: Callable[[], Coroutine[Any, Any, None]], then: Callable[[Run], None]) -> None:
        """Do something that awaits between the handler's end and its settlement, for HOOK_S at most."""
        run.deadline = time.monotonic() + HOOK_S
        run.after_hook = then
        self._spawn(run, self._do_then(run, what, then))

    async def _do_then(self, run: Run, what: Callable[[], Coroutine[Any, Any, None]], then: Callable[[Run], None]) -> None:
        try:
            await what()
        finally:
            if FORKED:
                os._exit(0)  # the copy of a fork
            if run.after_hook is then:  # else it was given up
                self._go_on(run)

    async def _run_hook(self, run: Run, hook: Any, error: BaseException | None) -> None:
        try:
            current_context.set(run.context)
            said = hook(run.context, error)
            if inspect.isawaitable(said):
                await said
        except BaseException:
            log.exception("the hook %s failed for task %s; the task is settled all the same", name_of(hook), run.id)

    def _go_on(self, run: Run) -> None:
        """Take the next step of an attempt: nothing may keep it from its end."""
        then, run.task, run.after_hook = run.after_hook or self._over, None, None
        try:
            then(run)
        except BaseException:
            log.exception("task %s: a defect kept its end from being recorded as it was", run.id)
            self._give_up(run)

    def _give_up(self, run: Run) -> None:
        """Settle an attempt of which nothing can be said; at the very worst it goes back."""
        if run.over:
            return
        try:
            self._settle(run, self.settlement.unsaid(run))
        except BaseException:
            log.exception("task %s: it goes back to its queue", run.id)
            self._release(run)

    def _abandon_hook(self, run: Run) -> None:
        """A hook takes too long: go on without it."""
        if run.task is not None:
            log.warning("a hook of task %s (%s) did not end in time; the task is settled without it", run.id, run.task_name)
            self._ownership.end_task(run.task)
        self._go_on(run)

    def _give_back(self, run: Run, why: BaseException) -> None:
        """It did not begin, at no fault of the task's: it costs no attempt."""
        if isinstance(why, WorkerLacks):
            self._release(run)
            self._lacking(str(why))
        else:
            run.line.doubt(run.claim)
            self._leave(run)

    def _release(self, run: Run) -> None:
        if not run.over:  # else it was settled before
            run.line.settle("release", run.claim.id)
            self._leave(run)

    def _settle(self, run: Run, end: End) -> None:
        self.settlement.settle(run, end)
        self._leave(run)

    def _leave(self, run: Run) -> None:
        if run.line.runs.get(run.claim.id) is run:
            del run.line.runs[run.claim.id]
        if self._superseded:
            self._superseded.discard(run)
        try:
            if run.children:
                self._ownership.disown(run)
        finally:
            run.forget()
            self._on_end()

    def stop_all(self) -> int:
        """Ask everything to stop, and give it back; gives how much there was."""
        self._stopping = True
        runs = self.runs
        for run in runs:
            if run.after_hook is not None:
                self._abandon_hook(run)
            else:
                run.stop("released")
        return len(runs)

    # -- all of them ------------------------------------------------------------------------------------------------

    async def watch(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Stop attempts that are past their deadline, until cancelled."""
        logs_kept_at = 0.0
        while True:
            await anyio.sleep(WATCH_S)
            now = time.monotonic()
            for run in self.runs:
                if run.deadline < now or run.cause or run.ended_unseen:
                    self._stop_late(run, now)
            self._ownership.remind(now)
            if now - logs_kept_at > LOGS_S:
                logs_kept_at = now
                self.calls.processes.look()
                self._ownership.keep()
                for run in self.runs:
                    run.keep_log_so_far()

    def _stop_late(self, run: Run, now: float) -> None:
        if run.ended_unseen:  # cancelled from outside before it began
            self._go_on(run)
        elif run.after_hook is not None:
            if run.deadline < now:
                self._abandon_hook(run)
        elif not run.cause:
            run.stop("timeout")
        elif run.remind(now):
            log.warning(
                "task %s (%s) was asked to stop (%s) and runs on; it is asked again, ever more rarely", run.id, run.task_name, run.cause
            )

    def _hold(self, claim: Claim, line: Line) -> None:
        name = claim.record.task
        if name not in self._held_names and len(self._held_names) < HELD_NAMES_MAX:
            self._held_names.add(name)
            log.warning("no handler is named %r: its tasks are held until a worker that knows it appears", name)
        line.settle("hold", claim.id)


async def _ask_rivals(rivals: Rivals, run: Run, end: End) -> None:
    """A payload that another live worker may fit goes to it. Only a clear no makes it dead; else it is asked again later."""
    dead, error = end.judged, end.error
    end.verb, end.judged, end.error = ASK_AGAIN.verb, ASK_AGAIN, None
    with suppress(StoreError):
        if await rivals.may_fit(run.claim.queue, run.claim.id, run.spec.name):
            end.verb, end.judged = MISFIT.verb, MISFIT
        elif dead is not None:
            end.verb, end.judged, end.error = dead.verb, dead, error


_ATTEMPT = Execution._attempt.__code__  # noqa: SLF001 - its own module


def name_of(hook: Any) -> str:
    """What to call a hook in a message."""
    return str(getattr(hook, "__qualname__", None) or type(hook).__qualname__)
