"""Reading many tasks: pages of a filtered list, error groups, batches, statistics.

A list merges the state indexes of its queues, each in the order of its own time (when it is due, was claimed, ended), or
walks an index of labels in the order of creation. What no index knows is looked up task by task, within a bound that
the page tells.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import PRIORITY_DEFAULT, FailureSample
from _taskqueue.filters import Filter
from _taskqueue.store import wire
from _taskqueue.store.answers import Sight, pairs, read_looks, score_pairs
from _taskqueue.store.handlers import Handlers
from _taskqueue.store.store import Store

SCAN_MAX = 5_000
SCAN_S = 0.4
"""A page looks at this many tasks, or for this long, whichever ends first."""
CHUNK = 250
RUNNING_MAX = 20_000
AT_ONCE, PAGES_AT_ONCE = 4, 16
"""Queues of one page read at the same time, and pages."""
PREVIEW_BYTES = 4_096

_INDEXES: Mapping[State, tuple[str, ...]] = {
    State.PENDING: ("pending", "unroutable"),
    **{state: (state.value,) for state in (State.SCHEDULED, State.RETRYING, *TERMINAL)},
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a list goes on: after this task."""

    key: float
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks of a list."""

    sights: list[Sight]
    next: Position | None
    scanned: int
    """tasks looked at"""
    complete: bool
    """False: the bound was reached before the page was full; what follows may be more"""


@dataclass(frozen=True, slots=True)
class _Spot:
    key: float
    id: str
    queue: str


@dataclass(slots=True)
class Group:
    """Tasks that fail with the same error now."""

    fingerprint: str
    sample: FailureSample
    queues: dict[str, int] = field(default_factory=dict)
    """queue → how many of its tasks fail with it now"""
    occurrences: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def tasks(self) -> int:
        """How many tasks fail with it now."""
        return sum(self.queues.values())


class Browse:
    """Reads of many tasks at once. Every method may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store, self._handlers = store, Handlers(store)
        self._gate = asyncio.Semaphore(PAGES_AT_ONCE)

    async def _hidden(self, wanted: Filter) -> frozenset[str]:
        """Names of tasks whose payloads must not be searched; nobody may guess what nobody may see."""
        if not wanted.words:
            return frozenset()
        found = {name for name, info in (await self._handlers.tasks()).items() if info.redact}
        return frozenset(found | {""} if found else found)

    async def look(self, queue: str, ids: Sequence[str]) -> list[Sight | None]:
        """These tasks of one queue, in order; None for unknown ones."""
        if not ids:
            return []
        return read_looks(ids, queue, await self._store.run("look", queue, wire.CUT_BYTES, *ids))

    async def page(self, wanted: Filter, *, descending: bool, limit: int, after: Position | None) -> Page:
        """The next tasks that the filter means. Some read at a time, the others wait: workers need connections too."""
        async with self._gate:
            return await self._page(wanted, descending, limit, after)

    async def _page(self, wanted: Filter, descending: bool, limit: int, after: Position | None) -> Page:
        queues = [queue for queue in await self._store.queues() if not wanted.queues or queue in wanted.queues]
        found: list[Sight] = []
        hidden = await self._hidden(wanted)
        scanned, give_up, at = 0, time.monotonic() + SCAN_S, after
        chunk = min(CHUNK, limit + 1) if _is_indexed(wanted) else CHUNK
        while True:
            spots = await self._spots(wanted, queues, descending, chunk, at)
            for spot, sight in zip(spots, await self._look_all(spots), strict=True):
                if len(found) == limit:
                    return Page(found, at, scanned, complete=True)
                scanned += 1
                at = Position(spot.key, spot.id)
                if sight is not None and matches(sight, wanted, hidden):
                    found.append(sight)
            if len(spots) < chunk:
                return Page(found, None, scanned, complete=True)
            if scanned >= SCAN_MAX or time.monotonic() > give_up:
                return Page(found, at, scanned, complete=False)

    async def _look_all(self, spots: Iterable[_Spot]) -> list[Sight | None]:
        by_queue: dict[str, list[str]] = defaultdict(list)
        order = list(spots)
        for spot in order:
            by_queue[spot.queue].append(spot.id)
        seen: dict[str, Sight | None] = {}
        for queue, ids in by_queue.items():
            seen.update(zip(ids, await self.look(queue, ids), strict=True))
        return [seen[spot.id] for spot in order]

    async def _spots(self, wanted: Filter, queues: Sequence[str], descending: bool, limit: int, after: Position | None) -> list[_Spot]:
        """The next places of the merged indexes."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def read(queue: str) -> list[_Spot]:
            async with gate:
                if wanted.labels:
                    return await self._labelled(queue, wanted.labels, descending, limit, after)
                return await self._indexed(queue, wanted.states or tuple(State), descending, limit, after)

        parts = await asyncio.gather(*map(read, queues))
        merged = sorted((spot for part in parts for spot in part), key=lambda spot: (spot.key, spot.id), reverse=descending)
        return list({spot.id: spot for spot in merged}.values())[:limit]

    async def _labelled(self, queue: str, labels: Iterable[str], descending: bool, limit: int, after: Position | None) -> list[_Spot]:
        index = self._store.key("labels", queue)
        spots = []
        for label in labels:
            low, high = f"[{label}\0", f"[{label}\0\xff"
            if after is not None:
                low, high = (low, f"({label}\0{after.id}") if descending else (f"({label}\0{after.id}", high)
            ends = (high, low, "BYLEX", "REV") if descending else (low, high, "BYLEX")
            members = await self._store.command("labels", "ZRANGE", index, *ends, "LIMIT", 0, limit)
            spots += [_Spot(0.0, member.rpartition(b"\0")[2].decode(), queue) for member in members]
        return spots

    async def _indexed(self, queue: str, states: Iterable[State], descending: bool, limit: int, after: Position | None) -> list[_Spot]:
        states = set(states)
        names = [name for state, indexes in _INDEXES.items() if state in states for name in indexes]
        spots: list[_Spot] = []
        if names:
            args = [part for name in names for part in (name, *self._begin(name, after))]
            lists = await self._store.run("page", queue, int(descending), limit, *args)
            for name, flat in zip(names, lists, strict=True):
                offset = self._offset(name)
                spots += [_Spot(float(score) + offset, task_id.decode(), queue) for task_id, score in pairs(flat)]
        if State.RUNNING in states:
            spots += await self._running(queue, descending, after)
        return spots

    def _offset(self, index: str) -> float:
        """Makes the scores of an index times, so that indexes can be merged: exact for the default priority."""
        return PRIORITY_DEFAULT * self._store.head_start_ms if index == "pending" else 0.0

    def _begin(self, index: str, after: Position | None) -> tuple[str, str]:
        return ("", "") if after is None else (repr(after.key - self._offset(index)), after.id)

    async def _running(self, queue: str, descending: bool, after: Position | None) -> list[_Spot]:
        spots: list[_Spot] = []
        cursor = 0
        while True:
            cursor, page = await self._store.running(queue, cursor)
            spots += [_Spot(held.claimed_ms, held.id.decode(), queue) for held in page]
            if not cursor or len(spots) > RUNNING_MAX:
                break
        if after is None:
            return spots
        here = (after.key, after.id)
        return [spot for spot in spots if ((spot.key, spot.id) < here if descending else (spot.key, spot.id) > here)]

    # -- groups -----------------------------------------------------------------------------------------------------

    async def failures(self, queues: Sequence[str] = ()) -> list[Group]:
        """Error groups that have tasks now, the latest first."""
        groups: dict[str, Group] = {}
        for queue in await self._store.queues():
            if not queues or queue in queues:
                await self._read_groups(queue, groups)
        return sorted((group for group in groups.values() if group.tasks), key=lambda group: group.last_ms, reverse=True)

    async def _read_groups(self, queue: str, groups: dict[str, Group]) -> None:
        times = score_pairs(await self._store.command("failing", "ZRANGE", self._store.key("failing", queue), 0, -1, "WITHSCORES"))
        if not times:
            return
        fields = dict(pairs(await self._store.command("failures", "HGETALL", self._store.key("failures", queue))))
        for print_, last_ms in times:
            name, sample = print_.decode(), fields.get(print_)
            if sample is None:
                continue
            group = groups.setdefault(name, Group(name, msgspec.json.decode(sample, type=FailureSample)))
            group.queues[queue] = await self._labelled_count(queue, f"f:{name}")
            group.occurrences += int(fields.get(print_ + b":count", 0))
            first_ms = int(fields.get(print_ + b":first", 0))
            group.first_ms = min(group.first_ms or first_ms, first_ms)
            group.last_ms = max(group.last_ms, int(last_ms))

    async def _labelled_count(self, queue: str, label: str) -> int:
        index = self._store.key("labels", queue)
        return int(await self._store.command("labels", "ZLEXCOUNT", index, f"[{label}\0", f"[{label}\0\xff"))

    async def batch(self, batch: str) -> dict[str, int] | None:
        """Counts of a batch over all queues: total, kept, and per terminal state; None when it is unknown."""
        names = ("total", "kept", "removed", *(state.value for state in TERMINAL))
        sums: dict[str, int] = dict.fromkeys(names, 0)
        for queue in await self._store.queues():
            counts = await self._store.command("batch", "HMGET", self._store.key("batches", queue), *(f"{batch}|{name}" for name in names))
            for name, count in zip(names, counts, strict=True):
                sums[name] += int(count or 0)
        return sums if sums["total"] else None

    # -- statistics -------------------------------------------------------------------------------------------------

    async def series(
        self, queues: Iterable[str], names: Sequence[str], periods: Sequence[Sequence[str]]
    ) -> dict[str, dict[str, list[int]]]:
        """Counts per queue and series, one for each period; a period is a list of fields such as ``m29123456``."""
        found: dict[str, dict[str, list[int]]] = {}
        flat = [period for group in periods for period in group]
        for queue in queues:
            fields = [f"{period}:{name}" for name in names for period in flat]
            values = iter(await self._store.command("stats", "HMGET", self._store.key("stats", queue), *fields)) if fields else iter(())
            found[queue] = {name: [sum(int(next(values) or 0) for _ in group) for group in periods] for name in names}
        return found

    # -- the text of one task ---------------------------------------------------------------------------------------

    async def log(self, queue: str, task_id: str, number: int) -> str:
        """What one attempt has logged so far."""
        text: bytes | None = await self._store.command("log", "HGET", self._store.key("logs", queue), f"{task_id}:{number}")
        return (text or b"").decode(errors="replace")


def _is_indexed(wanted: Filter) -> bool:
    """Whether every task at the places read is one that the filter means."""
    plain = Filter(states=wanted.states, queues=wanted.queues)
    return wanted == plain or (not wanted.states and wanted == msgspec.structs.replace(plain, fingerprints=wanted.fingerprints))


def matches(sight: Sight, wanted: Filter, hidden: frozenset[str] = frozenset()) -> bool:
    """Whether a filter means this task; payloads of hidden tasks are not searched."""
    record = sight.record
    created_ms = sight.created_ms
    return (
        (not wanted.states or sight.state in wanted.states)
        and (not wanted.tasks or record.task in wanted.tasks)
        and (not wanted.tags or any(tag in record.tags for tag in wanted.tags))
        and all(record.meta.get(key) in values for key, values in wanted.meta)
        and (not wanted.batches or record.batch in wanted.batches)
        and (not wanted.fingerprints or sight.fingerprint in wanted.fingerprints)
        and (not wanted.workers or worker_of(sight) in wanted.workers)
        and (not wanted.errors or error_type(sight) in wanted.errors)
        and (wanted.created_after_ms is None or created_ms >= wanted.created_after_ms)
        and (wanted.created_before_ms is None or created_ms < wanted.created_before_ms)
        and (not wanted.words or _holds(sight, wanted.words, sight.record.task in hidden))
    )


def worker_of(sight: Sight) -> str:
    """The process that runs it, ran it to its end, or tried it last."""
    if sight.held:
        return sight.held.worker
    if sight.outcome:
        return sight.outcome.worker
    return sight.attempts[-1].worker if sight.attempts else ""


def error_type(sight: Sight) -> str:
    """The type of the error it ended or was tried last with."""
    failure = sight.outcome.failure if sight.outcome else sight.attempts[-1].failure if sight.attempts else None
    return failure.type if failure else ""


def _holds(sight: Sight, words: Iterable[str], is_hidden: bool) -> bool:
    record = sight.record
    failure = sight.outcome.failure if sight.outcome else sight.attempts[-1].failure if sight.attempts else None
    texts = [sight.id, record.task, sight.queue, *record.tags, *record.meta.values()]
    if failure:
        texts += (failure.type, failure.message)
    if not is_hidden:
        texts.append(record.payload[:PREVIEW_BYTES].decode(errors="replace"))
    text = "\n".join(texts).lower()
    return all(word in text for word in words)
