"""Events in the store: what the scripts tell while somebody watches."""

from __future__ import annotations

from dataclasses import dataclass

from _taskqueue.store.store import Store

WATCH_MS = 10_000
READ_MAX = 500
FRESH_S = 0.5
"""How old the list of queues may be: the same for watching and reading, so that none is read that nothing is told of."""


@dataclass(frozen=True, slots=True)
class Event:
    """Tasks of one queue that came into a state."""

    queue: str
    what: str
    """submitted, pending, running, retrying, succeeded, dead, cancelled, expired, removed, progress"""
    count: int
    ids: tuple[str, ...]
    """at most 200 of them"""
    at_ms: int


class EventLog:
    """Reads the events of all queues, each from where it stopped. Every method may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: dict[str, str] = {}
        self.met_a_new_queue = False
        """in the last read; what happened there before is not known"""

    def rest(self) -> None:
        """Nobody watches: begin anew with the next read."""
        self._last.clear()

    async def watch(self) -> None:
        """Let the scripts tell events for the next ten seconds."""
        for queue in await self._store.queues(max_age_s=FRESH_S):
            await self._store.command("watch", "SET", self._store.key("watched", queue), "1", "PX", WATCH_MS)

    async def read(self) -> list[Event]:
        """What came since the last time."""
        found: list[Event] = []
        known = set(self._last)
        queues = await self._store.queues(max_age_s=FRESH_S)
        for queue in queues:
            found += await self._read_queue(queue)
        self.met_a_new_queue = bool(known) and not known.issuperset(queues)
        return found

    async def _read_queue(self, queue: str) -> list[Event]:
        last = self._last.get(queue)
        key = self._store.key("events", queue)
        if last is None:
            newest = await self._store.command("events", "XREVRANGE", key, "+", "-", "COUNT", 1)
            self._last[queue] = newest[0][0].decode() if newest else "0-0"
            return []
        entries = await self._store.command("events", "XRANGE", key, f"({last}", "+", "COUNT", READ_MAX)
        if entries:
            self._last[queue] = entries[-1][0].decode()
        return [_read(queue, entry_id.decode(), flat) for entry_id, flat in entries]

    async def since(self, at_ms: int) -> list[Event] | None:
        """What came after this time; None when some of it may be lost."""
        found: list[Event] = []
        for queue in await self._store.queues(max_age_s=2.0):
            key = self._store.key("events", queue)
            if not await self._store.command("events", "EXISTS", self._store.key("watched", queue)):
                return None
            oldest = await self._store.command("events", "XRANGE", key, "-", "+", "COUNT", 1)
            if oldest and int(oldest[0][0].partition(b"-")[0]) > at_ms:
                return None
            entries = await self._store.command("events", "XRANGE", key, str(at_ms), "+", "COUNT", READ_MAX)
            if len(entries) == READ_MAX:
                return None
            found += [_read(queue, entry_id.decode(), flat) for entry_id, flat in entries]
        return found


def _read(queue: str, entry_id: str, flat: list[bytes] | dict[bytes, bytes]) -> Event:
    fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    ids = tuple(fields[b"ids"].decode().split())
    return Event(queue, fields[b"what"].decode(), int(fields[b"count"]), ids, int(entry_id.partition("-")[0]))
