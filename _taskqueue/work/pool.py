"""The pool: how many attempts run at once, and which claims wait for their turn.

It is a counter and a deque, not a set of coroutines: every attempt gets an asyncio task of its own (:mod:`execution`), and
nothing of a handler's runs in a task that serves another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context

from _taskqueue.domain.task import Claim

TURN = 32
"""Attempts that start in one pass of the event loop: what was written before leaves at its end, and the store works while
the next ones start."""


class Pool:
    """Starts offered claims, ``size`` at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self.finished = 0
        self.buffer: deque[Claim] = deque()
        self.suspect: Claim | None = None
        """waits until it can run alone"""
        self._start: Callable[[Claim], None] = lambda claim: None
        self._loop = asyncio.get_running_loop()
        self._variables = copy_context()
        self._pumping = False
        self._pump_is_due = False

    @property
    def free(self) -> int:
        """Places that neither run a task nor have one waiting; negative while some is prefetched."""
        return self.size - self.busy - len(self.buffer)

    def start_with(self, start: Callable[[Claim], None]) -> None:
        """Name what begins one claim's attempt and returns at once, without raising; the attempt's end calls :meth:`ended`."""
        self._start = start

    def offer(self, claims: Iterable[Claim]) -> None:
        """Queue these claims and start what there is room for."""
        self.buffer.extend(claims)
        self._pump()

    def start(self, claim: Claim) -> None:
        """Start a claim that was not offered, whether or not there is room."""
        self.busy += 1
        self._start(claim)

    def ended(self) -> None:
        """An attempt has ended, or did not begin; the next may."""
        self.busy -= 1
        self.finished += 1
        if self.buffer and not self._pumping:
            self._pump_soon()

    def _pump(self) -> None:
        if self._pumping:  # an attempt that ended while it was started
            return
        self._pumping = True
        try:
            for _ in range(TURN):
                if not self.buffer or self.busy >= self.size:
                    return
                self.busy += 1
                self._start(self.buffer.popleft())
        finally:
            self._pumping = False
        if self.buffer and self.busy < self.size:
            self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pump_is_due:
            self._pump_is_due = True
            self._loop.call_soon(self._pump_now, context=self._variables)

    def _pump_now(self) -> None:
        self._pump_is_due = False
        self._pump()

    def take_back(self, unwanted: Callable[[Claim], bool]) -> list[Claim]:
        """Remove claims that have not begun."""
        back = [claim for claim in self.buffer if unwanted(claim)]
        if back:
            kept = [claim for claim in self.buffer if not unwanted(claim)]
            self.buffer.clear()
            self.buffer.extend(kept)
        if self.suspect is not None and unwanted(self.suspect):
            back.append(self.suspect)
            self.suspect = None
        return back
