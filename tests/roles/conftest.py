"""A worker on a real store, for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.life import Life
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.settings import load_settings
from _taskqueue.store.answers import Sight
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import AnyTask, Registry
from _taskqueue.tasks.spec import Hook
from _taskqueue.upkeep.reaper import Reaper
from _taskqueue.work.worker import Worker
from tests.conftest import submission

WAIT_S = 10.0
LOOK_S = 0.005


async def until(predicate: Callable[[], Any]) -> None:
    """Wait until the predicate holds; fails after ten seconds."""
    with anyio.fail_after(WAIT_S):
        while not predicate():
            await anyio.sleep(LOOK_S)


@dataclass
class Bench:
    """One worker at work, and a client to give it tasks."""

    store: Store
    client: Producer
    worker: Worker
    life: Life
    metrics: Metrics
    ended: anyio.Event

    async def submit(self, task: str, payload: bytes = b"hello", **terms: Any) -> str:
        """Submit one task; gives its id."""
        return await self.client.submit(submission(payload, task, **terms))

    async def see(self, task_id: str) -> Sight:
        """The task as the store has it."""
        sight = await self.client.look(task_id)
        assert sight is not None
        return sight

    async def reaches(self, task_id: str, state: State) -> Sight:
        """Wait until the task is in this state; fails when it ends in another, or after ten seconds."""
        with anyio.fail_after(WAIT_S):
            sight = await self.client.wait(task_id, frozenset({state}), WAIT_S, anyio.Event())
        assert sight is not None
        assert sight.state is state, f"{sight.state}: {sight.outcome} {sight.attempts}"
        return sight

    async def run(self, task: str, payload: bytes = b"hello", state: State = State.SUCCEEDED, **terms: Any) -> Sight:
        """Submit a task and wait until it is in this state."""
        return await self.reaches(await self.submit(task, payload, **terms), state)

    async def stop(self) -> None:
        """Let the worker drain, and wait for its end."""
        self.life.stop()
        with anyio.fail_after(WAIT_S):
            await self.ended.wait()


Working = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def working(store: Store, metrics: Metrics, tmp_path: Path) -> Working:
    """``async with working(task, task, hooks=[…], concurrency="1") as bench``: a worker with these tasks."""

    @asynccontextmanager
    async def make(*tasks: AnyTask, hooks: Sequence[Hook] = (), **options: str) -> AsyncIterator[Bench]:
        flags = {"concurrency": "20", "drain-timeout": "5s", "queues": "default", "log-tasks": "errors", "data-dir": str(tmp_path)}
        settings = load_settings(flags | {name.replace("_", "-"): text for name, text in options.items()}, {}).settings
        registry = Registry({one.name: one for one in tasks}, list(hooks))
        client, life, ended = Producer(store, metrics, registry, settings.payload_bytes_max), Life(), anyio.Event()
        worker = Worker(store, client, registry, settings, metrics, life, lambda: 0.5)

        async def work(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            try:
                await worker.run(task_status=task_status)
            finally:
                ended.set()

        async with anyio.create_task_group() as group:
            await group.start(client.run)
            await group.start(work)
            try:
                yield Bench(store, client, worker, life, metrics, ended)
            finally:
                life.stop()
                with anyio.CancelScope(shield=True), anyio.move_on_after(WAIT_S):
                    await ended.wait()
                group.cancel_scope.cancel()

    return make


async def lose(store: Store, metrics: Metrics, queue: str = "default", max_crashes: int = 3) -> int:
    """Let every lease of the queue run out and take its tasks back; gives how many."""
    impatient = Store(store.connector, metrics, namespace=store.namespace, lease_ms=1, max_crashes=max_crashes)
    for lease in await store.live_leases(queue):
        await store.command("test", "HSET", store.key("lengths", queue), lease, 1)
    reaper = Reaper(impatient, metrics, pause_ms=60_000)
    taken = 0
    with anyio.fail_after(WAIT_S):
        while not taken:
            taken = await reaper.reap(queue)
            await anyio.sleep(LOOK_S)
    await impatient.aclose()
    return taken
