"""settle_and_claim: the hot path. Every way out of running, the ways into it, and what is refused."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import State
from _taskqueue.store import wire
from _taskqueue.store.answers import Exchange, pack_number
from _taskqueue.store.store import CLAIM_BYTES_MAX
from tests.store.desk import ATTEMPT, FAILED, LEASE, OUTCOME, QUEUE, Desk, until

pytestmark = pytest.mark.anyio
SOON = pack_number(60_000, 5)


async def test_a_claimed_task_is_running_under_its_lease(desk: Desk) -> None:
    (task_id,) = await desk.submit()

    assert await desk.claim() == [task_id]

    sight = await desk.sight(task_id)
    assert sight.state is State.RUNNING
    assert sight.held is not None
    assert (sight.held.lease, sight.held.worker, sight.held.attempt) == (LEASE, "worker", 1)


async def test_a_success_is_recorded_once(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)

    first = await desk.call(succeeded=[task_id, OUTCOME])
    second = await desk.call(succeeded=[task_id, OUTCOME])

    sight = await desk.sight(task_id)
    assert sight.state is State.SUCCEEDED
    assert sight.outcome is not None
    assert sight.outcome.result == b'"done"'
    assert (first.refused, second.refused) == ([], [task_id.encode()])


@pytest.mark.parametrize(
    ("verb", "number", "after"),
    [
        ("retry", SOON, State.RETRYING),
        ("dead", 0, State.DEAD),
        ("cancel", 0, State.CANCELLED),
        ("snooze", SOON, State.SCHEDULED),
        ("hold", 0, State.PENDING),
        ("release", 0, State.PENDING),
    ],
)
async def test_every_other_settlement_moves_the_task_once(desk: Desk, verb: str, number: int, after: State) -> None:
    task_id = await desk.in_state(State.RUNNING)

    first = await desk.report(verb, task_id, number, ATTEMPT, OUTCOME)
    second = await desk.report(verb, task_id, number, ATTEMPT, OUTCOME)

    assert await desk.state(task_id) is after
    assert (first.refused, first.holding) == ([], 0)
    assert second.refused == [task_id.encode()]


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RETRYING, State.DEAD, State.CANCELLED, State.EXPIRED])
async def test_what_is_not_running_cannot_be_settled(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)
    await desk.store.open_lease(QUEUE, LEASE)

    answer = await desk.call(succeeded=[task_id, OUTCOME], reports=["retry", task_id, SOON, ATTEMPT, b"", ""])

    assert answer.refused == [task_id.encode()] * 2
    assert await desk.state(task_id) is state


async def test_a_lease_that_does_not_exist_changes_nothing(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    (waiting,) = await desk.submit()

    answer = await desk.store.settle_and_claim(QUEUE, "other/lease", Exchange(10, 10, [task_id, OUTCOME]))

    assert answer is None
    assert await desk.state(task_id) is State.RUNNING
    assert await desk.state(waiting) is State.PENDING


async def test_a_task_of_another_lease_cannot_be_settled(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.store.open_lease(QUEUE, "other/lease")

    answer = await desk.call(lease="other/lease", succeeded=[task_id, OUTCOME], reports=["dead", task_id, 0, ATTEMPT, OUTCOME, ""])

    assert answer.refused == [task_id.encode()] * 2
    assert await desk.state(task_id) is State.RUNNING


async def test_a_failed_task_comes_back_as_its_second_attempt(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT)

    await until(desk.store, task_id, State.PENDING)
    (claim,) = (await desk.call(1)).claims

    sight = await desk.sight(task_id)
    assert (claim.attempt, claim.crashes) == (2, 0)
    assert [one.failure.message for one in sight.attempts if one.failure] == ["no"]


async def test_a_snooze_uses_no_attempt(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("snooze", task_id, pack_number(1, 5))

    await until(desk.store, task_id, State.PENDING)
    (claim,) = (await desk.call(1)).claims

    assert claim.attempt == 1


async def test_a_released_task_stands_where_it_stood(desk: Desk) -> None:
    first, second = await desk.submit(2)
    assert await desk.claim(1) == [first]

    await desk.report("release", first)

    assert [claim.id.decode() for claim in (await desk.call(2)).claims] == [first, second]


async def test_a_held_task_is_pending_but_nobody_claims_it(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)

    answer = await desk.report("hold", task_id)

    assert answer.newest_unroutable >= answer.now_ms
    assert (await desk.call(10)).claims == []
    assert (await desk.store.count(QUEUE)).unroutable == 1


async def test_a_misfit_is_held_for_a_worker_with_another_signature(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)

    answer = await desk.report("misfit", task_id, 0, b"one")
    unfit = await desk.store.unfit(QUEUE, [task_id.encode()])
    await desk.store.adopt(QUEUE, [(task_id.encode(), (await desk.sight(task_id)).record)])
    (claim,) = (await desk.call(1)).claims
    await desk.report("misfit", task_id, 0, b"two")

    assert answer.newest_unroutable >= answer.now_ms
    assert unfit == [frozenset({"one"})]
    assert claim.attempt == 1
    assert await desk.store.unfit(QUEUE, [task_id.encode(), b"other"]) == [frozenset({"one", "two"}), frozenset()]
    assert (await desk.store.count(QUEUE)).unroutable == 1
    await desk.store.remove(QUEUE, task_id)
    assert await desk.store.unfit(QUEUE, [task_id.encode()]) == [frozenset()]


async def test_held_tasks_are_numbered_on_even_after_all_were_adopted(desk: Desk) -> None:
    before = 0
    for _ in range(2):
        task_id = await desk.in_state(State.RUNNING)
        answer = await desk.report("hold", task_id)
        assert answer.newest_unroutable > before
        before = answer.newest_unroutable
        await desk.store.cancel(QUEUE, task_id)


@pytest.mark.parametrize(("verb", "number"), [("retry", SOON), ("snooze", SOON), ("hold", 0), ("misfit", 0), ("release", 0)])
async def test_a_task_asked_to_cancel_never_runs_again(desk: Desk, verb: str, number: int) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.store.cancel(QUEUE, task_id)

    told = (await desk.call()).cancel
    await desk.report(verb, task_id, number, ATTEMPT)

    assert told == [task_id.encode()]
    assert await desk.state(task_id) is State.CANCELLED
    assert (await desk.call()).cancel == []


async def test_reports_of_a_running_task_are_kept(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)

    await desk.report("log", task_id, 0, b"a line")
    await desk.report("save", task_id, 0, b"42")
    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT)

    await until(desk.store, task_id, State.PENDING)
    (claim,) = (await desk.call(1)).claims
    kept = await desk.store.command("test", "HGET", desk.store.key("logs", QUEUE), f"{task_id}:1")
    assert claim.checkpoint == b"42"
    assert kept == b"a line"


async def test_due_tasks_are_promoted_and_claimed_in_the_same_call(desk: Desk) -> None:
    (task_id,) = await desk.submit(delay_ms=1)
    await until(desk.store, task_id, State.PENDING)

    assert await desk.claim() == [task_id]


async def test_the_answer_says_when_the_next_task_is_due(desk: Desk) -> None:
    await desk.submit(delay_ms=50_000)
    await desk.store.open_lease(QUEUE, LEASE)

    due_in_us = (await desk.call()).due_in_us

    assert 49e6 < due_in_us <= 50e6


async def test_an_expired_task_is_never_claimed(desk: Desk) -> None:
    (task_id,) = await desk.submit(expires_in_ms=1)
    await until(desk.store, task_id, State.EXPIRED)

    assert await desk.claim() == []


async def test_no_more_is_claimed_than_asked(desk: Desk) -> None:
    ids = await desk.submit(100)

    assert await desk.claim(70) == ids[:70]
    assert (await desk.call()).holding == 70


async def test_a_call_that_comes_again_settles_nothing_of_what_was_claimed_anew(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    await desk.claim()
    call = Exchange(1, 1, [], ["retry", task_id, pack_number(0, 5), ATTEMPT, b"", ""], turn=7)
    await desk.store.settle_and_claim(QUEUE, LEASE, call)

    again = await desk.store.settle_and_claim(QUEUE, LEASE, call)

    sight = await desk.sight(task_id)
    assert again is not None
    assert (again.refused, again.claims) == ([], [])
    assert (sight.state, sight.failed_attempts) == (State.RUNNING, 1)


async def test_a_call_that_comes_late_settles_nothing(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, turn=8))

    await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, [task_id, OUTCOME], turn=7))
    before = await desk.state(task_id)
    await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, [task_id, OUTCOME], turn=9))

    assert (before, await desk.state(task_id)) == (State.RUNNING, State.SUCCEEDED)


async def test_large_payloads_end_a_claim_early_and_stay_in_order(desk: Desk) -> None:
    size = CLAIM_BYTES_MAX // 20
    ids = await desk.submit(64, payload=b"x" * size)

    first = await desk.claim(64)
    second = await desk.claim(64)

    assert (first, second) == (ids[:19], ids[19:38])  # a record is a little more than its payload


async def test_small_payloads_do_not_overtake_a_large_one(desk: Desk) -> None:
    ids = [*await desk.submit(2, payload=b"x" * (CLAIM_BYTES_MAX * 2 // 3)), *await desk.submit(2)]

    assert await desk.claim(64) == ids[:1]
    assert await desk.claim(64) == ids[1:]


async def test_a_record_larger_than_a_claim_may_be_comes_alone(desk: Desk) -> None:
    ids = await desk.submit(2, payload=b"x" * (CLAIM_BYTES_MAX + 1))

    assert [await desk.claim(64), await desk.claim(64)] == [ids[:1], ids[1:]]


async def test_what_is_beyond_the_slots_is_marked_prefetched(desk: Desk) -> None:
    ids = await desk.submit(3)
    await desk.store.open_lease(QUEUE, LEASE)

    await desk.store.settle_and_claim(QUEUE, LEASE, Exchange(3, 1))

    started = {held.id.decode() for held in await desk.store.held_by(QUEUE, LEASE) if held.started}
    assert started == {ids[0]}


async def test_a_record_that_vanished_is_named_and_nothing_else_is_harmed(desk: Desk) -> None:
    lost, whole = await desk.submit(2)
    await desk.store.command("test", "HDEL", desk.store.key("records", QUEUE), lost)
    await desk.store.open_lease(QUEUE, LEASE)

    answer = await desk.call(10)

    assert answer.missing == [lost.encode()]
    assert [claim.id.decode() for claim in answer.claims] == [whole]


async def test_an_outcome_reads_back(desk: Desk) -> None:
    task_id = await desk.in_state(State.DEAD)

    outcome = (await desk.sight(task_id)).outcome

    assert outcome == wire.decode_outcome(FAILED)


async def test_a_worker_whose_hands_are_full_wakes_another_for_what_is_due(desk: Desk) -> None:
    (task_id,) = await desk.submit(delay_ms=60_000)
    await desk.store.open_lease(QUEUE, LEASE)
    await desk.store.command("test", "ZADD", desk.store.key("scheduled", QUEUE), 1, task_id)
    await desk.store.command("test", "DEL", desk.store.key("wake", QUEUE))

    await desk.call(0)

    assert await desk.state(task_id) is State.PENDING
    assert await desk.store.command("test", "LLEN", desk.store.key("wake", QUEUE)) == 1
