"""One attempt: bind the payload, run the handler within its deadline, settle."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import Any, Protocol

import anyio
import anyio.to_process
import anyio.to_thread
import msgspec

from _taskqueue.domain.beat import Block
from _taskqueue.domain.errors import Cancel
from _taskqueue.domain.task import (
    TIMEOUT_DEFAULT_S,
    Attempt,
    Claim,
    Failure,
    Outcome,
    Progress,
    clip,
    clip_failure,
    fault_of,
    message_of,
)
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.store import wire
from _taskqueue.store.answers import pack_number
from _taskqueue.tasks.binding import encode_json
from _taskqueue.tasks.context import Context, current_context
from _taskqueue.tasks.discovery import AnyTask, Registry
from _taskqueue.tasks.spec import Submitter as Enqueuer
from _taskqueue.work.aside import Aside, ferry
from _taskqueue.work.child import run_in_child, unpack
from _taskqueue.work.finishes import FinishLog
from _taskqueue.work.line import Line
from _taskqueue.work.verdict import Judgement, ResultUnfit, judge, max_attempts_of

WATCH_S = 0.05
"""How often deadlines are looked at: a timer for each task would cost ten times as much."""
LOGS_S = 1.0
HOOK_S = 10.0
PROGRESS_S = 0.1
HELD_NAMES_MAX = 1_000

log = logging.getLogger("taskqueue.worker")


class Submitter(Enqueuer, Protocol):
    """How a handler submits more tasks."""

    async def submit_call(self, task: str, payload: Any, options: Mapping[str, Any]) -> str: ...


class Run:
    """One attempt under way; the Desk behind its Context."""

    __slots__ = (
        "began",
        "cause",
        "claim",
        "context",
        "deadline",
        "execution",
        "line",
        "lines",
        "lines_kept",
        "reported_at",
        "scope",
        "spec",
        "started_ms",
    )

    def __init__(self, execution: Execution, claim: Claim, spec: AnyTask, line: Line) -> None:
        self.execution, self.claim, self.spec, self.line = execution, claim, spec, line
        self.began = time.monotonic()
        self.started_ms = int(time.time() * 1000)
        self.deadline = self.began + (claim.record.timeout_s or spec.timeout_s or TIMEOUT_DEFAULT_S)
        self.scope: anyio.CancelScope | None = None
        self.cause = ""
        self.lines: list[str] | None = None
        self.lines_kept = 0
        self.reported_at = 0.0
        self.context = Context(claim, self)

    def stop(self, cause: str) -> None:
        """Cancel the handler; ``cause`` is timeout, cancelled, fenced or released."""
        if not self.cause:
            self.cause = cause
            if self.scope is not None:
                self.scope.cancel()

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
        return self.execution.state

    @property
    def cancel_asked(self) -> bool:
        return bool(self.cause)

    def remaining_s(self) -> float:
        return self.deadline - time.monotonic()

    def deadline_at(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.remaining_s(), UTC)

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        packed = wire.encode(Progress(done, total, None if message is None else clip(message, 500), int(time.time() * 1000)))
        self.line.progress(self.claim.id, packed, wake=time.monotonic() - self.reported_at > PROGRESS_S)
        self.reported_at = time.monotonic()

    async def save(self, packed: bytes) -> None:
        self.execution.check_size("checkpoint", packed)
        await ferry(self.line.save(self.claim.id, packed), self.line.loop)

    async def submit(self, task: str, payload: Any, options: Mapping[str, Any]) -> str:
        return await ferry(self.execution.producer.submit_call(task, payload, options), self.line.loop)

    def keep_line(self, line: str) -> None:
        if self.lines is None:
            self.lines = []
        self.lines.append(line)

    def blocks(self, seconds: float, stack: str) -> Block:
        """Its handler blocks the event loop; called from the heartbeat's thread."""
        self.execution.blockers.add(self.spec.name)
        self.keep_line(f"WARNING the handler has blocked the event loop for {seconds:.1f} s, at:\n{stack.rstrip()}")
        return Block(self.id, stack)


def run_on(frame: FrameType | None) -> Run | None:
    """The attempt whose handler a stack runs."""
    while frame is not None:
        if frame.f_code is _ATTEMPT:
            found: Run = frame.f_locals["run"]
            return found
        frame = frame.f_back
    return None


