"""The life of the process: what stage it is in, and the signals that move it on."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus

HURRY_S = 2.0
"""After the second signal the process is gone within this time, whatever happens."""
EXIT_HURRIED = 130
LAST_WORDS_S = 2.5
"""After the drain the process is gone within this time, whatever does not stop."""
EXIT_LEFT_BEHIND = 75
"""EX_TEMPFAIL: not all ended in order; leases do the rest."""

log = logging.getLogger("taskqueue")


def spare_the_collector() -> None:
    """Take all that is loaded out of the garbage collector's sight (docs.python.org, gc.freeze): it will not go away, and to
    walk over it again and again took the slowest hundredth of requests from 9 to as much as 17 ms.
    """
    gc.collect()
    gc.freeze()


class Life:
    """One process from start to end."""

    def __init__(self) -> None:
        self.ready = False
        """every role runs"""
        self.stopping = anyio.Event()
        """finish what runs, take nothing new"""
        self.hurrying = anyio.Event()
        """give back what runs and leave"""
        self.stalled: Callable[[], bool] = lambda: False
        """says whether the event loop was blocked for too long"""
        self.drain_s: float | None = None
        """how long running tasks may finish; None: there are none, and so no limit on the end"""

    def start(self) -> None:
        """Every role runs now."""
        self.ready = not self.stopping.is_set()

    def stop(self) -> None:
        """Begin to stop; harmless when it has begun."""
        self.ready = False
        if self.drain_s is not None and not self.stopping.is_set():
            self._leave_in(self.drain_s + LAST_WORDS_S, EXIT_LEFT_BEHIND)
        self.stopping.set()

    def hurry(self) -> None:
        """Stop waiting for running tasks, and make sure to be gone soon."""
        self.stop()
        self.hurrying.set()
        self._leave_in(HURRY_S, EXIT_HURRIED)

    @staticmethod
    def _leave_in(seconds: float, status: int) -> None:
        """Be gone by then: a handler may swallow its cancellation, or the store not answer. An orderly end comes first."""
        last_resort = threading.Timer(seconds, os._exit, (status,))
        last_resort.daemon = True
        last_resort.start()

    async def watch_signals(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """The one place that reads signals: the first SIGTERM or SIGINT drains, the second leaves at once."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if not self.stopping.is_set():
                    log.info("%s: stopping; once more to leave at once", name, extra={"event": "process.stopping"})
                    self.stop()
                elif not self.hurrying.is_set():
                    log.warning("%s again: leaving at once", name, extra={"event": "process.hurrying"})
                    self.hurry()

    async def stop_when_cancelled(self) -> None:
        """A crash of one part cancels the others: turn that into the same orderly stop."""
        try:
            await self.stopping.wait()
        finally:
            self.stop()


@asynccontextmanager
async def running(part: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> AsyncIterator[None]:
    """Run a part for the length of the block: started before it, cancelled after it."""
    async with anyio.create_task_group() as group:
        await group.start(part, *args)
        yield
        group.cancel_scope.cancel()
