"""Workers of another release: a payload that one cannot read another may, while both run side by side."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

import msgspec

from _taskqueue.domain.beat import Beat
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import AnyTask

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
    """

    def __init__(self, store: Store, own: Mapping[str, str]) -> None:
        self.own = own
        self._store = store
        self._beats: list[Beat] = []
        self._asked_at = -REMEMBERED_S

    async def may_fit(self, queue: str, task_id: bytes, task: str) -> bool:
        """Whether a live worker reads the payload in a way that has not been tried on it. Raises StoreError."""
        if time.monotonic() - self._asked_at >= REMEMBERED_S:
            self._beats = await self._store.live_beats()
            self._asked_at = time.monotonic()
        others = {beat.signatures.get(task, "") for beat in self._beats if queue in beat.queues} - {"", self.own[task]}
        if not others:
            return False
        (tried,) = await self._store.unfit(queue, [task_id])
        return bool(others - tried)
