"""The producer side: submit, look, cancel, wait. Used by the API and by handlers that submit more tasks.

Submissions that arrive while a call to the store is in flight share the next one, so the round trip is paid once for
many. Whoever submits only waits for a future: a caller that goes away harms nobody, and its task is accepted or not as a
whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import KeyHeld, QueueFull, Refusal, StoreError, StoreUnavailable
from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import QUEUE_DEFAULT, Submission, TaskInfo
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Denial, Sight
from _taskqueue.store.store import SUBMIT_MAX, Store
from _taskqueue.tasks.binding import encode_json
from _taskqueue.tasks.discovery import Registry
from _taskqueue.terms import FieldError, PayloadTooLarge, TermsError, read_submission, unknown_fields

CALL_BYTES_MAX = 2 * 1024 * 1024
WAITING_BYTES_MAX = 128 * 1024 * 1024
"""Payloads in memory on their way to the store; beyond that submissions are refused at once."""
SUBMIT_S = 0.9
"""A submission is answered within this time, whatever the store does …"""
DURABLE_S = 3.0
"""… or within this, when more is to be waited for than its memory."""
RETRY_S = 0.05
LOOK_FIRST_S, LOOK_MAX_S = 0.02, 0.5

log = logging.getLogger("taskqueue.producer")


End = str | StoreError | Refusal
"""What became of a submission: the id of the task that stands for it, or why there is none."""


class Existing(str):
    """The id of a task that stood for a submission already, so nothing new was stored: it holds, or held, the unique key."""

    __slots__ = ("held",)

    def __new__(cls, held: KeyHeld) -> Existing:
        """What stands for it, told as a submission that insists would be told."""
        existing = super().__new__(cls, held.holder)
        existing.held = held
        return existing

    held: KeyHeld


class Parcel:
    """Submissions that go together, and the future of who waits for them; a future for each would cost more than storing it."""

    __slots__ = ("bytes", "items", "keys", "stored")

    def __init__(self, items: list[tuple[str, Submission]]) -> None:
        self.items = items
        self.bytes = sum(len(submission.record.payload) for _, submission in items)
        self.keys = {submission.unique.key for _, submission in items if submission.unique}
        self.stored: asyncio.Future[list[End]] = asyncio.get_running_loop().create_future()


class Lane:
    """The submissions of one queue and one level of durability on their way to the store, in order."""

    def __init__(self, queue: str, level: Durability, store: Store, on_stored: Callable[[str], None]) -> None:
        self.queue, self.level = queue, level
        self.bytes = 0
        self._store = store
        self._on_stored = on_stored
        self._waiting: deque[Parcel] = deque()
        self._wake = asyncio.Event()

    def add(self, items: list[tuple[str, Submission]]) -> Parcel:
        """Queue some; the parcel's future gives their ends."""
        parcel = Parcel(items)
        self._waiting.append(parcel)
        self.bytes += parcel.bytes
        self._wake.set()
        return parcel

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._send(self._next_batch())
        finally:
            self._finish(self._waiting, StoreUnavailable("this process is stopping"))

    def _next_batch(self) -> list[Parcel]:
        """As many as one call takes; two with the same unique key go one after the other, so that the second meets the first."""
        batch = [self._waiting.popleft()]
        count, size, keys = len(batch[0].items), batch[0].bytes, set(batch[0].keys)
        while self._waiting:
            parcel = self._waiting[0]
            count, size = count + len(parcel.items), size + parcel.bytes
            if count > SUBMIT_MAX or size > CALL_BYTES_MAX or keys & parcel.keys:
                break
            keys |= parcel.keys
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[Parcel]) -> None:
        end: dict[str, Denial] | StoreError = StoreUnavailable("this process is stopping")
        try:
            end = await self._store_it([item for parcel in batch for item in parcel.items])
        finally:
            self._finish(batch, end)
        if isinstance(end, dict):
            self._on_stored(self.queue)

    async def _store_it(self, batch: Sequence[tuple[str, Submission]]) -> dict[str, Denial] | StoreError:
        """Send until it is stored or the time is up; sending the same ids again changes nothing."""
        error: StoreError = StoreUnavailable("the store did not answer in time")
        with suppress(TimeoutError):
            async with asyncio.timeout(_patience_s(self.level)):  # half of what anyio's costs, once for each call
                while True:
                    try:
                        return await self._store.submit(self.queue, batch, self.level)
                    except StoreUnavailable as passing:
                        error = passing
                        await anyio.sleep(RETRY_S)
                    except StoreError as final:
                        return final
        return error

    def _finish(self, batch: Iterable[Parcel], end: dict[str, Denial] | StoreError) -> None:
        for parcel in batch:
            self.bytes -= parcel.bytes
            if parcel.stored.done():
                continue
            if not isinstance(end, dict):
                parcel.stored.set_result([end] * len(parcel.items))
            elif end:
                parcel.stored.set_result([self._read(task_id, end.get(task_id)) for task_id, _ in parcel.items])
            else:
                parcel.stored.set_result([task_id for task_id, _ in parcel.items])

    def _read(self, task_id: str, denial: Denial | None) -> End:
        if denial is None:
            return task_id
        if denial.why == "full":
            return QueueFull(self.queue)
        held = _held(denial)
        return Existing(held) if denial.why == "duplicate" else held


