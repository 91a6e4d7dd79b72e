"""Workers of another release: a payload that one cannot read another may, while both run side by side."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence

import msgspec

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.task import Record
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import AnyTask

Named = tuple[bytes, Record]
"""A task's id and record."""
REMEMBERED_S = 1.0
"""How long what the workers told last is believed: a burst of misfits asks once."""
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

    async def may_fit(self, queue: str, task_id: bytes, task: str) -> bool:
        """Whether a live worker reads the payload in a way that has not been tried on it. Raises StoreError."""
        await self._ask()
        others = self._others(queue, task)
        if not others:
            return False
        (tried,) = await self._store.unfit(queue, [task_id])
        return bool(others - tried)

    async def sort(self, queue: str, tasks: Sequence[Named]) -> tuple[list[Named], list[Named]]:
        """Held tasks that this worker should take, and those that did not fit here and may fit elsewhere. Raises StoreError."""
        tried = await self._store.unfit(queue, [task_id for task_id, _ in tasks])
        if not any(tried):
            return list(tasks), []
        await self._ask()
        mine, elsewhere = list[Named](), list[Named]()
        for one, before in zip(tasks, tried, strict=True):
            name = one[1].task or self._default
            is_elsewhere = self._own.get(name) in before and self._others(queue, name) - before
            (elsewhere if is_elsewhere else mine).append(one)
        return mine, elsewhere

    async def _ask(self) -> None:
        if time.monotonic() - self._asked_at >= REMEMBERED_S:
            self._beats = await self._store.live_beats()
            self._asked_at = time.monotonic()

    def _others(self, queue: str, task: str) -> set[str]:
        found = {beat.signatures.get(task, "") for beat in self._beats if queue in beat.queues}
        return found - {"", self._own.get(task, "")}
