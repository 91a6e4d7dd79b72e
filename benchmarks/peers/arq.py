"""arq. It has no bulk call: single calls are kept in flight instead."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker, func

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, RESULT_S, TRIES, URL, gathered, run
from benchmarks.peers.tally import COROUTINES

POLL_S = 0.01
"""arq polls; its default of 0.5 s would show as latency and nothing else."""


def with_context(work: Callable[[str], Awaitable[int]]) -> Callable[[dict[Any, Any], str], Awaitable[int]]:
    """arq hands each task a context first."""

    async def task(ctx: dict[Any, Any], payload: str) -> int:
        return await work(payload)

    return task


def work() -> None:
    """Run the worker."""
    functions = [func(with_context(one), name=name, max_tries=TRIES, keep_result=RESULT_S) for name, one in COROUTINES.items()]
    settings = RedisSettings.from_dsn(URL)
    Worker(functions, redis_settings=settings, max_jobs=CONCURRENCY, poll_delay=POLL_S, job_timeout=RECOVERY_S).run()


class ArqProducer:
    """Enqueues through arq's pool."""

    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        await self._pool.enqueue_job(task, payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """Single calls in flight."""
        await gathered(self._pool.enqueue_job(task, payload) for payload in payloads)


@asynccontextmanager
async def producing() -> AsyncIterator[ArqProducer]:
    """A pool for the length of the block."""
    pool = await create_pool(RedisSettings.from_dsn(URL))
    try:
        yield ArqProducer(pool)
    finally:
        await pool.aclose()


if __name__ == "__main__":
    run(work, producing)
