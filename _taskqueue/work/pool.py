"""The slots: a fixed number of coroutines that take claims from one deque.

Parked futures and a deque cost 0.6 µs a task; an anyio memory stream costs 10, a task group entry 11. So anyio starts and
stops the slots, and stays out of the path of a task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus

from _taskqueue.domain.task import Claim

TURN = 32
"""Tasks a slot may finish in a row before it lets others run."""


Execute = Callable[[Claim, anyio.CancelScope], Awaitable[None]]


class Pool:
    """Runs offered claims, ``size`` at a time.

    Args:
        execute: runs one claim to its settlement; must not raise. Cancelling the scope it gets stops that claim's
            handler and nothing else: a slot keeps its scope from task to task, since a fresh one costs 4 µs, and takes
            a new one as soon as it was used.
    """

    def __init__(self, size: int, execute: Execute) -> None:
        self.size = size
        self.busy = 0
        self.finished = 0
        self.buffer: deque[Claim] = deque()
        self.suspect: Claim | None = None
        """waits until it can run alone"""
        self._execute = execute
        self._idle: list[asyncio.Future[None]] = []

    @property
    def free(self) -> int:
        """Slots that neither run a task nor have one waiting; negative while some is prefetched."""
        return self.size - self.busy - len(self.buffer)

    def offer(self, claims: Iterable[Claim]) -> None:
        """Queue these claims and wake a slot, which wakes the next."""
        self.buffer.extend(claims)
        self._wake_one()

    def _wake_one(self) -> None:
        """Slots wake one another, one a turn, so that a pass of the event loop never runs a whole batch: what was written
        before leaves at its end, and the store works while the slots do.
        """
        while self._idle:
            future = self._idle.pop()
            if not future.done():
                future.set_result(None)
                return

    def take_back(self, unwanted: Callable[[Claim], bool]) -> list[Claim]:
        """Remove claims that have not begun."""
        back = [claim for claim in self.buffer if unwanted(claim)]
        kept = [claim for claim in self.buffer if not unwanted(claim)]
        self.buffer.clear()
        self.buffer.extend(kept)
        if self.suspect is not None and unwanted(self.suspect):
            back.append(self.suspect)
            self.suspect = None
        return back

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the slots until cancelled."""
        async with anyio.create_task_group() as group:
            for _ in range(self.size):
                group.start_soon(self._slot)
            task_status.started()

    async def _slot(self) -> None:
        buffer, execute, turn = self.buffer, self._execute, 0
        while True:
            with anyio.CancelScope() as scope:
                while not scope.cancel_called:
                    if not buffer:
                        turn = 0
                        await self._until_woken()
                        continue
                    if not turn % TURN and len(buffer) > 1:
                        self._wake_one()
                    claim = buffer.popleft()
                    self.busy += 1
                    try:
                        await execute(claim, scope)
                    finally:
                        self.busy -= 1
                        self.finished += 1
                    turn += 1
                    if not turn % TURN:
                        await anyio.lowlevel.checkpoint()

    async def _until_woken(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        await future

    async def run_one(self, claim: Claim) -> None:
        """Run a claim that was not offered."""
        self.busy += 1
        try:
            with anyio.CancelScope() as scope:
                await self._execute(claim, scope)
        finally:
            self.busy -= 1
            self.finished += 1
