"""The watchdog: a thread, made before all else, that hears signals and ends the process when nothing else does.

It needs neither the event loop, which a handler may block, nor a new thread, which may not be had by then, nor a lock that
somebody may hold. The interpreter writes the number of a signal to a descriptor the moment it comes, even while the main
thread is in C (``signal.set_wakeup_fd``); the loop's own descriptor gets a copy.
"""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from _taskqueue.domain.errors import UsageError
from _taskqueue.forks import end_children, in_children, keep_from_children

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NOWHERE = -1
HAND_OVER_S = 0.01
"""The interpreter is left to the watchdog for a moment: what runs in C may hold it for long, and not have to give it up."""
GRACE_S = 1.0
"""After this beyond its time the kernel ends the process: the interpreter itself was held."""


def _ignore(number: int) -> None:
    """Nobody listens yet."""


def _leave_silently(status: int) -> None:
    """There is nothing to say yet."""


class Watchdog:
    """Hears signals, and keeps the time by which the process must be gone.

    Raises:
        UsageError: no thread can be made.
    """

    def __init__(self) -> None:
        self.hear: Callable[[int], None] = _ignore
        """called with the number of each signal, in the watchdog's thread; must not wait for anybody"""
        self.last_words: Callable[[int], None] = _leave_silently
        """called with the status before the process is ended"""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._leave_at, self._status = math.inf, 0
        self._loops_descriptor = NOWHERE
        self._taken: tuple[signal.Signals, ...] = ()
        self._handler = self._note  # one object, so that it can be recognized
        in_children(self._become_deaf)
        keep_from_children(lambda: (self._reader, self._writer, self._loops_descriptor))
        try:
            threading.Thread(target=self._run, name="watchdog", daemon=True).start()
        except RuntimeError as error:
            raise UsageError(f"{error}: raise the limit on processes and threads (ulimit -u, pids.max)") from None

    def leave_in(self, seconds: float, status: int) -> None:
        """Be gone by then, whatever happens. An earlier time set before stays."""
        at = time.monotonic() + seconds
        if at < self._leave_at:
            self._leave_at, self._status = at, status
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_S)
            self._write(0)

    def take(self) -> list[str]:
        """Make the signals ours; called in the main thread, while the loop runs. Gives a text for each one that somebody else
        had taken since the last time.
        """
        strangers = []
        first = not self._taken
        if first:  # nohup sets SIGHUP to be ignored, and means it
            self._taken = tuple(one for one in SIGNALS if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN)
        for number in self._taken:
            found = signal.getsignal(number)
            if found is not self._handler:
                signal.signal(number, self._handler)
                signal.siginterrupt(number, False)
                if not first:
                    strangers.append(f"{number.name} had been taken by {_describe(found)}; it stops the queue in order again")
        self._listen()
        return strangers

    def forget_loop(self) -> None:
        """The event loop has stopped running: its descriptor may be somebody else's soon."""
        self._loops_descriptor = NOWHERE

    def _listen(self) -> bool:
        """Have the interpreter tell us of signals; says whether it told somebody else."""
        found = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if found not in (NOWHERE, self._writer):
            self._loops_descriptor = found
        return found != self._writer

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Python's own handler, in the main thread: it is late, but nobody can take it and not be seen."""
        if self._listen():
            self._write(number)
        time.sleep(HAND_OVER_S)

    def _write(self, number: int) -> None:
        with suppress(BlockingIOError):  # full: it will wake anyway
            os.write(self._writer, bytes([number]))

    def _run(self) -> None:
        while (left_s := self._leave_at - time.monotonic()) > 0:
            select.select([self._reader], [], [], None if left_s == math.inf else left_s)
            with suppress(BlockingIOError):
                for number in os.read(self._reader, 256):
                    self._pass_on(number)
        with suppress(Exception):  # whatever fails here, the end comes
            self.last_words(self._status)
            end_children(0.0)
        os._exit(self._status)

    def _pass_on(self, number: int) -> None:
        if number and self._loops_descriptor != NOWHERE:
            with suppress(OSError):
                os.write(self._loops_descriptor, bytes([number]))
        if number in self._taken:
            with suppress(Exception):  # this thread must live on
                self.hear(number)

    def _become_deaf(self) -> None:
        """In a forked child: a signal there would be written to our pipe, and taken for ours."""
        signal.set_wakeup_fd(NOWHERE)
        for number in self._taken:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def _describe(handler: Any) -> str:
    if handler is signal.SIG_IGN:
        return "somebody who ignores it (SIG_IGN)"
    if handler is signal.SIG_DFL:
        return "somebody who set it back to its default (SIG_DFL)"
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{getattr(handler, '__module__', 'a library')}.{name}"
