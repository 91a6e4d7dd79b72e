"""patrol names leases that ran out; reap takes their tasks: running → pending, retrying, dead, cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Ending, Outcome
from _taskqueue.store.answers import Exchange, Held, Verdict
from _taskqueue.store.store import Store
from tests.store.desk import LEASE, OUTCOME, QUEUE, WAIT_S, Desk

pytestmark = pytest.mark.anyio
LONG_MS = 1_000_000


def verdict(held: Held, what: str = "pending", delay_ms: int = 0) -> Verdict:
    outcome = Outcome(1, 1, 1, "worker", None, "poison") if what == "dead" else None
    return Verdict(held, what, delay_ms, 5, Attempt(1, Ending.LOST, 1, 0, "worker"), outcome)


async def lose(desk: Desk, slots: int = 100) -> list[Held]:
    """Claim everything on a lease that has run out already."""
    short = Store(desk.store.connector, desk.store._metrics, namespace=desk.store.namespace, lease_ms=1)
    async with aclosing(short):
        await short.open_lease(QUEUE, LEASE)
        await short.settle_and_claim(QUEUE, LEASE, Exchange(100, slots))
        with anyio.fail_after(WAIT_S):
            while await short.patrol(QUEUE, LONG_MS) != [LEASE]:
                await anyio.sleep(0.002)
    return await desk.store.held_by(QUEUE, LEASE)


@pytest.mark.parametrize(
    ("what", "delay_ms", "after"), [("pending", 0, State.PENDING), ("retry", 60_000, State.RETRYING), ("dead", 0, State.DEAD)]
)
async def test_a_lost_task_goes_where_the_verdict_says_and_the_loss_is_remembered(
    desk: Desk, what: str, delay_ms: int, after: State
) -> None:
    (task_id,) = await desk.submit()
    (held,) = await lose(desk)

    assert await desk.store.reap(QUEUE, LEASE, [verdict(held, what, delay_ms)]) == 1

    sight = await desk.sight(task_id)
    assert (sight.state, sight.crashes, sight.failed_attempts) == (after, 1, 0)
    assert [one.ending for one in sight.attempts] == ["lost"]


async def test_the_late_answer_of_a_lost_worker_is_refused(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    (held,) = await lose(desk)
    await desk.store.reap(QUEUE, LEASE, [verdict(held)])

    answer = await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(10, 10, [task_id, OUTCOME]))

    assert answer is None
    assert await desk.state(task_id) is State.PENDING


async def test_the_next_claim_counts_the_crash_apart_from_the_attempts(desk: Desk) -> None:
    await desk.submit()
    (held,) = await lose(desk)
    await desk.store.reap(QUEUE, LEASE, [verdict(held)])

    await desk.store.open_lease(QUEUE, "other/lease")
    (claim,) = (await desk.call(1, lease="other/lease")).claims

    assert (claim.attempt, claim.crashes, claim.number) == (1, 1, 2)


async def test_a_task_that_was_only_prefetched_has_not_crashed_anything(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    (held,) = await lose(desk, slots=0)

    await desk.store.reap(QUEUE, LEASE, [verdict(held)])

    sight = await desk.sight(task_id)
    assert (sight.state, sight.crashes, sight.attempts) == (State.PENDING, 0, [])


async def test_a_living_lease_is_left_alone(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    (held,) = await desk.store.held_by(QUEUE, LEASE)

    assert await desk.store.reap(QUEUE, LEASE, [verdict(held)]) == -1
    assert await desk.store.patrol(QUEUE, LONG_MS) == []
    assert await desk.state(task_id) is State.RUNNING


async def test_a_claim_that_changed_since_it_was_seen_is_left_alone(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    (held,) = await lose(desk)
    await desk.store.reap(QUEUE, LEASE, [verdict(held)])
    await desk.claim(lease="other/lease")

    assert await desk.store.reap(QUEUE, LEASE, [verdict(held, "dead")]) == 0
    assert await desk.state(task_id) is State.RUNNING


async def test_a_task_asked_to_cancel_ends_instead(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    (held,) = await lose(desk)
    await desk.store.cancel(QUEUE, task_id)

    await desk.store.reap(QUEUE, LEASE, [verdict(held)])

    assert await desk.state(task_id) is State.CANCELLED


async def test_after_a_pause_of_everybody_nobody_is_called_lost(desk: Desk) -> None:
    await desk.submit()
    await lose(desk)
    await desk.store.command("test", "HSET", desk.store.key("patrols", QUEUE), "last_ms", 1)

    assert await desk.store.patrol(QUEUE, 1_000) == []
    assert await desk.store.patrol(QUEUE, 1_000) == []


async def test_the_first_look_of_all_calls_nobody_lost(desk: Desk) -> None:
    """A queue may be younger than an outage, which is then not to be seen from the time of the last look."""
    await desk.submit()
    await lose(desk)
    await desk.store.command("test", "DEL", desk.store.key("patrols", QUEUE))

    assert await desk.store.patrol(QUEUE, LONG_MS) == []
    assert await desk.store.patrol(QUEUE, LONG_MS) == []


async def test_a_lease_from_a_future_that_never_came_is_cut(desk: Desk) -> None:
    key = desk.store.key("leases", QUEUE)
    await desk.store.command("test", "ZADD", key, 10**15, LEASE)

    await desk.store.patrol(QUEUE, LONG_MS)

    assert float(await desk.store.command("test", "ZSCORE", key, LEASE)) < 10**14
    await desk.store.release(QUEUE, LEASE, [], close=True)


# -- leases of different lengths, side by side --------------------------------------------------------------------------


@pytest.fixture
async def with_lease(desk: Desk) -> AsyncIterator[Callable[[int], Store]]:
    """Gives the same queue as a process with another --lease sees it; closed at the end, however the test ends."""
    made: list[Store] = []

    def make(lease_ms: int) -> Store:
        made.append(Store(desk.store.connector, desk.store._metrics, namespace=desk.store.namespace, lease_ms=lease_ms))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


async def left_ms(desk: Desk, lease: str) -> float:
    """How long this lease lasts from now on."""
    now_s, now_us = await desk.store.command("test", "TIME")
    end = await desk.store.command("test", "ZSCORE", desk.store.key("leases", QUEUE), lease)
    return float(end) - int(now_s) * 1000 - int(now_us) / 1000


async def test_a_looker_with_a_shorter_lease_cuts_no_other(desk: Desk, with_lease: Callable[[int], Store]) -> None:
    long, short = with_lease(60_000), with_lease(5_000)
    await long.open_lease(QUEUE, "long/lease")
    await short.open_lease(QUEUE, "short/lease")

    for _ in range(2):
        await short.patrol(QUEUE, LONG_MS)

    assert 50_000 < await left_ms(desk, "long/lease") <= 60_000
    assert 4_000 < await left_ms(desk, "short/lease") <= 5_000
    for store, lease in ((long, "long/lease"), (short, "short/lease")):
        await store.release(QUEUE, lease, [], close=True)


async def test_a_lease_from_the_future_is_cut_to_its_own_length_whoever_looks(desk: Desk, with_lease: Callable[[int], Store]) -> None:
    short, long = with_lease(5_000), with_lease(600_000)
    await short.open_lease(QUEUE, "short/lease")
    await desk.store.command("test", "ZINCRBY", desk.store.key("leases", QUEUE), 100_000, "short/lease")

    await long.patrol(QUEUE, LONG_MS)

    assert await left_ms(desk, "short/lease") <= 5_000
    await short.release(QUEUE, "short/lease", [], close=True)


async def test_after_a_pause_everybody_has_the_time_of_the_longest_lease(desk: Desk, with_lease: Callable[[int], Store]) -> None:
    long, short = with_lease(60_000), with_lease(5_000)
    await long.open_lease(QUEUE, "long/lease")
    await desk.store.command("test", "HSET", desk.store.key("patrols", QUEUE), "last_ms", 1)
    await desk.store.command("test", "ZADD", desk.store.key("leases", QUEUE), 1, "long/lease")

    assert await short.patrol(QUEUE, 1_000) == []

    now_s, _ = await desk.store.command("test", "TIME")
    until = await desk.store.command("test", "HGET", desk.store.key("patrols", QUEUE), "hold_until_ms")
    assert float(until) - int(now_s) * 1000 > 50_000
    await long.release(QUEUE, "long/lease", [], close=True)


async def test_a_lease_without_a_length_of_its_own_is_measured_by_the_lookers(desk: Desk) -> None:
    """One that was opened by a release which did not keep lengths."""
    await desk.store.open_lease(QUEUE, LEASE)
    await desk.store.command("test", "HDEL", desk.store.key("lengths", QUEUE), LEASE)
    await desk.store.command("test", "ZADD", desk.store.key("leases", QUEUE), 10**15, LEASE)

    await desk.store.patrol(QUEUE, LONG_MS)

    assert await left_ms(desk, LEASE) <= desk.store.lease_ms
    await desk.store.release(QUEUE, LEASE, [], close=True)
