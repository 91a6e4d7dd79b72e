"""docket."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Docket, Worker

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, URL, run
from benchmarks.peers.tally import COROUTINES

CHECK = timedelta(milliseconds=50)
CONNECTIONS = 2 * CONCURRENCY + 50
"""redis-py's own limit of 100 is less than what 100 tasks at once take; those beyond it would fail and be delivered again."""


@asynccontextmanager
async def opened() -> AsyncIterator[Docket]:
    """The docket with all tasks known."""
    async with Docket(name="bench", url=f"{URL}?max_connections={CONNECTIONS}") as docket:
        for name, one in COROUTINES.items():
            docket.register(one, names=[name])
        yield docket


async def serve() -> None:
    """Run the worker."""
    async with opened() as docket:
        patience = timedelta(seconds=RECOVERY_S)
        async with Worker(docket, concurrency=CONCURRENCY, redelivery_timeout=patience, minimum_check_interval=CHECK) as worker:
            await worker.run_forever()


class DocketProducer:
    """Enqueues through a docket."""

    def __init__(self, docket: Docket) -> None:
        self._docket = docket

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        await self._docket.add(task)(payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One pipeline."""
        await self._docket.add_many([self._docket.call(task)(payload) for payload in payloads])


@asynccontextmanager
async def producing() -> AsyncIterator[DocketProducer]:
    """A docket for the length of the block."""
    async with opened() as docket:
        yield DocketProducer(docket)


if __name__ == "__main__":
    run(lambda: asyncio.run(serve()), producing)
