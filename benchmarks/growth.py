"""How ours grows: the cost of its calls over the number of pending tasks, draining with several workers, with an
append-only file, and how late delayed tasks start.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Outcome, Record, Submission
from _taskqueue.filters import Filter
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.store import wire
from _taskqueue.store.answers import Exchange
from _taskqueue.store.browse import Browse
from _taskqueue.store.connect import Connector
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import Registry
from benchmarks.catalog import OURS, read_peers
from benchmarks.progress import Progress
from benchmarks.server import Server
from benchmarks.stage import Stage, staged

QUEUE, LEASE = "default", "bench:1:0/0123456789abcdef"
SIZES = (1_000, 100_000, 1_000_000)
WORKERS = (1, 2, 3, 4)
ROUNDS = 3
PAYLOAD = b"x" * 100
FILL, CALLS, AT_ONCE, PAGES, CANCELS = 500, 100, 100, 50, 500
DRAINED, SLOTS = 100_000, 100
DELAYED, DELAY_MAX_S, DELAY_MIN_S = 500, 6.0, 2.0
READY_S = 20.0
STRIDE = 7_919
"""A prime, to take things out of order without chance."""
SLOW_US = 1_000
"""Scripts that take longer are counted."""


def measure_growth() -> dict[str, Any]:
    """Everything, as plain values."""
    progress = Progress(len(SIZES) + (len(WORKERS) + 2) * ROUNDS + 1)
    sizes = [_told(progress, f"growth: {size:,} pending", lambda size=size: _at_size(size)) for size in SIZES]  # type: ignore[misc]
    drains: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for count in WORKERS:
            drains.setdefault(str(count), []).append(_told(progress, f"growth: {count} workers", lambda count=count: _drain(count)))  # type: ignore[misc]
        for aof in (False, True):
            name = "aof" if aof else "no aof"
            drains.setdefault(name, []).append(_told(progress, f"growth: {name}", lambda aof=aof: _drain(1, aof=aof)))  # type: ignore[misc]
    late = _told(progress, "growth: delays", _lateness)
    progress.close()
    return {"sizes": sizes, "drains": {name: _medians(runs) for name, runs in drains.items()}, "late": late}


def _told(progress: Progress, what: str, work: Callable[[], dict[str, float]]) -> dict[str, float]:
    figures = work()
    progress.end(what)
    return figures


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


# -- over the number of pending tasks -----------------------------------------------------------------------------------


def _at_size(size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Server(Path(folder)) as server:
        return {"pending": size, **anyio.run(_calls_at, server, size)}


async def _calls_at(server: Server, size: int) -> dict[str, float]:
    async with _opened(server.url) as (store, producer):
        empty = server.memory_bytes()
        ids = await _fill(producer, size)
        figures = {"pending_bytes": (server.memory_bytes() - empty) / size}
        server.call("CONFIG", "SET", "slowlog-log-slower-than", str(SLOW_US))
        server.call("SLOWLOG", "RESET")
        browse, victims = Browse(store), _sample(ids)
        await store.open_lease(QUEUE, LEASE)
        figures |= await _cost(server, "list", PAGES, lambda: _list(browse))
        figures |= await _cost(server, "cancel", 1, lambda: _cancel(store, victims), parts=CANCELS)
        figures |= await _cost(server, "submit", CALLS, lambda: _submit(producer, AT_ONCE), parts=AT_ONCE)
        figures |= await _cost(server, "claim", CALLS, lambda: _claim(store), parts=AT_ONCE)
        return {**figures, "slow_scripts": len(server.call("SLOWLOG", "GET", "128"))}


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[tuple[Store, Producer]]:
    metrics = Metrics()
    store = Store(Connector(url), metrics, namespace="taskqueue")
    producer = Producer(store, metrics, Registry(), 1 << 20)
    async with anyio.create_task_group() as group:
        await group.start(producer.run)
        yield store, producer
        group.cancel_scope.cancel()
    await store.aclose()


async def _fill(producer: Producer, size: int) -> list[str]:
    found: list[str] = []
    for _ in range(max(1, size // FILL)):
        found += await _submit(producer, min(FILL, size))
    return found


def _sample(ids: list[str]) -> list[str]:
    return [ids[number * STRIDE % len(ids)] for number in range(min(CANCELS, len(ids)))]


async def _cost(server: Server, name: str, calls: int, call: Callable[[], Awaitable[object]], parts: int = 1) -> dict[str, float]:
    """Redis CPU of a part, and the median time of a call."""
    before, times = server.figures(), []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    spent = server.figures() - before
    return {f"{name}_redis_us": spent.cpu_ns / 1e3 / calls / parts, f"{name}_ms": statistics.median(times) * 1e3}


async def _submit(producer: Producer, count: int) -> list[str]:
    ends = await producer.submit_many([producer.read({"task": "noop"}, PAYLOAD, True) for _ in range(count)])
    return [str(end) for end in ends]


async def _list(browse: Browse) -> None:
    await browse.page(Filter(states=(State.PENDING,)), descending=True, limit=50, after=None)


async def _cancel(store: Store, ids: list[str]) -> None:
    for one in ids:
        await store.cancel(QUEUE, one)


async def _claim(store: Store) -> None:
    """Claim some and settle them."""
    answer = await store.settle_and_claim(QUEUE, LEASE, Exchange(AT_ONCE, AT_ONCE))
    outcome = wire.encode(Outcome(1, 1, 1, "bench:1:0", b"1"))
    done = [part for claim in answer.claims for part in (claim.id, outcome)] if answer else []
    await store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, done))


# -- several workers, and a file ----------------------------------------------------------------------------------------


def _drain(workers: int, *, aof: bool = False) -> dict[str, float]:
    """From the moment a full, paused queue is resumed, with all workers waiting, until it is empty."""
    with staged(read_peers()[OURS]) as stage:
        if aof:
            stage.server.call("CONFIG", "SET", "appendonly", "yes")
        stage.produce("noop", DRAINED, bulk=True)
        anyio.run(_set_paused, stage.server.url, " ")
        for _ in range(workers):
            stage.work(SLOTS)
        anyio.run(_await_workers, stage.server.url, workers)
        before_cpu, before = sum(one.cpu_ns() for one in stage.workers), stage.snapshot()
        anyio.run(_set_paused, stage.server.url, "")
        stage.settled()
        after = stage.snapshot()
        cpu = sum(one.cpu_ns() for one in stage.workers) - before_cpu
    return {
        "per_s": DRAINED / (after.at_s - before.at_s),
        "worker_cpu_us": cpu / 1e3 / DRAINED,
        "redis_cpu_us": (after.server - before.server).cpu_ns / 1e3 / DRAINED,
    }


async def _set_paused(url: str, reason: str) -> None:
    async with _opened(url) as (store, _):
        await store.configure(QUEUE, {"paused": reason})


async def _await_workers(url: str, count: int) -> None:
    async with _opened(url) as (store, _):
        with anyio.fail_after(READY_S):
            while (await store.count(QUEUE)).workers < count:  # noqa: ASYNC110 - other processes
                await anyio.sleep(0.05)


# -- delays -------------------------------------------------------------------------------------------------------------


def _lateness() -> dict[str, float]:
    """How long after its time a delayed task starts."""
    with staged(read_peers()[OURS]) as stage:
        stage.work(SLOTS)
        anyio.run(_await_workers, stage.server.url, 1)
        anyio.run(_delay_some, stage.server.url)
        if not stage.written(DELAYED):
            raise stage.failure("not all delayed tasks started")
        late_ms = sorted(_late_ms(stage))
    return {"p50_ms": statistics.median(late_ms), "p99_ms": late_ms[int(len(late_ms) * 0.99)], "max_ms": late_ms[-1]}


def _late_ms(stage: Stage) -> list[float]:
    return [(int(started) - int(due)) / 1e6 for due, started in stage.ledger()]


async def _delay_some(url: str) -> None:
    """Tasks whose payload is when they are due, by the monotonic clock."""
    async with _opened(url) as (_, producer):
        for number in range(DELAYED):
            delay_s = DELAY_MIN_S + (DELAY_MAX_S - DELAY_MIN_S) * (number * STRIDE % DELAYED) / DELAYED
            run_at_ms = int(time.time() * 1000 + delay_s * 1000)
            due_ns = time.monotonic_ns() + int(run_at_ms * 1e6 - time.time_ns())
            await producer.submit(Submission(Record("stamp", True, payload=str(due_ns).encode()), run_at_ms=run_at_ms))
