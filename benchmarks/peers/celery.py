"""Celery on Redis, acknowledging late, with results. It has no bulk call."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from celery import Celery

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, RESULT_S, URL, become, run
from benchmarks.peers.tally import FUNCTIONS

APP = Celery("bench", broker=URL, backend=URL)
APP.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    result_expires=RESULT_S,
    broker_transport_options={"visibility_timeout": RECOVERY_S},
    worker_hijack_root_logger=False,
)
TASKS = {name: APP.task(one, name=name) for name, one in FUNCTIONS.items()}


def work() -> None:
    """Run the worker: one process with threads, a pool for tasks that wait (gevent took twice the CPU here)."""
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    become("celery", "-A", "benchmarks.peers.celery:APP", "worker", "-P", "threads", "-c", str(CONCURRENCY), *quiet)


class CeleryProducer:
    """Enqueues through the tasks."""

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        TASKS[task].delay(payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """One call after the other."""
        for payload in payloads:
            TASKS[task].delay(payload)


@asynccontextmanager
async def producing() -> AsyncIterator[CeleryProducer]:
    """One connection for the length of the block."""
    with APP.connection_for_write():
        yield CeleryProducer()


if __name__ == "__main__":
    run(work, producing)
