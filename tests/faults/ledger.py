"""What really ran, read from the lines that handlers write themselves.

A line is ``S`` (start) or ``E`` (end), the number of the submission, the attempt, the process, the time in ns: one
``write`` to a file opened for appending, so that it outlives a kill -9 and no two mix.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

SETTLING_S = 0.1
"""A run that ended this shortly before its process died may not have told the store: it counts as in flight."""


class Entry(NamedTuple):
    """One line."""

    what: str
    number: int
    attempt: int
    pid: int
    at: float
    """seconds since 1970"""


class Ledger:
    """The file of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._offset = 0
        self._entries: list[Entry] = []

    def entries(self) -> list[Entry]:
        """Every line so far; only what is new is read."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._entries += [_read(line) for line in whole.splitlines()]
        return self._entries

    def finished(self) -> set[int]:
        """The submissions of which a run reached its end."""
        return {entry.number for entry in self.entries() if entry.what == "E"}

    def runs(self) -> Counter[int]:
        """How often each submission was started."""
        return Counter(entry.number for entry in self.entries() if entry.what == "S")

    def duplicates(self) -> int:
        """Runs beyond the first of each submission."""
        return sum(count - 1 for count in self.runs().values())

    def in_flight(self, pid: int) -> set[int]:
        """What ran in a process that is dead now when it died."""
        open_since: dict[int, float] = {}
        last = 0.0
        for entry in self.entries():
            if entry.pid == pid:
                last = entry.at
                open_since.setdefault(entry.number, entry.at)
                if entry.what == "E":
                    open_since[entry.number] = -entry.at
        return {number for number, since in open_since.items() if since > 0 or last + since < SETTLING_S}

    def back_after(self, numbers: Iterable[int], at: float) -> float | None:
        """Seconds from a moment to the last of the first new starts of these submissions; None while one is missing."""
        wanted, starts = set(numbers), dict[int, float]()
        for entry in self.entries():
            if entry.what == "S" and entry.at > at and entry.number in wanted:
                starts.setdefault(entry.number, entry.at)
        if wanted - starts.keys() - self.finished():
            return None
        return max((moment - at for moment in starts.values()), default=0.0)

    def first_end_after(self, at: float) -> float | None:
        """Seconds from a moment to the next end of a run."""
        return next((entry.at - at for entry in self.entries() if entry.what == "E" and entry.at > at), None)

    def until_finished(self, numbers: set[int], limit_s: float) -> bool:
        """Wait until all of these have ended; False when the time is up."""
        return until_true(lambda: numbers <= self.finished(), limit_s)

    def until_started(self, count: int, limit_s: float) -> bool:
        """Wait for so many submissions to have been started."""
        return until_true(lambda: len(self.runs()) >= count, limit_s)


def until_true(true: Callable[[], bool], limit_s: float) -> bool:
    """Wait for something to come true; False when the time is up."""
    give_up = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def _read(line: bytes) -> Entry:
    what, number, attempt, pid, at = line.split()
    return Entry(what.decode(), int(number), int(attempt), int(pid), int(at) / 1e9)
