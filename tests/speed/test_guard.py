"""What a task costs, in CPU time, against loops measured in the same minute: a change that makes tasks much dearer fails here.

By the clock nothing is compared, and the bounds are generous: machines differ, and share their cores. What a task costs
exactly is for ``make bench``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from redis import Redis

from _taskqueue.domain.errors import StoreError
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.store.connect import Connector
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import Registry
from benchmarks.cases import drain
from benchmarks.catalog import OURS, read_peers
from benchmarks.server import Server

LOOPS = 20_000
SETS = 20_000
SUBMITTED, AT_ONCE = 20_000, 500
ROUNDS = 3

WORKER_MAX = 36.0
"""Turns of the loop below that a worker may take for a task; 22 to 24 on an idle machine and 25 on a busy one when this was written."""
SUBMIT_MAX = 26.0
"""And a producer for a task submitted in bulk; it was 17."""
REDIS_MAX = 10.5
"""Pipelined SETs that Redis may take for a task, from claim to settlement; it was 6 to 7."""
REDIS_SUBMIT_MAX = 5.3
"""And to take one in; it was 3.5."""


class Cell:
    """Something with an attribute and a method, as programs are full of."""

    def __init__(self, value: int) -> None:
        self.value = value

    def grown(self, by: int) -> Cell:
        """Another one."""
        return Cell(self.value + by)


def loop() -> None:
    """Calls, dictionaries, small objects and text: what the path of a task is made of."""
    seen: dict[str, Cell] = {}
    cell = Cell(0)
    for turn in range(LOOPS):
        cell = cell.grown(turn)
        seen[f"task{turn % 100}"] = cell


def cost_us(work: Callable[[], object], count: int) -> float:
    """CPU time of this process for one of the work's parts; the median of some rounds."""
    return statistics.median(_cpu_ns(work) for _ in range(ROUNDS)) / count / 1e3


def _cpu_ns(work: Callable[[], object]) -> int:
    began = time.process_time_ns()
    work()
    return time.process_time_ns() - began


def set_us(folder: Path) -> float:
    """CPU time of a server for one pipelined SET."""
    with Server(folder) as server, Redis.from_url(server.url) as client:
        before = server.figures().cpu_ns
        for start in range(0, SETS, AT_ONCE):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, start + AT_ONCE):
                pipeline.set(f"key{number}", b"x" * 100)
            pipeline.execute()
        return (server.figures().cpu_ns - before) / SETS / 1e3


def test_a_task_costs_a_worker_and_redis_no_more_than_it_did(tmp_path: Path) -> None:
    unit, unit_redis = cost_us(loop, LOOPS), set_us(tmp_path)

    figures = drain(read_peers()[OURS], pinned=False)

    unit, unit_redis = statistics.mean([unit, cost_us(loop, LOOPS)]), statistics.mean([unit_redis, set_us(tmp_path)])
    costs = {"worker": figures["worker_cpu_us"] / unit, "redis": figures["redis_cpu_us"] / unit_redis}
    assert costs["worker"] < WORKER_MAX, (costs, figures, unit)
    assert costs["redis"] < REDIS_MAX, (costs, figures, unit_redis)


def test_a_submission_costs_a_producer_and_redis_no_more_than_it_did(tmp_path: Path) -> None:
    unit, unit_redis = cost_us(loop, LOOPS), set_us(tmp_path)

    with Server(tmp_path) as server:
        before = server.figures().cpu_ns
        cpu_us = anyio.run(submit_all, server.url)
        redis_us = (server.figures().cpu_ns - before) / SUBMITTED / 1e3

    costs = {"producer": cpu_us / unit, "redis": redis_us / unit_redis}
    assert costs["producer"] < SUBMIT_MAX, (costs, cpu_us, unit)
    assert costs["redis"] < REDIS_SUBMIT_MAX, (costs, redis_us, unit_redis)


async def submit_all(url: str) -> float:
    """Submit in bulk; gives the CPU time of this process for a task."""
    metrics = Metrics()
    store = Store(Connector(url), metrics, namespace="guard")
    producer = Producer(store, metrics, Registry(), 1_000)
    async with anyio.create_task_group() as group:
        await group.start(producer.run)
        await producer.submit_many([producer.read({"task": "noop"}, b"first", True)])
        began = time.process_time_ns()
        for _ in range(SUBMITTED // AT_ONCE):
            ends = await producer.submit_many([producer.read({"task": "noop"}, b"x" * 100, True) for _ in range(AT_ONCE)])
            assert not any(isinstance(end, StoreError) for end in ends)
        took_ns = time.process_time_ns() - began
        group.cancel_scope.cancel()
    await store.aclose()
    return took_ns / SUBMITTED / 1e3
