"""Dramatiq, with results. It has no bulk call."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, RESULT_S, URL, become, run
from benchmarks.peers.tally import FUNCTIONS

BROKER = RedisBroker(url=URL, heartbeat_timeout=RECOVERY_S * 1000)
BROKER.add_middleware(Results(backend=RedisBackend(url=URL), result_ttl=RESULT_S * 1000))
ACTORS = {name: dramatiq.actor(one, actor_name=name, broker=BROKER, store_results=True) for name, one in FUNCTIONS.items()}


def work() -> None:
    """Run the worker: one process."""
    become("dramatiq", "benchmarks.peers.dramatiq:BROKER", "--processes", "1", "--threads", str(CONCURRENCY))


class DramatiqProducer:
    """Enqueues through the actors."""

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        ACTORS[task].send(payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One call after the other."""
        for payload in payloads:
            ACTORS[task].send(payload)


@asynccontextmanager
async def producing() -> AsyncIterator[DramatiqProducer]:
    """Nothing to open."""
    yield DramatiqProducer()


if __name__ == "__main__":
    run(work, producing)
