"""taskiq on Redis streams, with results. It has no bulk call: single calls are kept in flight instead."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers.adapter import CONCURRENCY, RECOVERY_S, RESULT_S, URL, become, gathered, run
from benchmarks.peers.tally import COROUTINES

# "0": tasks that were enqueued before the first worker made the group count too.
BROKER: Any = RedisStreamBroker(URL, consumer_id="0", idle_timeout=RECOVERY_S * 1000, unacknowledged_lock_timeout=RECOVERY_S)
BROKER = BROKER.with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=RESULT_S))
TASKS = {name: BROKER.register_task(one, task_name=name) for name, one in COROUTINES.items()}


def work() -> None:
    """Run the worker: one process, acknowledging when a task has ended."""
    options = ["--workers", "1", "--max-async-tasks", str(CONCURRENCY), "--ack-type", "when_executed", "--log-level", "WARNING"]
    become("taskiq", "worker", "benchmarks.peers.taskiq:BROKER", *options)


class TaskiqProducer:
    """Enqueues through the broker."""

    async def one(self, task: str, payload: str) -> None:
        """One call."""
        await TASKS[task].kiq(payload)

    async def many(self, task: str, payloads: Sequence[str]) -> None:
        """Single calls in flight."""
        await gathered(TASKS[task].kiq(payload) for payload in payloads)


@asynccontextmanager
async def producing() -> AsyncIterator[TaskiqProducer]:
    """The broker for the length of the block."""
    await BROKER.startup()
    try:
        yield TaskiqProducer()
    finally:
        await BROKER.shutdown()


if __name__ == "__main__":
    run(work, producing)
