"""configure: pause, resume, and the length of a queue. And how long a task is kept that says so itself."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import Unique
from _taskqueue.store.answers import Denial
from tests.conftest import submission
from tests.store.desk import LEASE, OUTCOME, QUEUE, Desk

pytestmark = pytest.mark.anyio


async def offer(desk: Desk, count: int, **terms: Any) -> list[Denial | None]:
    """Submit in one call; for each the denial, or None."""
    ids = [desk.mint() for _ in range(count)]
    denied = await desk.store.submit(QUEUE, [(one, submission(**terms)) for one in ids])
    return [denied.get(one) for one in ids]


FULL = Denial("full")


async def test_settings_are_given_back(desk: Desk) -> None:
    first = await desk.store.configure(QUEUE, {"paused": "lunch", "max_length": "5"})
    second = await desk.store.configure(QUEUE, {"paused": ""})

    assert (first, second) == ({"paused": "lunch", "max_length": "5"}, {"max_length": "5"})
    assert (await desk.store.count(QUEUE)).settings == {"max_length": "5"}
    assert await desk.store.configure(QUEUE, {}) == {"max_length": "5"}


async def test_nothing_is_claimed_from_a_paused_queue(desk: Desk) -> None:
    (running,) = await desk.submit()
    await desk.claim()
    (waiting,) = await desk.submit()

    await desk.store.configure(QUEUE, {"paused": " "})
    answer = await desk.call(10)

    assert (answer.claims, answer.paused) == ([], True)
    assert await desk.state(waiting) is State.PENDING
    await desk.call(succeeded=[running, OUTCOME])
    assert await desk.state(running) is State.SUCCEEDED


async def test_a_paused_queue_accepts_and_promotes(desk: Desk) -> None:
    await desk.store.configure(QUEUE, {"paused": " "})

    assert await offer(desk, 2) == [None, None]
    assert await desk.claim() == []
    assert (await desk.store.count(QUEUE)).states["pending"] == 2


async def test_a_resumed_queue_goes_on_and_wakes_its_workers(desk: Desk) -> None:
    await desk.store.configure(QUEUE, {"paused": " "})
    tasks = await desk.submit(2)
    await desk.store.command("test", "DEL", desk.store.key("wake", QUEUE))

    await desk.store.configure(QUEUE, {"paused": ""})

    assert await desk.store.command("test", "LLEN", desk.store.key("wake", QUEUE)) == 1
    answer = await desk.claim()
    assert answer == tasks
    assert (await desk.call(0)).paused is False


async def test_a_full_queue_takes_what_it_has_room_for(desk: Desk) -> None:
    await desk.store.configure(QUEUE, {"max_length": "3"})

    assert await offer(desk, 5) == [None, None, None, FULL, FULL]
    assert await offer(desk, 1) == [FULL]
    assert (await desk.store.count(QUEUE)).states["pending"] == 3


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RETRYING])
async def test_what_waits_takes_room(desk: Desk, state: State) -> None:
    await desk.in_state(state)
    await desk.store.configure(QUEUE, {"max_length": "1"})

    assert await offer(desk, 1) == [FULL]


async def test_what_is_held_takes_room(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("hold", task_id)
    await desk.store.configure(QUEUE, {"max_length": "1"})

    assert await offer(desk, 1) == [FULL]


@pytest.mark.parametrize("state", [State.RUNNING, *sorted(TERMINAL)])
async def test_what_runs_or_has_ended_takes_no_room(desk: Desk, state: State) -> None:
    await desk.in_state(state)
    await desk.store.configure(QUEUE, {"max_length": "1"})

    assert await offer(desk, 1) == [None]


async def test_a_length_of_zero_takes_nothing_and_no_length_everything(desk: Desk) -> None:
    await desk.store.configure(QUEUE, {"max_length": "0"})
    assert await offer(desk, 1) == [FULL]

    await desk.store.configure(QUEUE, {"max_length": ""})
    assert await offer(desk, 1) == [None]


async def test_tasks_sent_again_are_known_to_a_full_queue(desk: Desk) -> None:
    batch = [(desk.mint(), submission()), (desk.mint(), submission())]
    await desk.store.submit(QUEUE, batch)
    await desk.store.configure(QUEUE, {"max_length": "1"})

    assert await desk.store.submit(QUEUE, batch) == {}


async def test_tasks_with_labels_and_without_share_the_room(desk: Desk) -> None:
    await desk.store.configure(QUEUE, {"max_length": "1"})
    plain, rich = desk.mint(), desk.mint()

    denied = await desk.store.submit(QUEUE, [(rich, submission(tags=("a",))), (plain, submission())])

    assert list(denied.values()) == [FULL]
    assert (await desk.store.count(QUEUE)).states["pending"] == 1


@pytest.mark.parametrize("on_conflict", ["return", "replace"])
async def test_a_task_that_adds_nothing_needs_no_room(desk: Desk, on_conflict: str) -> None:
    await desk.store.configure(QUEUE, {"max_length": "1"})
    await desk.submit(unique=Unique("k"), unique_key="k")

    (denial,) = await offer(desk, 1, unique=Unique("k", on_conflict=on_conflict), unique_key="k")

    assert denial != FULL


async def test_other_queues_have_their_own_settings(desk: Desk) -> None:
    route = await desk.store.route("other")
    await desk.store.configure("other", {"max_length": "0", "paused": " "})

    assert await offer(desk, 1) == [None]
    assert len(await desk.claim()) == 1
    assert await desk.store.submit("other", [(other := desk.mint(route), submission())]) == {other: FULL}


# -- retain -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_task_is_forgotten_when_its_own_time_is_up(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, retain_ms=0)
    kept = await desk.in_state(state, retain_ms=60_000)
    plain = await desk.in_state(state)

    await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=3600, keep=100)

    assert await desk.store.inspect(QUEUE, task_id) is None
    assert await desk.state(kept) is state
    assert await desk.state(plain) is state


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RUNNING, State.RETRYING])
async def test_a_task_that_lives_is_not_forgotten_by_its_own_time(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, retain_ms=0)

    await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=3600, keep=100)

    assert await desk.state(task_id) is state


async def test_a_task_tried_again_is_kept_until_it_ended_again(desk: Desk) -> None:
    task_id = await desk.in_state(State.CANCELLED, retain_ms=0)
    await desk.store.retry(QUEUE, [(task_id, 5)], [State.CANCELLED])

    await desk.store.prune(QUEUE, State.CANCELLED, age_s=3600, keep=100)
    assert await desk.claim(lease=LEASE) == [task_id]
    await desk.call(succeeded=[task_id, OUTCOME])
    await desk.store.prune(QUEUE, State.CANCELLED, age_s=3600, keep=100)

    assert await desk.store.inspect(QUEUE, task_id) is None


async def test_a_retention_of_its_own_never_keeps_a_task_longer(desk: Desk) -> None:
    task_id = await desk.in_state(State.SUCCEEDED, retain_ms=3_600_000)

    await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=0, keep=100)

    assert await desk.store.inspect(QUEUE, task_id) is None


async def test_what_was_forgotten_by_its_own_time_is_counted(desk: Desk) -> None:
    await desk.in_state(State.SUCCEEDED, retain_ms=0)

    assert await desk.store.prune(QUEUE, State.SUCCEEDED, age_s=3600, keep=100) == 1
