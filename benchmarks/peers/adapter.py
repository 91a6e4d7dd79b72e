"""The line protocol between the runner and an adapter.

    python -m benchmarks.peers.NAME worker                                       runs until it is killed
    python -m benchmarks.peers.NAME produce --task T --count N [--bulk] [--rate R]   ends with one line of JSON

Everything else is in the environment: BENCH_URL (the server), BENCH_CONCURRENCY, BENCH_TARGET, BENCH_SIGNALS,
BENCH_LEDGER (see tally).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, Protocol

URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0")
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "100"))
PAYLOAD = "x" * 100
BULK = 500
"""Tasks in one bulk call."""
AT_ONCE = 50
"""Single calls kept in flight where there is no bulk call but an asynchronous one."""
RECOVERY_S = 30
"""What every system that lets one choose waits before it takes a silent worker's tasks back."""
TRIES = 5
RESULT_S = 3600
"""How long results are kept, where one must say."""


class Producer(Protocol):
    """What an adapter enqueues with."""

    async def one(self, task: str, payload: str) -> None:
        """Enqueue one task; return when Redis has it."""

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """Enqueue these by the best means the system has."""


async def gathered(calls: Iterable[Awaitable[object]]) -> None:
    """Await all, AT_ONCE at a time."""
    waiting = list(calls)
    for first in range(0, len(waiting), AT_ONCE):
        await asyncio.gather(*waiting[first : first + AT_ONCE])


def payload_of(task: str, number: int) -> str:
    """What task number N is given: the time for stamps, its number for naps, else 100 bytes."""
    if task == "stamp":
        return str(time.monotonic_ns())
    return str(number) if task == "nap" else PAYLOAD


async def _pace(began: float, number: int, rate: float) -> None:
    left = began + number / rate - time.perf_counter()
    if left > 0:
        await asyncio.sleep(left)


async def _one_by_one(producer: Producer, task: str, count: int, rate: float) -> None:
    began = time.perf_counter()
    for number in range(count):
        if rate:
            await _pace(began, number, rate)
        await producer.one(task, payload_of(task, number))


async def _in_bulk(producer: Producer, task: str, count: int) -> None:
    for first in range(0, count, BULK):
        await producer.many(task, [payload_of(task, number) for number in range(first, min(first + BULK, count))])


async def _produce(opened: AbstractAsyncContextManager[Producer], options: argparse.Namespace) -> dict[str, float]:
    async with opened as producer:
        began, cpu = time.perf_counter(), time.process_time()
        if options.bulk:
            await _in_bulk(producer, options.task, options.count)
        else:
            await _one_by_one(producer, options.task, options.count, options.rate)
        return {"count": options.count, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["worker", "produce"])
    parser.add_argument("--task", default="noop")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--bulk", action="store_true")
    parser.add_argument("--rate", type=float, default=0.0, help="tasks per second; 0: as fast as it goes")
    return parser.parse_args()


def use_uvloop() -> None:
    """What a user who cares about speed installs; ours does too."""
    if find_spec("uvloop"):
        import uvloop

        uvloop.install()


def become(program: str, *arguments: str) -> NoReturn:
    """Turn into a program of this environment."""
    path = Path(sys.executable).parent / program
    os.execv(path, [str(path), *arguments])  # noqa: S606 - the program of a pinned package


def run(work: Callable[[], None], producing: Callable[[], AbstractAsyncContextManager[Producer]]) -> None:
    """The adapter's command line."""
    logging.basicConfig(level=logging.WARNING)
    options = _read_options()
    use_uvloop()
    if options.role == "worker":
        work()
    else:
        sys.stdout.write(json.dumps(asyncio.run(_produce(producing(), options))) + "\n")
