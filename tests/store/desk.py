"""Shorthand for the tests of scripts: put tasks where they are needed, and see where they are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import anyio

from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Ending, Failure, Outcome, Unique, fault_of
from _taskqueue.store import wire
from _taskqueue.store.answers import Answer, Exchange, Sight, pack_number
from _taskqueue.store.store import Store
from tests.conftest import submission

QUEUE = "default"
LEASE = "worker/secret"
ATTEMPT = wire.encode(Attempt(1, Ending.ERROR, 1, 1, "worker", Failure("ValueError", "no")))
OUTCOME = wire.encode(Outcome(1, 1, 1, "worker", b'"done"'))
FAILED = wire.encode(Outcome(1, 1, 1, "worker", None, "attempts", Failure("ValueError", "no")))
FAULT = fault_of("echo", Failure("ValueError", "no"))
WAIT_S = 5.0
STATES = tuple(state for state in State if state is not State.BLOCKED)
"""Those a task can be in."""


class Desk:
    """One queue of a store, with one open lease."""

    def __init__(self, store: Store, new_id: Callable[[], str]) -> None:
        self.store = store
        self._new_id = new_id
        self._elsewhere = IdMint(lambda: int(time.time() * 1000), os.urandom)

    def mint(self, route: int = 1) -> str:
        """A fresh id, of another queue when its route is given."""
        return self._new_id() if route == 1 else self._elsewhere.mint(route)

    async def submit(self, count: int = 1, **terms: Any) -> list[str]:
        """New tasks with these terms; their ids."""
        ids = [self._new_id() for _ in range(count)]
        await self.store.submit(QUEUE, [(task_id, submission(**self.more(terms))) for task_id in ids])
        return ids

    def more(self, terms: dict[str, Any]) -> dict[str, Any]:
        """What a task gets beside what a test asks for: nothing here."""
        return terms

    def everything(self) -> dict[str, Any]:
        """All that can hang on a task, under a unique key of its own."""
        key = f"key {self._new_id()}"
        return {
            "tags": ("a", "b"), "meta": {"who": "me"}, "batch": "b1", "retain_ms": 60_000, "expires_in_ms": 90_000,
            "unique": Unique(key), "unique_key": key,
        }  # fmt: skip

    async def submit_to(self, queue: str, route: int, **terms: Any) -> str:
        """A new task in another queue; its id."""
        task_id = self.mint(route)
        await self.store.submit(queue, [(task_id, submission(**terms))])
        return task_id

    async def call(
        self, limit: int = 0, *, lease: str = LEASE, succeeded: list[Any] | None = None, reports: list[Any] | None = None
    ) -> Answer:
        """One settle_and_claim on a lease that holds."""
        answer = await self.store.settle_and_claim(QUEUE, lease, Exchange(limit, limit, succeeded or [], reports or []))
        assert answer is not None
        return answer

    async def claim(self, limit: int = 100, *, lease: str = LEASE) -> list[str]:
        """Open the lease if need be and claim; the ids, in order."""
        await self.store.open_lease(QUEUE, lease)
        return [claim.id.decode() for claim in (await self.call(limit, lease=lease)).claims]

    async def report(self, verb: str, task_id: str, number: int = 0, first: bytes = b"", second: bytes = b"", fault: str = "") -> Answer:
        """Settle one task with this verb."""
        return await self.call(reports=[verb, task_id, number, first, second, fault])

    async def sight(self, task_id: str) -> Sight:
        """All there is about a task that exists."""
        found = await self.store.inspect(QUEUE, task_id)
        assert found is not None
        return found

    async def state(self, task_id: str) -> State:
        """Where a task stands."""
        return (await self.sight(task_id)).state

    async def in_state(self, state: State, *, fault: str = "", **terms: Any) -> str:
        """A task with these terms in this state; nothing else may be pending."""
        if state is State.SCHEDULED:
            return (await self.submit(delay_ms=60_000, **terms))[0]
        if state is State.EXPIRED:
            (task_id,) = await self.submit(expires_in_ms=1, **terms)
            await until(self.store, task_id, State.EXPIRED)
            return task_id
        (task_id,) = await self.submit(**terms)
        if state is State.PENDING:
            return task_id
        if state is State.CANCELLED:
            await self.store.cancel(QUEUE, task_id)
            return task_id
        assert await self.claim() == [task_id]
        if state is State.SUCCEEDED:
            await self.call(succeeded=[task_id, OUTCOME])
        elif state is State.RETRYING:
            await self.report("retry", task_id, pack_number(60_000, 5), ATTEMPT, fault=fault)
        elif state is State.DEAD:
            await self.report("dead", task_id, 0, ATTEMPT, FAILED, fault)
        return task_id


async def until(store: Store, task_id: str, state: State) -> None:
    """Promote until the task is in this state."""
    with anyio.fail_after(WAIT_S):
        while True:
            await store.promote(QUEUE)
            sight = await store.inspect(QUEUE, task_id)
            if sight is not None and sight.state is state:
                return
            await anyio.sleep(0.002)
