"""The producer side: submit, look, cancel, wait. Used by the API and by handlers that submit more tasks.

Submissions that arrive while a call to the store is in flight share the next one, so the round trip is paid once for
many. Whoever submits only waits for a future: a caller that goes away harms nobody, and its task is accepted or not as a
whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from _taskqueue.domain.errors import KeyHeld, QueueFull, Refusal, StoreError, StoreUnavailable
from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import QUEUE_DEFAULT, Submission
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Denial, Sight
from _taskqueue.store.store import SUBMIT_MAX, Store
from _taskqueue.tasks.binding import encode_json
from _taskqueue.tasks.discovery import Registry
from _taskqueue.terms import FieldError, PayloadTooLarge, TermsError, read_submission, unknown_fields

CALL_BYTES_MAX = 4 * 1024 * 1024
WAITING_BYTES_MAX = 128 * 1024 * 1024
"""Payloads in memory on their way to the store; beyond that submissions are refused at once."""
SUBMIT_S = 0.9
"""A submission is answered within this time, whatever the store does."""
RETRY_S = 0.05
LOOK_FIRST_S, LOOK_MAX_S = 0.02, 0.5

log = logging.getLogger("taskqueue.producer")


Waiting = tuple[str, Submission, asyncio.Future[str]]
"""A task id, its submission, and the future of who waits for it."""


class Lane:
    """The submissions of one queue on their way to the store, in order."""

    def __init__(self, queue: str, store: Store, on_stored: Callable[[str], None]) -> None:
        self.queue = queue
        self.bytes = 0
        self._store = store
        self._on_stored = on_stored
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()

    def add(self, task_id: str, submission: Submission) -> asyncio.Future[str]:
        """Queue one; the future gives the id of the task that stands for it, or StoreError or Refusal."""
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append((task_id, submission, stored))
        self.bytes += len(submission.record.payload)
        self._wake.set()
        return stored

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

    def _next_batch(self) -> list[Waiting]:
        """As many as one call takes; two with the same unique key go one after the other, so that the second meets the first."""
        count, size, keys = 0, 0, set[str]()
        for _, submission, _ in self._waiting[:SUBMIT_MAX]:
            size += len(submission.record.payload)
            if (count and size > CALL_BYTES_MAX) or (submission.unique and submission.unique.key in keys):
                break
            if submission.unique:
                keys.add(submission.unique.key)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _send(self, batch: list[Waiting]) -> None:
        end: dict[str, Denial] | StoreError = StoreUnavailable("this process is stopping")
        try:
            end = await self._store_it([(task_id, submission) for task_id, submission, _ in batch])
        finally:
            self._finish(batch, end)
        if isinstance(end, dict):
            self._on_stored(self.queue)

    async def _store_it(self, batch: Sequence[tuple[str, Submission]]) -> dict[str, Denial] | StoreError:
        """Send until it is stored or the time is up; sending the same ids again changes nothing."""
        error: StoreError = StoreUnavailable("the store did not answer in time")
        with anyio.move_on_after(SUBMIT_S):
            while True:
                try:
                    return await self._store.submit(self.queue, batch)
                except StoreUnavailable as passing:
                    error = passing
                    await anyio.sleep(RETRY_S)
                except StoreError as final:
                    return final
        return error

    def _finish(self, batch: list[Waiting], end: dict[str, Denial] | StoreError) -> None:
        for task_id, submission, stored in batch:
            self.bytes -= len(submission.record.payload)
            if stored.done():
                continue
            if not isinstance(end, dict):
                stored.set_exception(end)
            elif (denial := end.get(task_id)) is None:
                stored.set_result(task_id)
            elif denial.why == "duplicate":
                stored.set_result(denial.holder)
            else:
                stored.set_exception(QueueFull(self.queue) if denial.why == "full" else KeyHeld(denial.holder))


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class Producer:
    """Producer side of one process.

    Args:
        registry: the tasks this process knows; tells the queue that a task declares.
        clock_ms: wall time in milliseconds since 1970.
    """

    def __init__(
        self, store: Store, metrics: Metrics, registry: Registry, payload_bytes_max: int, clock_ms: Callable[[], int] = wall_ms
    ) -> None:
        self.payload_bytes_max = payload_bytes_max
        self.on_news: Callable[[str], None] = lambda queue: None
        """called with a queue's name when something there may be claimed or cancelled"""
        self._store, self._metrics, self._registry, self._clock_ms = store, metrics, registry, clock_ms
        self._mint = IdMint(clock_ms, os.urandom)
        self.default_task = ""
        """the name of submissions that give none; empty leaves it to the worker"""
        self._lanes: dict[str, Lane] = {}
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry submissions to the store until cancelled."""
        try:
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
        return read_submission(fields, payload, is_text, now_ms=self._clock_ms(), queue_default=queue)

    async def new_id(self, queue: str) -> str:
        """A fresh task id for this queue. Raises StoreError."""
        return self._mint.mint(await self._store.route(queue))

    async def submit(self, submission: Submission, task_id: str = "") -> str:
        """Accept one task; gives its id when the store has it, or the id of the task that holds its unique key.

        Args:
            task_id: an id of the queue's that was minted before; submitting it again changes nothing.

        Raises:
            StoreError: it may have been stored or not.
            Refusal: it was not.
        """
        lane = await self._lane(submission.queue)
        task_id = task_id or self._mint.mint(await self._store.route(submission.queue))
        stored = lane.add(task_id, submission)
        await asyncio.wait([stored], timeout=SUBMIT_S)
        end = self._end_of(task_id, submission, stored)
        if isinstance(end, str):
            return end
        raise end

    async def submit_many(self, submissions: Sequence[Submission], ids: Sequence[str] = ()) -> list[str | StoreError | Refusal]:
        """Accept many; gives for each its id, or why it was not stored."""
        added: list[Waiting] = []
        for at, submission in enumerate(submissions):
            lane = await self._lane(submission.queue)
            task_id = ids[at] if ids else self._mint.mint(await self._store.route(submission.queue))
            added.append((task_id, submission, lane.add(task_id, submission)))
        if added:
            await asyncio.wait([stored for _, _, stored in added], timeout=SUBMIT_S)
        return [self._end_of(task_id, submission, stored) for task_id, submission, stored in added]

    def _end_of(self, task_id: str, submission: Submission, stored: asyncio.Future[str]) -> str | StoreError | Refusal:
        if not stored.done():  # it may still be stored: the outcome is unknown, as with any lost answer
            stored.add_done_callback(lambda late: late.exception())
            return StoreUnavailable("the store did not answer in time")
        error = stored.exception()
        if isinstance(error, (StoreError, Refusal)):
            return error
        if stored.result() == task_id:
            self._count(submission)
        return stored.result()

    def _count(self, submission: Submission) -> None:
        self._metrics.submissions(submission.queue, submission.record.task or self._registry.default).observe(
            len(submission.record.payload)
        )

    async def _lane(self, queue: str) -> Lane:
        if self._group is None:
            raise StoreUnavailable("this process is starting or stopping")
        if sum(lane.bytes for lane in self._lanes.values()) > WAITING_BYTES_MAX:
            raise StoreUnavailable("too many submissions wait for the store; slow down")
        found = self._lanes.get(queue)
        if found is None:
            with anyio.move_on_after(SUBMIT_S):
                await self._store.route(queue)
                found = self._lanes.get(queue)
                if found is None:
                    found = self._lanes[queue] = Lane(queue, self._store, self.on_news)
                    self._group.start_soon(found.run)
        if found is None:
            raise StoreUnavailable("the store did not answer in time")
        return found

    async def submit_call(self, task: str, payload: Any, options: Mapping[str, Any]) -> str:
        """``ctx.submit``: any JSON value as payload, options as in ``POST /tasks``. Raises TermsError, StoreError."""
        if isinstance(payload, (str, bytes)):
            return await self._submit_plain(task, payload.encode() if isinstance(payload, str) else payload, True, options)
        return await self._submit_plain(task, encode_json(payload), False, options)

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
        """Wall time, as kept with new tasks."""
        return self._clock_ms()

    @property
    def store(self) -> Store:
        """The store behind this producer, for reads of queues."""
        return self._store
