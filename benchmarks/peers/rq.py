"""RQ with its SimpleWorker: one job at a time, without a fork for each, which is its fastest way."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis import Redis
from rq import Queue, Retry, SimpleWorker

from benchmarks.peers.adapter import RECOVERY_S, RESULT_S, TRIES, URL, run
from benchmarks.peers.tally import FUNCTIONS


def work() -> None:
    """Run the worker."""
    connection = Redis.from_url(URL)
    worker = SimpleWorker([Queue(connection=connection)], connection=connection, maintenance_interval=RECOVERY_S, log_job_description=False)
    worker.work(logging_level="WARNING")


class RqProducer:
    """Enqueues through a queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        self._queue.enqueue_call(FUNCTIONS[task], (payload,), timeout=RECOVERY_S, result_ttl=RESULT_S, retry=Retry(max=TRIES))

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One pipeline."""
        terms = {"timeout": RECOVERY_S, "result_ttl": RESULT_S, "retry": Retry(max=TRIES)}
        self._queue.enqueue_many([Queue.prepare_data(FUNCTIONS[task], args=(payload,), **terms) for payload in payloads])


@asynccontextmanager
async def producing() -> AsyncIterator[RqProducer]:
    """A queue for the length of the block."""
    with Redis.from_url(URL) as connection:
        yield RqProducer(Queue(connection=connection))


if __name__ == "__main__":
    run(work, producing)
