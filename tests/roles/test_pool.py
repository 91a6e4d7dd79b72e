"""The pool: what was offered runs in order, so many at once, and no pass of the event loop belongs to one batch."""

from __future__ import annotations

import anyio
import pytest

from _taskqueue.domain.task import Claim, Record
from _taskqueue.work.pool import TURN, Pool

pytestmark = pytest.mark.anyio

SIZE = 50


class Log:
    """What was started, and what of it ends at once."""

    def __init__(self, *, at_once: bool) -> None:
        self.started: list[bytes] = []
        self.at_once = at_once
        self.pool = Pool(SIZE)
        self.pool.start_with(self.start)

    def start(self, claim: Claim) -> None:
        """Begin a claim."""
        self.started.append(claim.id)
        if self.at_once:
            self.pool.ended()


def claims(count: int) -> list[Claim]:
    return [Claim(b"task%d" % number, Record("noop", True), 0) for number in range(count)]


async def passes(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def test_others_get_their_pass_while_a_batch_runs() -> None:
    log = Log(at_once=True)
    log.pool.offer(claims(TURN * 10))
    seen = [len(log.started)]

    while len(log.started) < TURN * 10:
        await passes(1)
        seen.append(len(log.started))

    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) == TURN
    assert (log.pool.busy, log.pool.finished, log.pool.free) == (0, TURN * 10, SIZE)


async def test_a_batch_fills_every_place_and_the_rest_waits_its_turn() -> None:
    log = Log(at_once=False)

    log.pool.offer(claims(SIZE * 2))
    await passes(5)

    assert (len(log.started), log.pool.busy, log.pool.free) == (SIZE, SIZE, -SIZE)
    for ended in range(1, SIZE + 1):
        log.pool.ended()
        await passes(2)
        assert (len(log.started), log.pool.busy) == (SIZE + ended, SIZE)
    assert log.started == [claim.id for claim in claims(SIZE * 2)]


async def test_claims_that_come_one_by_one_start_at_once() -> None:
    log = Log(at_once=True)

    for number, claim in enumerate(claims(SIZE * 3), 1):
        log.pool.offer([claim])
        assert len(log.started) == number


async def test_what_has_not_begun_can_be_taken_back() -> None:
    log = Log(at_once=False)
    offered = claims(SIZE + 3)
    log.pool.offer(offered)
    await passes(5)

    back = log.pool.take_back(lambda claim: claim.id in (offered[0].id, offered[SIZE].id, offered[SIZE + 2].id))

    assert [claim.id for claim in back] == [offered[SIZE].id, offered[SIZE + 2].id]
    log.pool.ended()
    await passes(2)
    assert log.started[-1] == offered[SIZE + 1].id
    assert not log.pool.buffer


async def test_a_suspect_starts_beside_a_full_pool() -> None:
    log = Log(at_once=False)
    *offered, suspect = claims(SIZE + 1)
    log.pool.offer(offered)
    await passes(5)

    log.pool.start(suspect)

    assert (log.started[-1], log.pool.busy, log.pool.free) == (suspect.id, SIZE + 1, -1)
