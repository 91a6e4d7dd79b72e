"""SAQ. It has no bulk call: single calls are kept in flight instead."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue, Worker

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, RESULT_S, TRIES, URL, gathered, run
from benchmarks.peers.tally import COROUTINES


def with_context(work: Callable[[str], Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """SAQ hands each task a context first."""

    async def task(ctx: dict[str, Any], *, payload: str) -> int:
        return await work(payload)

    return task


async def serve() -> None:
    """Run the worker."""
    queue = Queue.from_url(URL)
    await queue.connect()
    functions = [(name, with_context(one)) for name, one in COROUTINES.items()]
    await Worker(queue, functions=functions, concurrency=CONCURRENCY, timers={"sweep": RECOVERY_S}).start()


class SaqProducer:
    """Enqueues through a SAQ queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        await self._queue.enqueue(task, payload=payload, timeout=RECOVERY_S, retries=TRIES, ttl=RESULT_S)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """Single calls in flight."""
        await gathered(self.one(task, payload) for payload in payloads)


@asynccontextmanager
async def producing() -> AsyncIterator[SaqProducer]:
    """A queue for the length of the block."""
    queue = Queue.from_url(URL)
    await queue.connect()
    try:
        yield SaqProducer(queue)
    finally:
        await queue.disconnect()


if __name__ == "__main__":
    run(lambda: asyncio.run(serve()), producing)
