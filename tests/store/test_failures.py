"""Groups of equal errors: who fails now, and how often it happened."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Ending, Failure, fault_of
from _taskqueue.filters import Filter
from _taskqueue.store.answers import Exchange, Verdict, pack_number
from _taskqueue.store.browse import Browse, Group
from _taskqueue.store.store import Store
from tests.store.desk import ATTEMPT, FAILED, FAULT, LEASE, OUTCOME, QUEUE, Desk, until

pytestmark = pytest.mark.anyio

OTHER = fault_of("echo", Failure("KeyError", "no"))
FAILING = (State.RETRYING, State.DEAD)


def print_of(fault: str) -> str:
    return fault.partition(" ")[0]


async def groups(desk: Desk) -> dict[str, Group]:
    """The groups by their fingerprint."""
    return {group.fingerprint: group for group in await Browse(desk.store).failures()}


async def failing(desk: Desk, fault: str = FAULT) -> list[str]:
    """The tasks that fail with an error now."""
    page = await Browse(desk.store).page(Filter(fingerprints=(print_of(fault),)), descending=False, limit=100, after=None)
    return [sight.id for sight in page.sights]


@pytest.mark.parametrize("state", FAILING)
async def test_a_task_that_fails_is_in_its_group(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT)

    (group,) = (await groups(desk)).values()

    assert group.fingerprint == (await desk.sight(task_id)).fingerprint == print_of(FAULT)
    assert (group.tasks, group.occurrences, group.queues) == (1, 1, {QUEUE: 1})
    assert (group.sample.task, group.sample.type, group.sample.message) == ("echo", "ValueError", "no")
    assert 0 < group.first_ms <= group.last_ms
    assert await failing(desk) == [task_id]


async def test_equal_errors_are_one_group_and_others_another(desk: Desk) -> None:
    for fault in (FAULT, FAULT, OTHER, FAULT):
        await desk.in_state(State.DEAD, fault=fault)

    found = await groups(desk)

    assert {name: (group.tasks, group.occurrences) for name, group in found.items()} == {print_of(FAULT): (3, 3), print_of(OTHER): (1, 1)}


async def test_each_attempt_counts_and_the_task_once(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    for _ in range(3):
        await desk.claim()
        await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT, fault=FAULT)
        await until(desk.store, task_id, State.PENDING)

    (group,) = (await groups(desk)).values()

    assert (group.tasks, group.occurrences) == (1, 3)


async def test_another_error_moves_the_task_to_another_group(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    await desk.claim()
    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT, fault=FAULT)
    await until(desk.store, task_id, State.PENDING)
    await desk.claim()
    await desk.report("dead", task_id, 0, ATTEMPT, FAILED, OTHER)

    assert list(await groups(desk)) == [print_of(OTHER)]
    assert (await failing(desk), await failing(desk, OTHER)) == ([], [task_id])


async def test_success_takes_a_task_out_of_its_group(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    await desk.claim()
    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT, fault=FAULT)
    await until(desk.store, task_id, State.PENDING)
    assert await failing(desk) == [task_id]

    await desk.claim()
    await desk.call(succeeded=[task_id, OUTCOME])

    assert (await groups(desk), await failing(desk)) == ({}, [])


async def test_cancelling_takes_a_task_out_of_its_group(desk: Desk) -> None:
    task_id = await desk.in_state(State.RETRYING, fault=FAULT)

    await desk.store.cancel(QUEUE, task_id)

    assert (await groups(desk), (await desk.sight(task_id)).fingerprint) == ({}, "")


async def test_a_task_cancelled_while_it_fails_is_in_no_group(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.store.cancel(QUEUE, task_id)

    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT, fault=FAULT)

    assert await desk.state(task_id) is State.CANCELLED
    assert await groups(desk) == {}


async def test_expiry_takes_a_task_out_of_its_group(desk: Desk) -> None:
    (task_id,) = await desk.submit(expires_in_ms=50)
    assert await desk.claim() == [task_id]
    await desk.report("retry", task_id, pack_number(60_000, 5), ATTEMPT, fault=FAULT)

    await until(desk.store, task_id, State.EXPIRED)

    assert await groups(desk) == {}


@pytest.mark.parametrize("state", FAILING)
async def test_another_try_takes_a_task_out_of_its_group(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT)

    await desk.store.retry(QUEUE, [(task_id, 5)], FAILING)

    assert await groups(desk) == {}


@pytest.mark.parametrize("state", FAILING)
async def test_removal_takes_a_task_out_of_its_group(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT)

    await desk.store.remove(QUEUE, task_id)

    assert await groups(desk) == {}


async def test_pruning_takes_tasks_out_of_their_groups(desk: Desk) -> None:
    tasks = [await desk.in_state(State.DEAD, fault=FAULT) for _ in range(3)]

    await desk.store.prune(QUEUE, State.DEAD, age_s=3600, keep=1)

    (group,) = (await groups(desk)).values()
    assert (group.tasks, group.occurrences) == (1, 3)
    assert set(await failing(desk)) < set(tasks)


async def test_a_task_that_fails_again_is_in_its_group_again(desk: Desk) -> None:
    task_id = await desk.in_state(State.DEAD, fault=FAULT)
    await desk.store.retry(QUEUE, [(task_id, 5)], FAILING)
    await desk.claim()
    await desk.report("dead", task_id, 0, ATTEMPT, FAILED, FAULT)

    (group,) = (await groups(desk)).values()

    assert (group.tasks, group.occurrences) == (1, 2)


@pytest.mark.parametrize("verdict", ["retry", "dead"])
async def test_a_lost_task_is_in_the_group_of_lost_ones(desk: Desk, verdict: str) -> None:
    task_id = await desk.in_state(State.RUNNING)
    (held,) = await desk.store.held_by(QUEUE, LEASE)
    attempt = Attempt(1, Ending.LOST, 1, 1, "worker", Failure("WorkerLost", "gone"))
    await desk.store.command("test", "ZADD", desk.store.key("leases", QUEUE), 1, LEASE)

    assert await desk.store.reap(QUEUE, LEASE, [Verdict(held, verdict, 60_000, 5, attempt, None, FAULT)]) == 1

    assert await failing(desk) == [task_id]


async def test_queues_share_groups_and_can_be_told_apart(desk: Desk) -> None:
    await desk.in_state(State.DEAD, fault=FAULT)
    route = await desk.store.route("other")
    task_id = await desk.submit_to("other", route)
    await desk.store.open_lease("other", LEASE)
    await desk.store.settle_and_claim("other", LEASE, Exchange(1, 1))
    await desk.store.settle_and_claim("other", LEASE, Exchange(0, 0, [], ["dead", task_id, 0, ATTEMPT, FAILED, FAULT]))

    (both,) = await Browse(desk.store).failures()
    (one,) = await Browse(desk.store).failures(["other"])

    assert (both.queues, both.tasks, both.occurrences) == ({QUEUE: 1, "other": 1}, 2, 2)
    assert (one.queues, one.tasks) == ({"other": 1}, 1)


async def test_a_failure_without_a_fault_makes_no_group(desk: Desk) -> None:
    await desk.in_state(State.DEAD)

    assert await groups(desk) == {}


@pytest.mark.parametrize("message", ["", "two\nlines", "null \0 byte", "\u65e5\u672c", "a b  c", "x" * 10_000])
async def test_any_message_can_be_the_sample(desk: Desk, message: str) -> None:
    await desk.in_state(State.DEAD, fault=fault_of("echo", Failure("ValueError", message)))

    (group,) = (await groups(desk)).values()

    assert group.sample.message == message[:500]


async def test_the_oldest_of_too_many_groups_is_forgotten(store: Store, new_id: Any) -> None:
    desk = Desk(store, new_id)
    tasks = await desk.submit(500)
    faults = [f"print{number} {FAULT.partition(' ')[2]}" for number in range(1_002)]
    for start in range(0, 1_002, 500):
        some = faults[start : start + 500]
        await desk.claim(500)
        reports = [part for task_id, fault in zip(tasks, some, strict=False) for part in ("retry", task_id, 5, ATTEMPT, b"", fault)]
        await desk.call(reports=reports)

    known = await store.command("test", "ZCARD", store.key("failing", QUEUE))
    fields = await store.command("test", "HLEN", store.key("failures", QUEUE))

    assert (known, fields) == (1_000, 3_000)
