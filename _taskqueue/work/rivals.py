"""Workers of another release: a payload that one cannot read another may, while both run side by side."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.task import Record
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import AnyTask

Named = tuple[bytes, Record]
"""A task's id and record."""
REMEMBERED_S = 1.0
"""How long what the workers told last is believed: a burst of misfits asks once."""
ELSEWHERE_S = 5.0
"""How often held tasks that may fit another worker are looked at again: that one may have gone."""
SIGNATURE_CHARS = 12


def signature_id(spec: AnyTask) -> str:
    """The same for all workers that read a task's payload alike."""
    return hashlib.sha256(msgspec.json.encode(spec.signature.schema)).hexdigest()[:SIGNATURE_CHARS]


class Rivals:
    """What other workers may make of a payload.

    Args:
        own: task → the signature by which this worker reads it.
        default: the task of submissions that name none.
    """

    def __init__(self, store: Store, own: Mapping[str, str], default: str) -> None:
        self._store, self._own, self._default = store, own, default
        self._beats: list[Beat] = []
        self._asked_at = -REMEMBERED_S
        self._asking = asyncio.Lock()

    async def may_fit(self, queue: str, task_id: bytes, task: str) -> bool:
        """Whether a live worker reads the payload in a way that has not been tried on it. Raises StoreError."""
        await self._ask()
        others = self._others(queue, task)
        if not others:
            return False
        (tried,) = await self._store.unfit(queue, [task_id])
        return bool(others - tried)

    async def sort(self, queue: str, tasks: Sequence[Named]) -> tuple[list[Named], list[Named], list[Named]]:
        """Held tasks that anybody may take, those that this worker should, and those that may fit elsewhere. Raises StoreError."""
        tried = await self._store.unfit(queue, [task_id for task_id, _ in tasks])
        anybodys, mine, elsewhere = list[Named](), list[Named](), list[Named]()
        if any(tried):
            await self._ask()
        for one, before in zip(tasks, tried, strict=True):
            name = one[1].task or self._default
            if not before:
                anybodys.append(one)
            elif self._own.get(name) in before and self._others(queue, name) - before:
                elsewhere.append(one)
            else:
                mine.append(one)
        return anybodys, mine, elsewhere

    async def _ask(self) -> None:
        async with self._asking:
            if time.monotonic() - self._asked_at >= REMEMBERED_S:
                self._beats = await self._store.live_beats()
                self._asked_at = time.monotonic()

    def _others(self, queue: str, task: str) -> set[str]:
        found = {beat.signatures.get(task, "") for beat in self._beats if queue in beat.queues}
        return found - {"", self._own.get(task, "")}


class Informed(Protocol):
    """Who knows the other workers."""

    @property
    def rivals(self) -> Rivals: ...


class Elsewhere:
    """The held tasks of one queue that did not fit here."""

    def __init__(self, store: Store, queue: str, crew: Informed) -> None:
        self._store, self._queue, self._crew = store, queue, crew
        self._left: list[Named] = []
        self._looked_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether there is something to look at again."""
        return bool(self._left) and time.monotonic() - self._looked_at > ELSEWHERE_S

    async def take(self, tasks: Sequence[Named]) -> int:
        """Make pending what fits here, or nobody; gives how many. Raises StoreError."""
        if not tasks:
            return 0
        anybodys, mine, self._left = await self._crew.rivals.sort(self._queue, tasks)
        self._looked_at = time.monotonic()
        if anybodys:
            await self._store.adopt(self._queue, anybodys)
        if mine:  # whom it did not fit would be as quick as this worker
            await self._store.adopt(self._queue, mine, quietly=True)
        return len(anybodys) + len(mine)

    async def look_again(self) -> int:
        """Take what fits nobody else any more. Raises StoreError."""
        left, self._left = self._left, []
        return await self.take(await self._store.still_held(self._queue, left))
