"""Carries out bulk operations: page by page, at the rate asked for, each page remembered, so that another process can go on."""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.store.answers import Sight
from _taskqueue.store.browse import Browse
from _taskqueue.store.operations import Operation, Operations
from _taskqueue.store.store import Store

LOOK_S = 1.0
PAGE = 200
SLICE_S = 0.5
"""With a rate, a page holds what may be done in this time."""

SOURCES: dict[str, frozenset[State]] = {
    "retry": frozenset({State.RETRYING, State.DEAD, State.CANCELLED, State.EXPIRED}),
    "run": frozenset({State.SCHEDULED, State.RETRYING}),
    "cancel": frozenset({State.SCHEDULED, State.PENDING, State.RETRYING, State.RUNNING}),
    "delete": frozenset(State) - {State.RUNNING, State.BLOCKED},
}
"""Action → the states it applies to; tasks in others are skipped."""

log = logging.getLogger("taskqueue.operations")


async def act(store: Store, action: str, queue: str, tasks: list[tuple[str, int]], *, reset: bool) -> tuple[int, int]:
    """One action on tasks (id, priority) of one queue; gives how many it was done to, and how many it did not fit. Raises StoreError."""
    sources = SOURCES[action]
    ids = [task_id for task_id, _ in tasks]
    if action in ("retry", "run"):
        ends = await store.retry(queue, tasks, sources, reset=reset)
        return sum(done for _, done in ends), sum(not done for _, done in ends)
    if action == "cancel":
        was = await store.cancel(queue, *ids)
    else:
        was = await store.remove(queue, *ids)
    done = sum(state in sources for state in was)
    return done, len(was) - done


class Operator:
    """Runs in any number of processes; one at a time has an operation in hand."""

    def __init__(self, store: Store, stopping: anyio.Event, clock: Callable[[], float] = time.time) -> None:
        self._store, self._stopping, self._clock = store, stopping, clock
        self._operations, self._browse = Operations(store), Browse(store)
        self._name = secrets.token_hex(8)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look for operations until the process stops."""
        task_status.started()
        while not self._stopping.is_set():
            try:
                for operation_id in await self._operations.under_way():
                    await self._carry_out(operation_id)
            except StoreError as error:
                log.debug("operations wait: %s", error)
            await self._pause(LOOK_S)

    async def _carry_out(self, operation_id: str) -> None:
        while not self._stopping.is_set():
            operation = await self._operations.take(operation_id, self._name)
            if operation is None or operation.ended:
                break
            stopped = await self._operations.is_stopped(operation_id)
            if stopped or await self.step(operation):
                await self._end(operation, "stopped" if stopped else "finished")
                break
            if operation.rate_s:
                await self._pause(_page_size(operation) / operation.rate_s)

    async def step(self, operation: Operation) -> bool:
        """Do one page; True when that was the last. Raises StoreError."""
        page = await self._browse.page(operation.filter, descending=False, limit=_page_size(operation), after=operation.position)
        meant = [sight for sight in page.sights if not _came_later(sight, operation.created_ms)]
        for queue, sights in _by_queue(meant).items():
            tasks = [(sight.id, sight.record.priority) for sight in sights]
            done, skipped = await act(self._store, operation.action, queue, tasks, reset=operation.reset_attempts)
            operation.done += done
            operation.skipped += skipped
        if page.next is not None:
            operation.key, operation.last_id = page.next.key, page.next.id
        await self._operations.save(operation)
        return page.next is None

    async def _end(self, operation: Operation, state: str) -> None:
        operation.state = "stopped" if state == "stopped" else "finished"
        operation.finished_ms = int(self._clock() * 1000)
        await self._operations.save(operation)
        log.info(
            "operation %s %s: %s of %d tasks, %d skipped", operation.id, state, operation.action, operation.done, operation.skipped,
            extra={"event": "operation.ended"},
        )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stopping.wait()


def _page_size(operation: Operation) -> int:
    return PAGE if not operation.rate_s else max(1, min(PAGE, int(operation.rate_s * SLICE_S)))


def _came_later(sight: Sight, since_ms: int) -> bool:
    """It got into its state after the operation began: what was retried and failed again is not retried for ever."""
    if sight.state in TERMINAL:
        return (sight.score or 0) > since_ms
    if sight.state is State.RETRYING and sight.attempts:
        return sight.attempts[-1].started_ms > since_ms
    return False


def _by_queue(sights: list[Sight]) -> dict[str, list[Sight]]:
    found: dict[str, list[Sight]] = defaultdict(list)
    for sight in sights:
        found[sight.queue].append(sight)
    return found
