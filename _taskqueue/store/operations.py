"""Bulk operations in the store: created by the API, carried out page by page by whichever scheduler has one in hand."""

from __future__ import annotations

from typing import Literal

import msgspec

from _taskqueue.filters import Filter
from _taskqueue.store.answers import pairs
from _taskqueue.store.browse import Position
from _taskqueue.store.store import Store

OPERATIONS_MAX = 200
HOLD_MS = 15_000
"""How long a process has an operation in hand after each of its steps."""

Verb = Literal["retry", "run", "cancel", "delete"]


class Operation(msgspec.Struct):
    """One action on many tasks, and how far it is."""

    id: str
    action: Verb
    filter: Filter
    state: Literal["running", "stopping", "stopped", "finished"]
    matched: int
    created_ms: int
    caller: str
    rate_s: float | None = None
    reset_attempts: bool = False
    done: int = 0
    failed: int = 0
    skipped: int = 0
    finished_ms: int = 0
    counted: bool = True
    """False: matched is a lower bound"""
    key: float = 0.0
    last_id: str = ""
    """where it goes on"""

    @property
    def position(self) -> Position | None:
        """After which task it goes on."""
        return Position(self.key, self.last_id) if self.last_id else None

    @property
    def ended(self) -> bool:
        """Nothing more will happen."""
        return self.state in ("stopped", "finished")


class Operations:
    """Every method may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, operation_id: str) -> Operation | None:
        """One operation; None when it is unknown."""
        text = await self._store.command("operations", "HGET", self._store.key("operations"), operation_id)
        return msgspec.json.decode(text, type=Operation) if text else None

    async def all(self) -> list[Operation]:
        """All that are kept, the latest first."""
        found = pairs(await self._store.command("operations", "HGETALL", self._store.key("operations")))
        return sorted((msgspec.json.decode(text, type=Operation) for _, text in found), key=lambda one: one.created_ms, reverse=True)

    async def under_way(self) -> list[str]:
        """Ids of those that have not ended."""
        return sorted(name.decode() for name in await self._store.command("operations", "SMEMBERS", self._store.key("operating")))

    async def create(self, operation: Operation) -> None:
        """Keep a new one, and forget the oldest that have ended."""
        await self.save(operation)
        for old in [one for one in (await self.all())[OPERATIONS_MAX:] if one.ended]:
            await self._store.command("operations", "HDEL", self._store.key("operations"), old.id)

    async def take(self, operation_id: str, operator: str) -> Operation | None:
        """Have it in hand for HOLD_MS; None when another process has, or it is gone."""
        text = await self._store.run("operate", "", operation_id, operator, HOLD_MS)
        return msgspec.json.decode(text, type=Operation) if text else None

    async def save(self, operation: Operation) -> None:
        """Keep how far it is. A request to stop that came meanwhile is not lost: it has a mark of its own."""
        await self._store.run("note", "", operation.id, msgspec.json.encode(operation), int(operation.ended))

    async def stop(self, operation_id: str) -> None:
        """Ask for its end."""
        await self._store.order("operators", f"{operation_id}:stop", "stop")

    async def is_stopped(self, operation_id: str) -> bool:
        """Whether somebody asked for its end."""
        found = await self._store.command("operations", "HGET", self._store.key("operators"), f"{operation_id}:stop")
        return found is not None
