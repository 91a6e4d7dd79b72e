"""A progress bar on standard error: on a terminal one line that is redrawn, elsewhere a line a step."""

from __future__ import annotations

import sys
import time
from threading import Lock
from typing import TextIO

WIDTH = 30
LABEL_CHARS = 34
MINUTE_S = 60


class Progress:
    """How many of the steps are done, what is at work, and how long the rest may take.

    Args:
        total: number of steps.
    """

    def __init__(self, total: int, out: TextIO = sys.stderr) -> None:
        self._total, self._done, self._out = total, 0, out
        self._began = time.monotonic()
        self._lock = Lock()

    def begin(self, label: str) -> None:
        """Show what is at work."""
        if self._out.isatty():
            with self._lock:
                self._draw(label)

    def end(self, label: str) -> None:
        """One step is done."""
        with self._lock:
            self._done += 1
            self._draw(label)

    def say(self, text: str) -> None:
        """A line above the bar."""
        with self._lock:
            self._out.write(f"{self._start()}{text}\n")

    def close(self) -> None:
        """Leave the bar."""
        if self._out.isatty():
            self._out.write("\n")

    def _start(self) -> str:
        return "\r\x1b[K" if self._out.isatty() else ""

    def _draw(self, label: str) -> None:
        filled = WIDTH * self._done // max(self._total, 1)
        bar = "█" * filled + "░" * (WIDTH - filled)
        end = "" if self._out.isatty() else "\n"
        self._out.write(f"{self._start()}{bar} {self._done}/{self._total} {label:<{LABEL_CHARS}} {self._left()}{end}")
        self._out.flush()

    def _left(self) -> str:
        if not self._done:
            return ""
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        return f"{left / MINUTE_S:.0f} min left" if left > MINUTE_S else f"{left:.0f} s left"
