"""How a handler is called: on the event loop, in a thread, on an event loop of its own in a thread, or in a process."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

import anyio
import anyio.to_thread
import msgspec

from _taskqueue.domain.task import message_of
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.tasks.discovery import Registry
from _taskqueue.tasks.spec import Submitter as Enqueuer
from _taskqueue.work.aside import Aside
from _taskqueue.work.processes import Processes
from _taskqueue.work.run import Run
from _taskqueue.work.verdict import WorkerLacks


class Submitter(Enqueuer, Protocol):
    """How a handler submits more tasks."""

    async def submit_call(self, task: str, payload: Any, options: Mapping[str, Any]) -> str: ...

    async def submit_packed(self, task: str, payload: bytes, is_text: bool, options: Mapping[str, Any]) -> str: ...


FORKED: list[bool] = []
"""Not empty in a copy of the worker that a handler made by ``os.fork``."""
os.register_at_fork(after_in_child=lambda: FORKED.append(True))


class HandlerQuit(Exception):
    """A handler in a thread or task of its own raised what would end the process: SystemExit, KeyboardInterrupt, …"""


class LeaseEnded(Exception):
    """The lease ended before the handler began: the task is somebody else's by now."""


class _ThreadCall:
    """A handler's call in a thread. What it raises is kept here: a future looks at an error, and some it cannot carry."""

    def __init__(self, run: Run, function: Callable[[], Any]) -> None:
        self.began = False
        self.error: BaseException | None = None
        self._run, self._function = run, function
        self._lock = threading.Lock()
        self._is_left = self._ended = False
        self._on_late_end: Callable[[], None] | None = None

    def __call__(self) -> Any:
        try:
            with self._lock:
                if self._is_left:
                    return None
                if not self._run.line.tenure.lasts:  # it waited for this thread, or the whole machine slept
                    self._run.lack = LeaseEnded()
                    return None
                self.began = True
            return self._function()
        except BaseException as error:  # noqa: BLE001 - whatever the handler raises
            self.error = error
        finally:
            if FORKED:
                os._exit(0)  # the copy of a fork: its own life ends with the handler
            with self._lock:
                self._ended = True
            if self._on_late_end is not None:
                self._on_late_end()

    def raise_error(self) -> None:
        """Raise what the handler raised."""
        error, self.error = self.error, None
        if error is None:
            return
        if type(error) in (SystemExit, KeyboardInterrupt, GeneratorExit):
            raise HandlerQuit(f"{type(error).__name__}: {message_of(error)}") from error
        raise error

    def leave_behind(self, on_late_end: Callable[[], None]) -> bool:
        """Nobody waits any more; whether it still runs, and then its end calls ``on_late_end``."""
        with self._lock:
            self._is_left = True
            if self.began and not self._ended:
                self._on_late_end = on_late_end
                return True
        return False


class Calls:
    """Calls the handlers of one worker process."""

    def __init__(self, registry: Registry, settings: Settings, metrics: Metrics, producer: Submitter) -> None:
        self.blockers: set[str] = set()
        """handlers that were seen to block the event loop"""
        self.processes = Processes(settings.processes)
        self._producer, self._metrics = producer, metrics
        self._moves_blockers = settings.on_block == "thread"
        self._threads = anyio.CapacityLimiter(settings.threads)
        self._middlewares, self._home_of = registry.hooks_of("middleware"), registry.home_of

    @property
    def busy_threads(self) -> int:
        """How many handlers run in threads now."""
        return self._threads.borrowed_tokens

    def begin(self, run: Run) -> Awaitable[Any]:
        """Call a handler with its middlewares around it; gives what to await for its result.

        Raises, at once or when awaited:
            BaseException: whatever the handler raises.
            WorkerLacks: it did not begin, for want of a thread or process.
        """
        if self._middlewares:
            return self._call_around(run)
        spec = run.spec
        if spec.where == "loop" and not self._moves_blockers:
            result: Awaitable[Any] = spec.function(**self._arguments(run))
        else:
            result = self._function_of(run)()
        return result

    async def _call_around(self, run: Run) -> Any:
        function = self._function_of(run)
        for around in reversed(self._middlewares):
            function = partial(around, run.context, function)
        result = function()
        return await result if inspect.isawaitable(result) else result

    def _function_of(self, run: Run) -> Callable[[], Any]:
        spec = run.spec
        if spec.where == "process":
            return partial(self._call_process, run)
        arguments = self._arguments(run)
        if spec.where == "thread":
            return partial(self._call_thread, run, partial(spec.function, **arguments))
        if self._moves_blockers and (spec.name in self.blockers or run.claim.crashes):
            return partial(self._call_aside, run, Aside(spec.function, self._producer), arguments)
        return partial(spec.function, **arguments)

    @staticmethod
    def _arguments(run: Run) -> dict[str, Any]:
        signature, record = run.spec.signature, run.claim.record
        arguments = signature.bind(record.payload, record.is_text)
        if signature.context is not None:
            arguments[signature.context] = run.context
        return arguments

    async def _call_aside(self, run: Run, aside: Aside, arguments: Mapping[str, Any]) -> Any:
        try:
            return await self._call_thread(run, partial(aside, **arguments))
        finally:
            aside.cancel()

    async def _call_thread(self, run: Run, function: Callable[[], Any]) -> Any:
        call = _ThreadCall(run, function)
        try:
            result = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)
        except (RuntimeError, MemoryError) as error:
            if call.began:
                raise
            run.lack = WorkerLacks(f"no thread can be started: {error}")
            raise run.lack from None
        except asyncio.CancelledError:
            if call.leave_behind(self._metrics.abandoned_threads.dec):
                self._metrics.abandoned_threads.inc()
            raise
        call.raise_error()
        return await result if inspect.isawaitable(result) else result

    async def _call_process(self, run: Run) -> Any:
        listens = run.spec.signature.context is not None
        try:
            result = await self.processes.call(self._home_of(run.spec), run, listens=listens)
        except WorkerLacks as lack:
            run.lack = lack
            raise
        return None if result is None else msgspec.Raw(result)
