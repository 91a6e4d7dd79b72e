"""Ours, with everything on: results, metrics, history, leases, timeouts."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.peers.adapter import CONCURRENCY, URL, run

if TYPE_CHECKING:
    from _taskqueue.producer import Producer

ROOT = Path(__file__).parents[2]
PAYLOAD_BYTES_MAX = 1 << 20


def work() -> None:
    """Become the product: the worker role."""
    flags = ["--role", "worker", "--redis-url", URL, "--concurrency", str(CONCURRENCY), "--handlers", str(ROOT / "benchmarks/tasks")]
    program = [sys.executable, str(ROOT / "taskqueue.py"), *flags, "--log-tasks", "errors", "--metrics-port", "0"]
    os.execv(sys.executable, program)  # noqa: S606 - the program of this repository


@asynccontextmanager
async def opened_producer() -> AsyncIterator[Producer]:
    """The product's own producer in this process. The only place that uses its internals."""
    from _taskqueue.metrics import Metrics
    from _taskqueue.producer import Producer
    from _taskqueue.store.connect import Connector
    from _taskqueue.store.store import Store
    from _taskqueue.tasks.discovery import Registry

    metrics = Metrics()
    store = Store(Connector(URL), metrics, namespace="taskqueue")
    producer = Producer(store, metrics, Registry(), PAYLOAD_BYTES_MAX)
    async with anyio.create_task_group() as group:
        await group.start(producer.run)
        yield producer
        group.cancel_scope.cancel()
    await store.aclose()


class OurProducer:
    """Enqueues as the API does: terms read and checked, one round trip for what arrives together."""

    def __init__(self, inner: Producer) -> None:
        self._inner = inner

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        await self._inner.submit(self._inner.read({"task": task}, payload.encode(), True))

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One call for all."""
        answers = await self._inner.submit_many([self._inner.read({"task": task}, payload.encode(), True) for payload in payloads])
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        if refused:
            raise refused[0]


@asynccontextmanager
async def producing() -> AsyncIterator[OurProducer]:
    """A producer for the length of the block."""
    async with opened_producer() as inner:
        yield OurProducer(inner)


if __name__ == "__main__":
    run(work, producing)
