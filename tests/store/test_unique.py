"""Unique keys: one task holds a key, until it ends or for a time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import Unique
from _taskqueue.life import running
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.store.answers import Denial
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import discover
from tests.conftest import submission
from tests.store.desk import QUEUE, STATES, WAIT_S, Desk

pytestmark = pytest.mark.anyio

KEY = "invoice 7"
LIVING = tuple(state for state in STATES if state not in TERMINAL)
ENDED = tuple(state for state in STATES if state in TERMINAL)


def unique(on_conflict: str = "return", key: str = KEY, ttl_ms: int | None = None) -> dict[str, Any]:
    """Terms of a task that wants a key, for a time when one is given."""
    return {"unique": Unique(key, ttl_ms, "active" if ttl_ms is None else "ttl", on_conflict), "unique_key": key}


async def offer(desk: Desk, *wishes: dict[str, Any]) -> tuple[list[str], dict[str, Denial]]:
    """Submit tasks in one call; their ids, and those that were denied."""
    ids = [desk.mint() for _ in wishes]
    denied = await desk.store.submit(QUEUE, [(one, submission(**terms)) for one, terms in zip(ids, wishes, strict=True)])
    return ids, denied


@pytest.mark.parametrize("state", LIVING)
@pytest.mark.parametrize(("on_conflict", "why"), [("return", "duplicate"), ("reject", "conflict")])
async def test_a_living_holder_keeps_its_key(desk: Desk, state: State, on_conflict: str, why: str) -> None:
    holder = await desk.in_state(state, **unique())

    (other,), denied = await offer(desk, unique(on_conflict))

    assert denied == {other: Denial(why, holder)}
    assert await desk.store.inspect(QUEUE, other) is None
    assert await desk.state(holder) is state


@pytest.mark.parametrize("state", [state for state in LIVING if state is not State.RUNNING])
async def test_a_waiting_holder_is_replaced(desk: Desk, state: State) -> None:
    holder = await desk.in_state(state, **unique())

    (other,), denied = await offer(desk, unique("replace"))

    assert denied == {}
    assert (await desk.state(holder), await desk.state(other)) == (State.CANCELLED, State.PENDING)
    _, denied = await offer(desk, unique("reject"))
    assert [one.holder for one in denied.values()] == [other]


async def test_a_held_back_holder_is_replaced(desk: Desk) -> None:
    holder = await desk.in_state(State.RUNNING, **unique())
    await desk.report("hold", holder)

    _, denied = await offer(desk, unique("replace"))

    assert denied == {}
    assert await desk.state(holder) is State.CANCELLED


async def test_a_running_holder_is_not_replaced(desk: Desk) -> None:
    holder = await desk.in_state(State.RUNNING, **unique())

    (other,), denied = await offer(desk, unique("replace"))

    assert denied == {other: Denial("conflict", holder)}
    assert await desk.state(holder) is State.RUNNING


@pytest.mark.parametrize("state", ENDED)
@pytest.mark.parametrize("on_conflict", ["return", "reject", "replace"])
async def test_a_holder_that_ended_frees_its_key(desk: Desk, state: State, on_conflict: str) -> None:
    holder = await desk.in_state(state, **unique())

    (other,), denied = await offer(desk, unique(on_conflict))

    assert denied == {}
    assert (await desk.state(holder), await desk.state(other)) == (state, State.PENDING)


@pytest.mark.parametrize("state", ENDED)
async def test_forgetting_the_old_holder_leaves_the_key_to_the_new(desk: Desk, state: State) -> None:
    await desk.in_state(state, **unique())
    (holder,), _ = await offer(desk, unique())

    assert await desk.store.prune(QUEUE, state, age_s=0, keep=0) == 1

    (other,), denied = await offer(desk, unique())
    assert denied == {other: Denial("duplicate", holder)}


async def test_a_forgotten_holder_frees_its_key(desk: Desk) -> None:
    (holder,) = await desk.submit(**unique())

    await desk.store.remove(QUEUE, holder)

    _, denied = await offer(desk, unique("reject"))
    assert denied == {}


async def test_other_keys_and_queues_are_not_concerned(desk: Desk) -> None:
    await desk.store.route("other")
    await desk.submit(**unique())

    _, here = await offer(desk, unique("reject", key=KEY + "!"))
    there = await desk.store.submit("other", [(desk.mint(2), submission(**unique("reject")))])

    assert (here, there) == ({}, {})


@pytest.mark.parametrize(("on_conflict", "why"), [("return", "duplicate"), ("reject", "conflict")])
async def test_the_first_of_one_call_holds_the_key(desk: Desk, on_conflict: str, why: str) -> None:
    (first, second, third), denied = await offer(desk, unique(), unique(on_conflict), {})

    assert denied == {second: Denial(why, first)}
    assert [await desk.state(one) for one in (first, third)] == [State.PENDING, State.PENDING]


async def test_tasks_that_replace_each_other_at_once_leave_the_last(store: Store, metrics: Metrics) -> None:
    producer, wish = Producer(store, metrics, discover([]), 1_000), submission(**unique("replace"))

    async with running(producer.run):
        first, second, third = await producer.submit_many([wish, wish, wish])

    assert [await Desk(store, str).state(str(one)) for one in (first, second, third)] == [State.CANCELLED, State.CANCELLED, State.PENDING]


async def test_sending_again_what_holds_the_key_is_fine(desk: Desk) -> None:
    batch = [(desk.mint(), submission(**unique("reject")))]
    first = await desk.store.submit(QUEUE, batch)

    again = await desk.store.submit(QUEUE, batch)
    await desk.claim()
    later = await desk.store.submit(QUEUE, batch)

    assert (first, again, later) == ({}, {}, {})


@pytest.mark.parametrize("state", STATES)
async def test_a_key_for_a_time_is_held_whatever_its_holder_does(desk: Desk, state: State) -> None:
    holder = await desk.in_state(state, **unique(ttl_ms=60_000))

    (other,), denied = await offer(desk, unique("reject", ttl_ms=60_000))

    assert denied == {other: Denial("conflict", holder)}


async def test_a_key_for_a_time_outlives_its_holder(desk: Desk) -> None:
    (holder,) = await desk.submit(**unique(ttl_ms=60_000))
    await desk.store.remove(QUEUE, holder)

    (other,), denied = await offer(desk, unique(ttl_ms=60_000))

    assert denied == {other: Denial("duplicate", holder)}


async def test_a_key_is_free_when_its_time_is_up(desk: Desk) -> None:
    holder = await desk.in_state(State.RUNNING, **unique(ttl_ms=1))

    with anyio.fail_after(WAIT_S):
        while (await offer(desk, unique("reject")))[1]:
            await anyio.sleep(0.002)

    assert await desk.state(holder) is State.RUNNING


async def test_promotion_lets_go_of_keys_whose_time_is_up(desk: Desk) -> None:
    (holder,) = await desk.submit(**unique(ttl_ms=1))
    await desk.store.remove(QUEUE, holder)

    with anyio.fail_after(WAIT_S):
        while await desk.store.command("test", "HLEN", desk.store.key("uniques", QUEUE)):
            await desk.store.promote(QUEUE)
            await anyio.sleep(0.002)

    assert await desk.store.command("test", "ZCARD", desk.store.key("unique_ends", QUEUE)) == 0


async def test_a_key_taken_again_lives_by_its_new_terms(desk: Desk) -> None:
    await desk.in_state(State.SUCCEEDED, unique=Unique(KEY, 60_000, "active"), unique_key=KEY)

    (second,), denied = await offer(desk, unique())

    assert denied == {}
    assert await desk.store.command("test", "ZCARD", desk.store.key("unique_ends", QUEUE)) == 0
    (other,), denied = await offer(desk, unique())
    assert denied == {other: Denial("duplicate", second)}


async def test_a_task_tried_again_holds_its_key_again(desk: Desk) -> None:
    holder = await desk.in_state(State.DEAD, **unique())

    await desk.store.retry(QUEUE, [(holder, 5)], [State.DEAD])

    (other,), denied = await offer(desk, unique())
    assert denied == {other: Denial("duplicate", holder)}


async def test_a_task_is_not_tried_again_while_another_holds_its_key(desk: Desk) -> None:
    old = await desk.in_state(State.DEAD, **unique())
    await offer(desk, unique())

    await desk.store.retry(QUEUE, [(old, 5)], [State.DEAD])

    assert await desk.state(old) is State.DEAD


async def test_another_try_leaves_a_key_its_time(desk: Desk) -> None:
    holder = await desk.in_state(State.DEAD, **unique(ttl_ms=60_000))
    await desk.store.retry(QUEUE, [(holder, 5)], [State.DEAD])

    await desk.store.cancel(QUEUE, holder)

    (other,), denied = await offer(desk, unique(ttl_ms=60_000))
    assert denied == {other: Denial("duplicate", holder)}


@pytest.mark.parametrize("on_conflict", ["return", "reject", "replace"])
async def test_a_task_whose_key_is_back_keeps_it_from_others(desk: Desk, on_conflict: str) -> None:
    old = await desk.in_state(State.CANCELLED, **unique())
    await desk.in_state(State.SUCCEEDED, **unique())
    assert await desk.store.retry(QUEUE, [(old, 5)], [State.CANCELLED]) == [(State.CANCELLED, True)]
    await desk.claim()

    (other,), denied = await offer(desk, unique(on_conflict))

    assert denied[other].holder == old


async def test_another_try_does_not_take_a_key_that_another_has_for_a_time(desk: Desk) -> None:
    old = await desk.in_state(State.CANCELLED, **unique())
    holder = await desk.in_state(State.SUCCEEDED, **unique(ttl_ms=60_000))

    assert await desk.store.retry(QUEUE, [(old, 5)], [State.CANCELLED]) == [(State.CANCELLED, False)]

    _, denied = await offer(desk, unique("reject"))
    assert [one.holder for one in denied.values()] == [holder]


async def over(desk: Desk) -> str:
    """A task that ended, whose key another got for a time that is over now; nobody has promoted since."""
    old = await desk.in_state(State.CANCELLED, **unique())
    await desk.submit(**unique(ttl_ms=1))
    ends = desk.store.key("unique_ends", QUEUE)
    await desk.store.command("test", "ZADD", ends, 1, KEY)
    return old


async def test_a_key_whose_time_is_up_is_free_for_another_try(desk: Desk) -> None:
    old = await over(desk)

    assert await desk.store.retry(QUEUE, [(old, 5)], [State.CANCELLED]) == [(State.CANCELLED, True)]


async def test_a_key_that_is_back_does_not_end_with_the_time_of_another(desk: Desk) -> None:
    old = await over(desk)
    await desk.store.retry(QUEUE, [(old, 5)], [State.CANCELLED])

    await desk.store.promote(QUEUE)

    (other,), denied = await offer(desk, unique("reject"))
    assert denied == {other: Denial("conflict", old)}
