"""The life of the process: what stage it is in, the signals that move it on, and the parts that must not end before it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskStatus

from _taskqueue.watchdog import Watchdog

HURRY_S = 2.0
"""After the second signal the process is gone within this time, whatever happens."""
EXIT_HURRIED = 130
IDLE_DRAIN_S = 5.0
"""The drain of a process that runs no tasks: requests under way."""
LAST_WORDS_S = 2.5
"""After the drain the process is gone within this time, whatever does not stop."""
YOUNG_OBJECTS_MAX = 10_000
"""How many objects may come before the garbage collector looks for circles among them; Python's own 700 are less than one
batch of tasks, and cost a worker 0.7 µs a task.
"""
EXIT_LEFT_BEHIND = 75
"""EX_TEMPFAIL: not all ended in order; leases do the rest."""
RETAKE_S = 1.0
"""How often signals are looked at: handlers and the libraries they load take them at any time."""

Part = Callable[..., Coroutine[Any, Any, Any]]

log = logging.getLogger("taskqueue")


def spare_the_collector(*, at_work: bool = False) -> None:
    """Take all that is loaded out of the garbage collector's sight (docs.python.org, gc.freeze): it will not go away, and to
    walk over it again and again took the slowest hundredth of requests from 9 to as much as 17 ms.

    Args:
        at_work: tasks run already, which a collection of 30 ms would hold up.
    """
    if not at_work:
        gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)


class Life:
    """One process from start to end.

    Args:
        watchdog: hears the signals and ends the process when it does not end itself; None leaves both to others.
    """

    def __init__(self, watchdog: Watchdog | None = None) -> None:
        self.ready = False
        """every role runs"""
        self.failed = False
        """something ended that must not; a supervisor should start the process anew"""
        self.stopping = anyio.Event()
        """finish what runs, take nothing new"""
        self.hurrying = anyio.Event()
        """give back what runs and leave"""
        self.stalled: Callable[[], bool] = lambda: False
        """says whether the event loop was blocked for too long"""
        self.lacking: Callable[[], bool] = lambda: False
        """says whether there are no threads or processes left to run tasks with"""
        self.drain_s = IDLE_DRAIN_S
        """how long running tasks may finish"""
        self._watchdog = watchdog
        self._told = False
        self._ended_early: list[str] = []
        self._start: anyio.CancelScope | None = None
        self._opening: asyncio.Task[Any] | None = None
        if watchdog is not None:
            self._loop = asyncio.get_running_loop()
            watchdog.hear = self._hear

    def open(self) -> None:
        """The calling task opens the store, which may take long. It is cancelled when the process is told to stop before that."""
        self._opening = asyncio.current_task()

    @property
    def opening(self) -> bool:
        """The store is not open yet."""
        return self._opening is not None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """The block starts the roles. What still waits for the store there is cut short when the process is told to stop."""
        self._opening = None
        with anyio.CancelScope() as self._start:
            yield
        self._start = None
        self.start()

    def start(self) -> None:
        """Every role runs now."""
        self.take_signals()
        self.ready = not self.stopping.is_set()
        for name in self._ended_early:
            self.fail(f"{name} ended")

    def stop(self) -> None:
        """Begin to stop; harmless when it has begun."""
        self.ready = False
        if self.stopping.is_set():
            return
        if self._opening is not None:
            self._opening.cancel()
        if self._start is not None:
            self._start.cancel()
        self._leave_in(self.drain_s + LAST_WORDS_S, EXIT_LEFT_BEHIND)
        self.stopping.set()

    def hurry(self) -> None:
        """Stop waiting for running tasks, and make sure to be gone soon."""
        self.stop()
        self.hurrying.set()
        self._leave_in(HURRY_S, EXIT_HURRIED)

    def fail(self, what: str, error: BaseException | None = None) -> None:
        """Something ended that must not: say so once, give back what runs, end with a status that restarts."""
        if self.failed:
            return
        self.failed = True
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        log.error("%s; stopping, for a supervisor to start this process anew", what, exc_info=error, extra={"event": "process.failed"})
        self.stop()

    def _leave_in(self, seconds: float, status: int) -> None:
        """Be gone by then: a handler may swallow its cancellation, or the store not answer. An orderly end comes first."""
        if self._watchdog is not None:
            self._watchdog.leave_in(seconds, status)

    # -- signals ----------------------------------------------------------------------------------------------------

    async def keep_signals(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take the signals, and take them again from whoever took them, until cancelled."""
        self.take_signals()
        task_status.started()
        while True:
            await anyio.sleep(RETAKE_S)
            self.take_signals()

    def take_signals(self) -> None:
        """The first SIGTERM, SIGINT or SIGHUP drains, the second leaves at once."""
        if self._watchdog is not None:
            for stranger in self._watchdog.take():
                log.warning(stranger)

    def _hear(self, number: int) -> None:
        """In the watchdog's thread: the time is set here, whatever the event loop does meanwhile."""
        again = self._told
        if again and number == signal.SIGHUP:  # a closed terminal sends it twice: the shell does, too
            return
        self._told = True
        if again:
            self._leave_in(HURRY_S, EXIT_HURRIED)
        else:
            self._leave_in(self.drain_s + LAST_WORDS_S, EXIT_LEFT_BEHIND)
        with suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._obey, signal.Signals(number).name, again)

    def _obey(self, name: str, again: bool) -> None:
        if not again:
            log.info("%s: stopping; once more to leave at once", name, extra={"event": "process.stopping"})
            self.stop()
        elif not self.hurrying.is_set():
            log.warning("%s again: leaving at once", name, extra={"event": "process.hurrying"})
            self.hurry()

    # -- parts ------------------------------------------------------------------------------------------------------

    def part(self, name: str, run: Part) -> Part:
        """Watch over what must run as long as the process does: its end before that is loud, and ends the process.

        Args:
            run: started like everything in a task group; one that fails before the process is ready raises there.
        """

        async def watched(*args: Any, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            try:
                await run(*args, task_status=task_status)
            except asyncio.CancelledError as error:
                if self.ready:
                    self.fail(f"{name} was cancelled", error)
                raise
            except BaseException as error:
                if not self.ready and not self.stopping.is_set():
                    raise
                self.fail(f"{name} ended", error)
            else:
                if self.ready:
                    self.fail(f"{name} ended")
                elif not self.stopping.is_set():
                    self._ended_early.append(name)

        return watched

    def thread_died(self, name: str, died: threading.ExceptHookArgs) -> None:
        """The thread that keeps the leases, or the like, is gone: as when a part ends. Called in that thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(partial(self.fail, f"{name} ended", died.exc_value))

    async def stop_when_cancelled(self) -> None:
        """A crash at the start cancels what was started: turn that into the same orderly stop."""
        try:
            await self.stopping.wait()
        finally:
            self.stop()


@asynccontextmanager
async def running(part: Part, *args: Any) -> AsyncIterator[None]:
    """Run a part for the length of the block: started before it, cancelled after it."""
    async with anyio.create_task_group() as group:
        await group.start(part, *args)
        yield
        group.cancel_scope.cancel()
