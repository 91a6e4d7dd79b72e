"""Isolation: a task that lost so many workers that one more would make it dead runs alone, so that no neighbour pays for it
and it pays for no neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.task import Claim
from _taskqueue.work.pool import Pool

CLEAR_S = 30.0
"""How long a suspect waits for what runs already; then it runs beside it, and its loss is no proof."""
ALONE_S = 30.0
"""How long the others wait for a suspect; what kills its process does so early, or is not worth more idle slots."""
LOOK_S = 0.01


class Line(Protocol):
    """Where a suspect came from."""

    @property
    def runs(self) -> Container[bytes]: ...

    async def start(self, task_id: bytes, *, alone: bool) -> bool: ...


class Isolation:
    """Runs one suspect at a time, with nothing beside it.

    Args:
        line_of: the line of a queue.
        reopened: called when others may start again.
    """

    def __init__(self, pool: Pool, line_of: Callable[[str], Line], reopened: Callable[[], None]) -> None:
        self.closed = False
        """nothing else may start"""
        self._pool, self._line_of, self._reopened = pool, line_of, reopened
        self._came = anyio.Event()

    def admit(self, suspects: list[Claim]) -> list[Claim]:
        """Take one suspect if there is none yet; gives those to return."""
        if self.closed or not suspects:
            return suspects
        self.closed = True
        self._pool.suspect = suspects[0]
        self._came.set()
        return suspects[1:]

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run what is admitted, until cancelled."""
        while True:
            await self._came.wait()
            self._came = anyio.Event()
            await self._isolate()
            self.closed, self._pool.suspect = False, None
            self._reopened()

    async def _isolate(self) -> None:
        alone = await self._until_clear()
        claim = self._pool.suspect
        if claim is None:
            return
        line = self._line_of(claim.queue)
        ours = await line.start(claim.id, alone=alone)
        if not ours or self._pool.suspect is not claim:  # given back meanwhile
            return
        self._pool.suspect = None
        self._pool.start(claim)
        if not alone:
            return
        with anyio.move_on_after(ALONE_S):
            while claim.id in line.runs:  # noqa: ASYNC110 - for a suspect alone, which is rare
                await anyio.sleep(LOOK_S)
            return
        await line.start(claim.id, alone=False)

    async def _until_clear(self) -> bool:
        with anyio.move_on_after(CLEAR_S):
            while self._pool.busy:
                if self._pool.suspect is None:
                    return False
                await anyio.sleep(LOOK_S)
            return True
        return False
