"""streaq."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, RESULT_S, TRIES, URL, run
from benchmarks.peers.tally import COROUTINES

WORKER: Any = Worker(redis_url=URL, concurrency=CONCURRENCY, idle_timeout=RECOVERY_S, anyio_kwargs={"use_uvloop": True})
TASKS = {name: WORKER.task(name=name, max_tries=TRIES, ttl=RESULT_S, timeout=60)(one) for name, one in COROUTINES.items()}


class StreaqProducer:
    """Enqueues through the worker object, as streaq does."""

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        await TASKS[task].enqueue(payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One pipeline."""
        await WORKER.enqueue_many([TASKS[task].enqueue(payload) for payload in payloads])


@asynccontextmanager
async def producing() -> AsyncIterator[StreaqProducer]:
    """Connections for the length of the block."""
    async with WORKER:
        yield StreaqProducer()


if __name__ == "__main__":
    run(WORKER.run_sync, producing)
