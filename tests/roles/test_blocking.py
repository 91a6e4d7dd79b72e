"""Handlers that block the event loop: they are found, told, and moved to a thread when the setting says so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.states import State
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Exchange, Sight
from _taskqueue.store.store import Store
from _taskqueue.tasks.context import Context, current
from _taskqueue.tasks.spec import task
from _taskqueue.work import heartbeat
from tests.conftest import submission
from tests.roles.conftest import Bench, Working, lose, until

pytestmark = pytest.mark.anyio

BLOCK_S = 0.5


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find blocks early."""
    monkeypatch.setattr(heartbeat, "LAG_WORTH_A_WORD_S", 0.1)
    monkeypatch.setattr(heartbeat, "LOOK_S", 0.05)


def result_of(sight: Sight) -> Any:
    assert sight.outcome is not None
    assert sight.outcome.result is not None
    return msgspec.json.decode(sight.outcome.result)


@task
async def block(text: str) -> str:
    """Blocks the loop it runs on."""
    time.sleep(BLOCK_S)
    return threading.current_thread().name


@task
async def innocent(text: str) -> str:
    return text


async def test_the_task_that_blocks_carries_the_stack(working: Working, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with working(block, innocent) as bench:
        sight = await bench.run("block")
        other = await bench.run("innocent")

    log = await store.command("log", "HGET", store.key("logs", "default"), f"{sight.id}:1")
    assert b"has blocked the event loop for 0." in log
    assert b"in block\n    time.sleep(BLOCK_S)" in log
    assert await store.command("log", "HGET", store.key("logs", "default"), f"{other.id}:1") is None
    assert f"task {sight.id} (block) blocks the event loop for 0." in caplog.text
    assert "the event loop runs again after 0." in caplog.text


async def test_the_heartbeat_names_what_blocks_and_a_stalled_worker_says_its_last_words(working: Working, store: Store) -> None:
    async with working(block, stall_limit="1s") as bench:
        bench.worker.heartbeat._stall_limit_s = 0.2
        task_id = await bench.submit("block")
        await bench.reaches(task_id, State.SUCCEEDED)
        last = await store.last_beat(bench.worker.name)

    assert last is not None
    assert last[0].stalled
    assert last[0].lag_seconds >= 0.2
    assert last[0].block is not None
    assert last[0].block.task_id == task_id
    assert "time.sleep(BLOCK_S)" in last[0].block.stack


async def test_a_handler_goes_on_blocking_by_default(working: Working) -> None:
    async with working(block) as bench:
        names = [result_of(await bench.run("block")) for _ in range(2)]

    assert names == ["MainThread", "MainThread"]


async def test_a_handler_that_blocked_runs_in_a_thread_from_then_on(working: Working) -> None:
    async with working(block, blocking_handlers="thread") as bench:
        names = [result_of(await bench.run("block")) for _ in range(2)]

    assert names[0] == "MainThread"
    assert names[1] != "MainThread"


async def moved(bench: Bench, name: str) -> None:
    """Let this worker take the handler for one that blocks."""
    bench.worker._execution.calls.blockers.add(name)


async def test_in_its_thread_a_handler_has_all_of_its_context(working: Working, store: Store) -> None:
    @task(backoff=Backoff("constant", 0, jitter=False))
    async def busy(context: Context, text: str) -> list[Any]:
        if context.saved is None:
            await context.progress(1, 2)
            await context.save({"at": 1})
            raise ValueError("once more")
        context.log.warning("second")
        ids = [await context.submit("innocent", "a"), await innocent.enqueue("b")]
        await anyio.sleep(0.01)
        return [current().attempt, context.saved, threading.current_thread() is threading.main_thread(), ids]

    async with working(busy, innocent, blocking_handlers="thread") as bench:
        await moved(bench, "busy")
        sight = await bench.run("busy")
        attempt, saved, on_main, ids = result_of(sight)
        for one in ids:
            await bench.reaches(one, State.SUCCEEDED)

    assert (attempt, saved, on_main) == (2, {"at": 1}, False)
    log = await store.command("log", "HGET", store.key("logs", "default"), f"{sight.id}:2")
    assert log.endswith(b"WARNING second")


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_in_its_thread_a_handler_is_stopped_like_any_other(working: Working, how: str) -> None:
    started, ended = threading.Event(), threading.Event()

    @task(max_attempts=1, timeout=0.3 if how == "timeout" else 60)
    async def wait(text: str) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with working(wait, blocking_handlers="thread") as bench:
        await moved(bench, "wait")
        task_id = await bench.submit("wait")
        await until(started.is_set)
        if how == "cancel":
            await bench.client.cancel(task_id)
        await bench.reaches(task_id, State.CANCELLED if how == "cancel" else State.DEAD)
        await until(ended.is_set)


async def test_a_task_that_lost_a_worker_is_moved_too(working: Working, store: Store, metrics: Metrics, new_id: Callable[[], str]) -> None:
    @task
    async def where(text: str) -> bool:
        return threading.current_thread() is threading.main_thread()

    task_id = new_id()
    await store.submit("default", [(task_id, submission(b"x", "where"))])
    await store.open_lease("default", "host:1:abc/x")
    await store.settle_and_claim("default", "host:1:abc/x", Exchange(1, 1))
    await lose(store, metrics)

    async with working(where, blocking_handlers="thread") as bench:
        sight = await bench.reaches(task_id, State.SUCCEEDED)

    assert result_of(sight) is False
