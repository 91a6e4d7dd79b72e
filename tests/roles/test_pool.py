"""The slots: they wake one another, so that no pass of the event loop belongs to one batch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from _taskqueue.domain.task import Claim, Record
from _taskqueue.work.pool import TURN, Pool

pytestmark = pytest.mark.anyio

SIZE = 50
PASSES_TO_START = 4


class Log:
    """What the slots ran, and what they wait for."""

    def __init__(self) -> None:
        self.ran: list[bytes] = []
        self.gate: anyio.Event | None = None

    async def execute(self, claim: Claim, scope: anyio.CancelScope) -> None:
        """Run a claim."""
        self.ran.append(claim.id)
        if self.gate is not None:
            await self.gate.wait()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def pool(log: Log) -> AsyncIterator[Pool]:
    pool = Pool(SIZE, log.execute)
    async with anyio.create_task_group() as group:
        await group.start(pool.run)
        for _ in range(PASSES_TO_START):
            await anyio.lowlevel.checkpoint()
        yield pool
        group.cancel_scope.cancel()


def claims(count: int) -> list[Claim]:
    return [Claim(b"task%d" % number, Record("noop", True), 0) for number in range(count)]


async def test_others_get_their_pass_while_a_batch_runs(pool: Pool, log: Log) -> None:
    pool.offer(claims(SIZE * TURN))

    before, most, passes = 0, 0, 0
    while len(log.ran) < SIZE * TURN:
        await anyio.lowlevel.checkpoint()
        most, before, passes = max(most, len(log.ran) - before), len(log.ran), passes + 1

    assert passes > 5
    assert most < SIZE * TURN / 2


async def test_a_batch_that_waits_fills_every_slot(pool: Pool, log: Log) -> None:
    log.gate = anyio.Event()

    pool.offer(claims(SIZE * 2))
    for _ in range(SIZE * 2):
        await anyio.lowlevel.checkpoint()

    assert (len(log.ran), pool.busy, pool.free) == (SIZE, SIZE, -SIZE)
    log.gate.set()
    with anyio.fail_after(5):
        while len(log.ran) < SIZE * 2 or pool.busy:
            await anyio.sleep(0.001)
    assert log.ran == [claim.id for claim in claims(SIZE * 2)]


async def test_claims_that_come_one_by_one_all_run(pool: Pool, log: Log) -> None:
    for claim in claims(SIZE * 3):
        pool.offer([claim])
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        while len(log.ran) < SIZE * 3:
            await anyio.sleep(0.001)


async def test_a_slot_that_is_stopped_leaves_the_rest_to_others(log: Log) -> None:
    async def stopped(claim: Claim, scope: anyio.CancelScope) -> None:
        log.ran.append(claim.id)
        scope.cancel()

    pool = Pool(2, stopped)
    async with anyio.create_task_group() as group:
        await group.start(pool.run)
        pool.offer(claims(20))
        with anyio.fail_after(5):
            while len(log.ran) < 20:
                await anyio.sleep(0.001)
        group.cancel_scope.cancel()