def _held(denial: Denial) -> KeyHeld:
    until = ""
    if denial.until_ms is not None:
        until = datetime.fromtimestamp(denial.until_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    over = denial.state is None or denial.state in TERMINAL
    return KeyHeld(denial.holder, denial.state.value if denial.state else "", until, over=over)


def _patience_s(level: Durability) -> float:
    return SUBMIT_S if level is Durability.PRIMARY else DURABLE_S


def _by_queue(submissions: Sequence[Submission]) -> dict[str, list[int]]:
    """Queue → the places of its submissions."""
    found: dict[str, list[int]] = {}
    for at, submission in enumerate(submissions):
        found.setdefault(submission.queue, []).append(at)
    return found


def _portions(submissions: Sequence[Submission]) -> Iterator[list[Submission]]:
    """Parts that one call takes: so many, so large, and no unique key twice."""
    part: list[Submission] = []
    size, keys = 0, set[str]()
    for one in submissions:
        size += len(one.record.payload)
        again = one.unique is not None and one.unique.key in keys
        if part and (len(part) == SUBMIT_MAX or size > CALL_BYTES_MAX or again):
            yield part
            part, size, keys = [], len(one.record.payload), set()
        part.append(one)
        if one.unique is not None:
            keys.add(one.unique.key)
    if part:
        yield part


class Producer:
    """Producer side of one process.

    Args:
        registry: the tasks this process knows; tells the queue that a task declares.
        clock_ms: milliseconds since 1970; None takes the store's own clock, from which all other times of a task are.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        registry: Registry,
        payload_bytes_max: int,
        durability: Durability = Durability.PRIMARY,
        clock_ms: Callable[[], int] | None = None,
    ) -> None:
        self.payload_bytes_max = payload_bytes_max
        self.on_news: Callable[[str], None] = lambda queue: None
        """called with a queue's name when something there may be claimed or cancelled"""
        self._store, self._metrics, self._registry = store, metrics, registry
        self._clock_ms = clock_ms or store.clock.now_ms
        self._mint = IdMint(self._clock_ms, os.urandom)
        self.default_task = ""
        """the name of submissions that give none; empty leaves it to the worker"""
        self.durability = durability
        """what is waited for when a submission does not say"""
        self._lanes: dict[tuple[str, Durability], Lane] = {}
        self._group: TaskGroup | None = None
        self._variables = copy_context()

    def own_tasks(self) -> dict[str, TaskInfo]:
        """The tasks this process knows, by name."""
        return {name: spec.describe() for name, spec in self._registry.tasks.items()}

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry submissions to the store until cancelled."""
        try:
            self._variables = copy_context()
            async with anyio.create_task_group() as self._group:
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._group = None
            self._lanes.clear()

    # -- submitting -------------------------------------------------------------------------------------------------

    def read(self, fields: Mapping[str, Any], payload: bytes, is_text: bool) -> Submission:
        """A submission from the fields of a request. Raises TermsError."""
        if len(payload) > self.payload_bytes_max:
            detail = f"has {len(payload)} bytes, more than the limit of {self.payload_bytes_max} (--max-payload)"
            raise PayloadTooLarge([FieldError("payload", "payload_too_large", detail)])
        if self.default_task and not fields.get("task"):
            fields = {**fields, "task": self.default_task}
        spec = self._registry.tasks.get(str(fields.get("task") or self._registry.default))
        queue = spec.queue if spec is not None else QUEUE_DEFAULT
        return read_submission(fields, payload, is_text, queue_default=queue)

    async def new_id(self, queue: str) -> str:
        """A fresh task id for this queue. Raises StoreError."""
        return self._mint.mint(await self._store.route(queue))

    async def submit(self, submission: Submission, task_id: str = "", level: Durability | None = None) -> str:
        """As offer, but gives the bare id."""
        return str(await self.offer(submission, task_id, level))

    async def offer(self, submission: Submission, task_id: str = "", level: Durability | None = None) -> str:
        """Accept one task; gives its id when the store has it, or as Existing the id of the task that holds its unique key.

        Args:
            task_id: an id of the queue's that was minted before; submitting it again changes nothing.
            level: how safe it must be when this returns; None takes this process' own.

        Raises:
            StoreError: it may have been stored or not.
            Refusal: it was not.
        """
        level = level or self.durability
        lane = await self._lane(submission.queue, level)
        task_id = task_id or self._mint.mint(await self._store.route(submission.queue))
        (end,) = await self._stored([lane.add([(task_id, submission)])], level)
        if isinstance(end, str):
            return end
        raise end

    async def submit_many(self, submissions: Sequence[Submission], ids: Sequence[str] = (), level: Durability | None = None) -> list[End]:
        """Accept many; gives what became of each, in order."""
        level = level or self.durability
        places: list[int] = []
        parcels: list[Parcel] = []
        for queue, positions in _by_queue(submissions).items():
            lane, route = await self._lane(queue, level), await self._store.route(queue)
            names = iter([ids[at] for at in positions] if ids else self._mint.mint_many(route, len(positions)))
            places += positions
            portions = _portions([submissions[at] for at in positions])
            parcels += [lane.add([(next(names), one) for one in part]) for part in portions]
        ends: list[Any] = [None] * len(submissions)
        for place, end in zip(places, await self._stored(parcels, level), strict=True):
            ends[place] = end
        return ends

    async def _stored(self, parcels: list[Parcel], level: Durability) -> list[End]:
        """The ends of all that is in these parcels, in order."""
        if parcels:
            await asyncio.wait([parcel.stored for parcel in parcels], timeout=_patience_s(level))
        ends: list[End] = []
        for parcel in parcels:
            if parcel.stored.done():
                found = parcel.stored.result()
            else:  # it may still be stored: the outcome is unknown, as with any lost answer
                found = [StoreUnavailable("the store did not answer in time")] * len(parcel.items)
            ends += found
            self._count_new(parcel.items, found)
        return ends

    def _count_new(self, items: list[tuple[str, Submission]], ends: list[End]) -> None:
        for (task_id, submission), end in zip(items, ends, strict=True):
            if end == task_id:
                self._count(submission)

    def _count(self, submission: Submission) -> None:
        self._metrics.submissions(submission.queue, submission.record.task or self._registry.default).observe(
            len(submission.record.payload)
        )

    async def _lane(self, queue: str, level: Durability) -> Lane:
        if self._group is None:
            raise StoreUnavailable("this process is starting or stopping")
        if sum(lane.bytes for lane in self._lanes.values()) > WAITING_BYTES_MAX:
            raise StoreUnavailable("too many submissions wait for the store; slow down")
        found = self._lanes.get((queue, level))
        if found is None:
            with anyio.move_on_after(SUBMIT_S):
                await self._store.route(queue)
                found = self._lanes.get((queue, level))
                if found is None:
                    found = self._lanes[queue, level] = Lane(queue, level, self._store, self.on_news)
                    self._variables.run(self._group.start_soon, found.run)  # a handler's own would end with it
        if found is None:
            raise StoreUnavailable("the store did not answer in time")
        return found

    async def submit_call(self, task: str, payload: Any, options: Mapping[str, Any]) -> str:
        """``ctx.submit``: any JSON value as payload, options as in ``POST /tasks``. Raises TermsError, StoreError."""
        if isinstance(payload, (str, bytes)):
            return await self._submit_plain(task, payload.encode() if isinstance(payload, str) else payload, True, options)
        return await self._submit_plain(task, encode_json(payload), False, options)

    async def submit_packed(self, task: str, payload: bytes, is_text: bool, options: Mapping[str, Any]) -> str:
        """``ctx.submit`` of a handler in a process of its own. Raises TermsError, StoreError."""
        return await self._submit_plain(task, payload, is_text, options)

    async def submit_task(self, task: str, payload: bytes, is_text: bool, queue: str, options: Mapping[str, Any]) -> str:
        """``spec.enqueue``. Raises TermsError, StoreError."""
        return await self._submit_plain(task, payload, is_text, {"queue": queue, **options})

    async def _submit_plain(self, task: str, payload: bytes, is_text: bool, options: Mapping[str, Any]) -> str:
        if strange := unknown_fields(options):
            raise TermsError(strange)
        return await self.submit(self.read({**options, "task": task}, payload, is_text))

    # -- looking ----------------------------------------------------------------------------------------------------

    async def look(self, task_id: str) -> Sight | None:
        """All there is about a task; None when it is unknown. Raises StoreError."""
        queue = await self._store.queue_of(task_id)
        return await self._store.inspect(queue, task_id) if queue else None

    async def wait(self, task_id: str, states: frozenset[State], timeout_s: float, stopping: anyio.Event) -> Sight | None:
        """Look until the task is in one of these states (or ended), the time is up, or this process stops."""
        give_up = anyio.current_time() + timeout_s
        pause_s = LOOK_FIRST_S
        while True:
            sight = await self.look(task_id)
            left_s = give_up - anyio.current_time()
            if sight is None or sight.state in states | TERMINAL or left_s <= 0 or stopping.is_set():
                return sight
            with anyio.move_on_after(min(pause_s, left_s)):
                await stopping.wait()
            pause_s = min(pause_s * 1.5, LOOK_MAX_S)

    async def cancel(self, task_id: str) -> State | None:
        """Cancel a task; gives the state it was in. Raises StoreError."""
        queue = await self._store.queue_of(task_id)
        if queue is None:
            return None
        (was,) = await self._store.cancel(queue, task_id)
        if was is State.RUNNING:
            self.on_news(queue)
        return was

    def now_ms(self) -> int:
        """The time that new tasks are kept with."""
        return self._clock_ms()

    @property
    def store(self) -> Store:
        """The store behind this producer, for reads of queues."""
        return self._store
