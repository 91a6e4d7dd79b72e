"""The tasks that live workers say they know, as they announced them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import anyio
import msgspec

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.task import TaskInfo
from _taskqueue.store.answers import pairs
from _taskqueue.store.store import Store

FRESH_S, FRESH_EMPTY_S = 5.0, 0.5
"""How long what was read is good; shorter while nobody has told anything yet."""
READ_S = 0.2
"""A store that hangs must not hold up what needs only this."""

_read_info = msgspec.json.Decoder(TaskInfo).decode


class Handlers:
    """Read from the store every few seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.texts: dict[str, bytes] = {}
        self._tasks: dict[str, TaskInfo] = {}
        self._read_at = -FRESH_S

    async def tasks(self) -> Mapping[str, TaskInfo]:
        """By name; what was known before when the store is away."""
        if time.monotonic() - self._read_at > (FRESH_S if self._tasks else FRESH_EMPTY_S):
            self._read_at = time.monotonic()
            found: dict[bytes, bytes] | None = None
            with anyio.move_on_after(READ_S), suppress(StoreError):
                found = dict(pairs(await self._store.command("handlers", "HGETALL", self._store.key("handlers"))))
            if found is None:
                return self._tasks
            texts = {name.decode(): text for name, text in found.items()}
            if texts != self.texts:
                self.texts = texts
                self._tasks = {name: info for name, text in sorted(texts.items()) if (info := _read(text)) is not None}
        return self._tasks


def _read(text: bytes) -> TaskInfo | None:
    try:
        return _read_info(text)
    except msgspec.DecodeError:  # a worker of another version
        return None