class Execution:
    """Runs the claims of one worker process.

    Args:
        worker: this process' name, kept with every attempt.
        random: gives a float in [0, 1), for the jitter of retries.
    """

    def __init__(
        self, registry: Registry, settings: Settings, metrics: Metrics, producer: Submitter, worker: str, random: Callable[[], float]
    ) -> None:
        self.worker = worker
        self.producer = producer
        self.state: dict[str, Any] = {}
        self.runs: dict[Run, float] = {}
        """every attempt under way → its deadline"""
        self.blockers: set[str] = set()
        """handlers that were seen to block the event loop"""
        self._registry, self._metrics, self._random = registry, metrics, random
        self._moves_blockers = settings.on_block == "thread"
        self._result_bytes_max = settings.result_bytes_max
        self._threads = anyio.CapacityLimiter(settings.threads)
        self._processes = anyio.CapacityLimiter(settings.processes)
        self._failure_hooks = registry.hooks_of("on_failure")
        self._middlewares = registry.hooks_of("middleware")
        self._finishes = FinishLog(settings.log_tasks)
        self._held_names: set[str] = set()

    async def run(self, claim: Claim, line: Line, scope: anyio.CancelScope) -> None:
        """Run one claim and settle it with its line. Raises nothing but cancellation of the worker itself.

        Args:
            scope: the innermost one around this call; it is cancelled to stop the handler, and is spent then.
        """
        spec = self._registry.find(claim.record.task)
        if spec is None:
            return self._hold(claim, line)
        run = Run(self, claim, spec, line)
        line.runs[claim.id] = run
        self.runs[run] = run.deadline
        self._finishes.started(run.context)
        try:
            error, result = await self._attempt(run, scope)
            if error is not None:
                await self._run_hooks(self._failure_hooks, run, error)
            await self._settle(run, error, result)
        finally:
            del self.runs[run]
            line.runs.pop(claim.id, None)
            del run.context  # a circle, which would keep the payload until the garbage collector comes by

    @property
    def busy_threads(self) -> int:
        """How many handlers run in threads now."""
        return self._threads.borrowed_tokens

    async def watch(self) -> None:
        """Stop attempts that are past their deadline, until cancelled."""
        logs_kept_at = 0.0
        while True:
            await anyio.sleep(WATCH_S)
            now = time.monotonic()
            for run in [run for run, deadline in self.runs.items() if deadline < now]:
                run.stop("timeout")
            if now - logs_kept_at > LOGS_S:
                logs_kept_at = now
                for run in self.runs:
                    self._keep_log_so_far(run)

    def _keep_log_so_far(self, run: Run) -> None:
        """So that a log can be followed while its task runs."""
        if run.lines is not None and len(run.lines) > run.lines_kept and not run.cause:
            run.lines_kept = len(run.lines)
            run.line.keep_log(run.claim.id, "\n".join(run.lines).encode(errors="replace"), wake=True)

    def _hold(self, claim: Claim, line: Line) -> None:
        name = claim.record.task
        if name not in self._held_names and len(self._held_names) < HELD_NAMES_MAX:
            self._held_names.add(name)
            log.warning("no handler is named %r: its tasks are held until a worker that knows it appears", name)
        line.settle("hold", claim.id)

    async def _attempt(self, run: Run, scope: anyio.CancelScope) -> tuple[BaseException | None, Any]:
        run.scope = scope
        try:
            return None, await self._call(run)
        except asyncio.CancelledError as error:
            if run.cause:
                return self._read_error(run, None), None
            slot = asyncio.current_task()
            if slot is None or slot.cancelling():  # not this task is cancelled, but the whole worker
                raise
            return error, None  # the handler's own: it awaited something that was cancelled
        except BaseException as error:  # noqa: BLE001 - whatever the handler raises
            return self._read_error(run, error), None
        finally:
            run.scope = None

    def _read_error(self, run: Run, error: BaseException | None) -> BaseException:
        """The error that counts: why the attempt was stopped, else what the handler raised."""
        if run.cause == "timeout":
            return TimeoutError(f"still running after {run.deadline - run.began:g} s")
        if run.cause or error is None:
            return Cancel(run.cause)
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        return error

    async def _call(self, run: Run) -> Any:
        current_context.set(run.context)
        call = partial(self._call_process, run) if run.spec.where == "process" else self._bind(run)
        for around in reversed(self._middlewares):
            call = partial(around, run.context, call)
        return await call()

    def _bind(self, run: Run) -> Callable[[], Any]:
        spec, record = run.spec, run.claim.record
        arguments = spec.signature.bind(record.payload, record.is_text)
        if spec.signature.context is not None:
            arguments[spec.signature.context] = run.context
        if spec.where == "thread":
            return partial(self._call_thread, run, partial(spec.function, **arguments))
        if self._moves_blockers and (spec.name in self.blockers or run.claim.crashes):
            return partial(self._call_aside, run, Aside(spec.function, self.producer), arguments)
        return partial(spec.function, **arguments)

    async def _call_aside(self, run: Run, aside: Aside, arguments: Mapping[str, Any]) -> Any:
        try:
            return await self._call_thread(run, partial(aside, **arguments))
        finally:
            aside.cancel()

    async def _call_thread(self, run: Run, function: Callable[[], Any]) -> Any:
        ended = [False]

        def call() -> Any:
            try:
                return function()
            except Exception:
                raise
            except BaseException as error:  # a future that carries one would end its thread, or the event loop
                raise HandlerQuit(f"{type(error).__name__}: {message_of(error)}") from error
            finally:
                ended[0] = True
                if run.cause:
                    self._metrics.abandoned_threads.dec()

        try:
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)
        except BaseException:
            if run.cause and not ended[0]:
                self._metrics.abandoned_threads.inc()
            raise

    async def _call_process(self, run: Run) -> Any:
        spec, record = run.spec, run.claim.record
        end = await anyio.to_process.run_sync(
            run_in_child, spec.function.__module__, spec.name, record.payload, record.is_text,
            cancellable=True, limiter=self._processes,
        )  # fmt: skip
        result = unpack(end)
        return None if result is None else msgspec.Raw(result)

    async def _settle(self, run: Run, error: BaseException | None, result: Any) -> None:
        if run.claim.lease != run.line.lease or run.cause == "fenced":
            self._refused(run)
            return
        if run.cause == "released" and error is not None:
            return  # stays held, and goes back to its queue at no cost
        if run.lines:
            run.line.keep_log(run.claim.id, "\n".join(run.lines).encode(errors="replace"))
        if error is None:
            try:
                self._succeed(run, result)
            except ResultUnfit as unfit:
                error = unfit
        if error is not None:
            await self._fail(run, error)

    def _refused(self, run: Run) -> None:
        log.warning("task %s: its lease ended while it ran here; the answer is dropped, another worker has it", run.id)

    def _succeed(self, run: Run, result: Any) -> None:
        claim = run.claim
        encoded = None if result is None else self._encode(result)
        took_s = time.monotonic() - run.began
        outcome = Outcome(claim.attempt, run.started_ms, int(took_s * 1000), self.worker, encoded)
        run.line.succeeded(claim.id, wire.encode(outcome))
        self._metrics.meters(claim.queue, run.spec.name).succeeded(took_s)
        self._finishes.succeeded(run.context, took_s)

    def _encode(self, result: Any) -> bytes:
        try:
            encoded = encode_json(result)
        except (TypeError, ValueError, RecursionError) as error:
            raise ResultUnfit(f"the result cannot be kept: {error}") from None
        try:
            self.check_size("result", encoded)
        except ValueError as error:
            raise ResultUnfit(str(error)) from None
        return encoded

    def check_size(self, what: str, encoded: bytes) -> None:
        """Raises ValueError: too large to be kept."""
        if len(encoded) > self._result_bytes_max:
            raise ValueError(f"the {what} has {len(encoded)} bytes, more than --max-result {self._result_bytes_max}")

    async def _fail(self, run: Run, error: BaseException) -> None:
        claim, line = run.claim, run.line
        try:
            judged = judge(error, run.cause == "timeout", claim, run.spec, self._random)
        except (ValueError, TypeError) as unreadable:  # Retry(after=...) that is no duration
            error = unreadable
            judged = judge(error, False, claim, run.spec, self._random)
        failure, run_ms = describe(error), int((time.monotonic() - run.began) * 1000)
        attempt = wire.encode(Attempt(claim.number, judged.ending, run.started_ms, run_ms, self.worker, failure))
        if judged.verb == "dead":
            await self._run_hooks([run.spec.on_dead] if run.spec.on_dead else [], run, error)
        outcome = Outcome(claim.attempt, run.started_ms, run_ms, self.worker, None, judged.reason, failure)
        number = pack_number(int(judged.delay_s * 1000), claim.record.priority)
        line.settle(judged.verb, claim.id, number, attempt, wire.encode(outcome), fault_of(run.spec.name, failure))
        self._count(run, judged, run_ms / 1000)
        self._finishes.failed(run.context, judged.verb, judged.delay_s, judged.reason, failure, run_ms / 1000)

    def _count(self, run: Run, judged: Judgement, took_s: float) -> None:
        meters = self._metrics.meters(run.claim.queue, run.spec.name)
        meters.ended(judged.ending, took_s)
        if judged.verb == "retry":
            meters.retried += 1
        elif judged.verb in ("dead", "cancel"):
            meters.finished_as("dead" if judged.verb == "dead" else "cancelled")

    async def _run_hooks(self, hooks: list[Any], run: Run, error: BaseException) -> None:
        for hook in hooks:
            try:
                with anyio.move_on_after(HOOK_S, shield=True):  # the scope around may be spent by a timeout
                    said = hook(run.context, error)
                    if inspect.isawaitable(said):
                        await said
            except asyncio.CancelledError:
                raise
            except BaseException:
                log.exception("the hook %s failed for task %s; the task is settled all the same", hook.__qualname__, run.id)


class HandlerQuit(Exception):
    """A handler in a thread raised what is no Exception: SystemExit, KeyboardInterrupt, …"""


_ATTEMPT = Execution._attempt.__code__  # noqa: SLF001 - its own module


def describe(error: BaseException) -> Failure:
    """An error as kept text: its own frames, not the worker's."""
    found: Failure | None = getattr(error, "failure_in_child", None)
    if found is not None:
        return clip_failure(found)
    trace = error.__traceback__
    while trace is not None and "_taskqueue" in trace.tb_frame.f_code.co_filename and trace.tb_next is not None:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return clip_failure(Failure(type(error).__qualname__, message_of(error), text))
