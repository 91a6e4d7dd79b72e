"""Huey with threads and results. It takes a task out of Redis before running it, so a crash loses it; no bulk call."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from huey import RedisHuey

from benchmarks.peers.adapter import CONCURRENCY, URL, become, run
from benchmarks.peers.tally import FUNCTIONS

HUEY = RedisHuey("bench", url=URL)
TASKS = {name: HUEY.task(name=name)(one) for name, one in FUNCTIONS.items()}


def work() -> None:
    """Run the consumer."""
    become("huey_consumer", "benchmarks.peers.huey.HUEY", "-k", "thread", "-w", str(CONCURRENCY), "--no-periodic", "--quiet")


class HueyProducer:
    """Enqueues through the tasks."""

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        TASKS[task](payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One call after the other."""
        for payload in payloads:
            TASKS[task](payload)


@asynccontextmanager
async def producing() -> AsyncIterator[HueyProducer]:
    """Nothing to open."""
    yield HueyProducer()


if __name__ == "__main__":
    run(work, producing)
