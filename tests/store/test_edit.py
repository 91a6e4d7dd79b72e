"""edit: a waiting task gets another record, and moves to its new place."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.states import State
from _taskqueue.store import wire
from _taskqueue.store.browse import Browse
from _taskqueue.store.wire import decode_record, encode
from tests.store.desk import FAULT, QUEUE, STATES, Desk, until

pytestmark = pytest.mark.anyio

WAITING = (State.SCHEDULED, State.PENDING, State.RETRYING)
HOUR_MS = 3_600_000


def now_ms() -> int:
    return int(time.time() * 1000)


async def edit(desk: Desk, task_id: str, run_at_ms: int | None = None, **changes: Any) -> tuple[State | None, int]:
    """Change a task as it is seen now."""
    seen = await desk.store.raw_record(QUEUE, task_id)
    assert seen is not None
    return await desk.store.edit(QUEUE, task_id, seen, msgspec.structs.replace(decode_record(seen), **changes), run_at_ms)


@pytest.mark.parametrize("state", STATES)
async def test_only_a_waiting_task_is_changed(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    answer = await edit(desk, task_id, max_attempts=77)

    assert answer == (state, 1 if state in WAITING else 0)
    sight = await desk.sight(task_id)
    assert (sight.state, sight.record.max_attempts) == (state, 77 if state in WAITING else None)


async def test_an_unknown_task_has_no_state(desk: Desk) -> None:
    task_id = await desk.in_state(State.PENDING)
    seen = await raw(desk, task_id)

    assert await desk.store.raw_record(QUEUE, "nothing") is None
    assert await desk.store.edit(QUEUE, "nothing", encode(seen), seen, None) == (None, 0)


async def test_of_two_that_change_a_task_at_once_one_is_told(desk: Desk) -> None:
    task_id = await desk.in_state(State.PENDING)
    seen = await raw(desk, task_id)
    mine, theirs = (msgspec.structs.replace(wire.decode_record(seen), max_attempts=number) for number in (1, 2))

    first = await desk.store.edit(QUEUE, task_id, encode(seen), mine, None)
    second = await desk.store.edit(QUEUE, task_id, encode(seen), theirs, None)

    assert (first, second) == ((State.PENDING, 1), (State.PENDING, -1))
    assert (await desk.sight(task_id)).record == mine


@pytest.mark.parametrize("priority", range(10))
async def test_a_pending_task_moves_by_its_priority_and_keeps_its_age(desk: Desk, priority: int) -> None:
    first, second, third = await desk.submit(3, priority=5)

    await edit(desk, second, priority=priority)

    order = await desk.claim()
    want = [second, first, third] if priority > 5 else [first, third, second] if priority < 5 else [first, second, third]
    assert order == want


async def test_there_and_back_is_the_old_place(desk: Desk) -> None:
    tasks = await desk.submit(3, priority=5)
    before = (await desk.sight(tasks[1])).score

    for priority in (9, 0, 5):
        await edit(desk, tasks[1], priority=priority)

    assert (await desk.sight(tasks[1])).score == before


@pytest.mark.parametrize("state", [State.SCHEDULED, State.RETRYING])
async def test_what_waits_for_its_time_brings_its_new_priority_along(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, priority=5)
    due = (await desk.sight(task_id)).score
    assert due is not None

    await edit(desk, task_id, priority=9)

    score = (await desk.sight(task_id)).score
    assert score is not None
    assert (int(score), score % 1) == (int(due), 9 / 16)


async def test_a_pending_task_is_put_off(desk: Desk) -> None:
    task_id = await desk.in_state(State.PENDING)
    later = now_ms() + HOUR_MS

    assert await edit(desk, task_id, later) == (State.SCHEDULED, 1)

    sight = await desk.sight(task_id)
    assert (sight.state, int(sight.score or 0)) == (State.SCHEDULED, later)
    assert await desk.claim() == []


async def test_a_scheduled_task_is_started_now(desk: Desk) -> None:
    task_id = await desk.in_state(State.SCHEDULED)

    assert await edit(desk, task_id, now_ms() - HOUR_MS) == (State.PENDING, 1)

    assert await desk.claim() == [task_id]


async def test_a_scheduled_task_is_put_off_further(desk: Desk) -> None:
    task_id = await desk.in_state(State.SCHEDULED)
    later = now_ms() + HOUR_MS

    assert await edit(desk, task_id, later, priority=9) == (State.SCHEDULED, 1)

    assert (await desk.sight(task_id)).score == later + 9 / 16


@pytest.mark.parametrize("at", [-HOUR_MS, HOUR_MS])
async def test_a_retrying_task_stays_one_and_gets_its_time(desk: Desk, at: int) -> None:
    task_id = await desk.in_state(State.RETRYING)
    when = now_ms() + at

    assert await edit(desk, task_id, when) == (State.RETRYING, 1)

    assert int((await desk.sight(task_id)).score or 0) == when
    if at < 0:
        await until(desk.store, task_id, State.PENDING)


async def test_a_held_task_is_changed_where_it_is(desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("hold", task_id)

    assert await edit(desk, task_id, priority=9) == (State.PENDING, 1)

    sight = await desk.sight(task_id)
    assert (sight.unroutable, sight.record.priority) == (True, 9)


async def test_labels_follow_the_record(desk: Desk) -> None:
    task_id = await desk.in_state(State.RETRYING, fault=FAULT, tags=("old", "both"), meta={"k": "v"}, batch="b")
    browse = Browse(desk.store)

    await edit(desk, task_id, tags=("both", "new"))

    found = {tag: await browse._labelled_count(QUEUE, tag) for tag in ("t:old", "t:both", "t:new", "m:k=v", "b:b")}
    assert found == {"t:old": 0, "t:both": 1, "t:new": 1, "m:k=v": 1, "b:b": 1}
    await edit(desk, task_id, tags=())
    assert await browse._labelled_count(QUEUE, "t:new") == 0


@pytest.mark.parametrize(
    "terms",
    [
        {"tags": ("a",), "meta": {"b": "2", "a": "1"}},
        {"backoff": Backoff(base=2.5, jitter=False)},
        {"payload": b"x" * 100_000, "timeout_s": 0.25},
        {"backoff": Backoff(base=2)},
        {"timeout_s": 30},
    ],
)
async def test_a_record_that_nobody_changed_is_the_one_seen(desk: Desk, terms: dict[str, Any]) -> None:
    (task_id,) = await desk.submit(**terms)

    assert await edit(desk, task_id, priority=1) == (State.PENDING, 1)


async def test_workers_are_woken(desk: Desk) -> None:
    task_id = await desk.in_state(State.SCHEDULED)
    await desk.store.command("test", "DEL", desk.store.key("wake", QUEUE))

    await edit(desk, task_id, now_ms() - HOUR_MS)

    assert await desk.store.command("test", "LLEN", desk.store.key("wake", QUEUE)) == 1
