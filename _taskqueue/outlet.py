"""How log lines leave: through a queue of bounded size, written by a thread of its own.

Who logs never waits: a reader of standard output that stops would else stop the event loop and the heartbeat with it. What
does not fit is counted, and told when the reader is back.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from _taskqueue.forks import in_children

WAITING_CHARS_MAX = 4 << 20
LINE_CHARS_MAX = 64 << 10
GATHER_S = 0.002
"""Lines that come together are written together …"""
GATHER_LINES_MAX = 1_000
"""… up to so many."""
FLUSH_S = 1.0
RETRY_S = 0.1
STDERR = 2

_outlets: list[Outlet] = []


class Outlet:
    """Writes lines in the order they came, until the process ends.

    Args:
        write: writes bytes, all of them, waiting as long as it takes. Raises OSError.
        notice: makes a line that says how many were lost.
    """

    def __init__(self, write: Callable[[bytes], None], notice: Callable[[int], str]) -> None:
        self._write, self._notice = write, notice
        self._lines: SimpleQueue[str] = SimpleQueue()  # put() may be interrupted by a signal handler that logs, too
        self._waiting_chars = self._accepted = self._written = self._lost = 0
        self._direct = self._complained = False
        _outlets.append(self)
        in_children(self._become_direct)
        try:
            threading.Thread(target=self._run, name="log", daemon=True).start()
        except RuntimeError:  # no thread can be made
            self._direct = True

    def put(self, line: str) -> None:
        """Take one line, without its end. Never waits, never raises."""
        if len(line) > LINE_CHARS_MAX:
            line = line[:LINE_CHARS_MAX] + " … (cut)"
        if self._direct:
            with suppress(OSError):
                self._write(_encode([line]))
        elif self._waiting_chars + len(line) > WAITING_CHARS_MAX:
            self._lost += 1
        else:
            self._waiting_chars += len(line)
            self._accepted += 1
            self._lines.put(line)

    def flush(self, seconds: float = FLUSH_S) -> bool:
        """Wait until what was taken so far is written, for this long at most; says whether it is."""
        accepted, give_up = self._accepted, time.monotonic() + seconds
        while not self._direct and self._written < accepted:
            if time.monotonic() > give_up:
                return False
            time.sleep(GATHER_S)
        return True

    def _run(self) -> None:
        while True:
            lines = [self._lines.get()]
            time.sleep(GATHER_S)
            with suppress(Empty):
                while len(lines) < GATHER_LINES_MAX:
                    lines.append(self._lines.get_nowait())
            self._write_out(lines)

    def _write_out(self, lines: list[str]) -> None:
        lost = self._lost
        try:
            self._write(_encode(lines))
            if lost and self._lines.empty():
                self._write(_encode([self._notice(lost)]))
                self._lost -= lost
        except OSError as error:
            self._lost += len(lines)
            self._complain(error)
        self._waiting_chars -= sum(map(len, lines))
        self._written += len(lines)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            with suppress(OSError):
                os.write(STDERR, f"taskqueue: the log cannot be written: {error.strerror}; its lines are lost while that lasts\n".encode())

    def _become_direct(self) -> None:
        """A forked child has no writer thread: it writes for itself."""
        self._direct = True


def to_descriptor(descriptor: int) -> Callable[[bytes], None]:
    """Writes to a file descriptor, past the locks of Python's own streams, which a stuck writer would hold."""

    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:  # somebody who shares it made it non-blocking
                select.select([], [descriptor], [], RETRY_S)

    return write


def flush_outlets(seconds: float = FLUSH_S) -> None:
    """Wait until all lines are written, for this long at most."""
    give_up = time.monotonic() + seconds
    for outlet in _outlets:
        outlet.flush(max(0.0, give_up - time.monotonic()))


def _encode(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
