"""Events: what the scripts tell while somebody watches, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Progress
from _taskqueue.store import wire
from _taskqueue.store.answers import pack_number
from _taskqueue.store.eventlog import EventLog
from _taskqueue.store.store import Store
from tests.store.desk import ATTEMPT, OUTCOME, QUEUE, STATES, Desk, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def events(desk: Desk) -> EventLog:
    """A log that is watched and has been read."""
    log = EventLog(desk.store)
    await log.watch()
    assert await log.read() == []
    return log


async def told(log: EventLog, task_id: str) -> list[str]:
    """What was told of a task."""
    return [event.what for event in await log.read() if task_id in event.ids]


@pytest.mark.parametrize(
    ("state", "story"),
    [
        (State.SCHEDULED, ["submitted"]),
        (State.PENDING, ["submitted"]),
        (State.RUNNING, ["submitted", "running"]),
        (State.SUCCEEDED, ["submitted", "running", "succeeded"]),
        (State.RETRYING, ["submitted", "running", "retrying"]),
        (State.DEAD, ["submitted", "running", "dead"]),
        (State.CANCELLED, ["submitted", "cancelled"]),
        (State.EXPIRED, ["submitted", "expired"]),
    ],
)
async def test_every_state_is_told(desk: Desk, events: EventLog, state: State, story: list[str]) -> None:
    task_id = await desk.in_state(state)

    assert await told(events, task_id) == story


async def test_nothing_is_told_while_nobody_watches(desk: Desk) -> None:
    for state in STATES[:3]:
        await desk.in_state(state)
        await desk.claim()

    assert await desk.store.command("test", "EXISTS", desk.store.key("events", QUEUE)) == 0


async def test_a_watch_ends_by_itself(desk: Desk, events: EventLog) -> None:
    left_ms = await desk.store.command("test", "PTTL", desk.store.key("watched", QUEUE))

    assert 0 < left_ms <= 10_000
    assert await events.read() == []


@pytest.mark.parametrize(("verb", "what"), [("release", "pending"), ("hold", "pending"), ("progress", "progress")])
async def test_reports_of_a_running_task_are_told(desk: Desk, events: EventLog, verb: str, what: str) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await events.read()

    await desk.report(verb, task_id, 0, wire.encode(Progress(1, 2, None, 1)))

    assert await told(events, task_id) == [what]


async def test_a_snoozed_task_is_told_as_scheduled(desk: Desk, events: EventLog) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await events.read()

    await desk.report("snooze", task_id, pack_number(60_000, 5))

    assert await told(events, task_id) == ["scheduled"]


async def test_acts_are_told(desk: Desk, events: EventLog) -> None:
    dead, later, gone = await desk.in_state(State.DEAD), await desk.in_state(State.SCHEDULED), await desk.in_state(State.CANCELLED)
    await events.read()

    await desk.store.retry(QUEUE, [(dead, 5), (gone, 5)], [State.DEAD])
    seen = (await desk.sight(later)).record
    await desk.store.edit(QUEUE, later, wire.encode(seen), seen, 1)
    await desk.store.remove(QUEUE, gone, later)

    assert [(event.what, event.count, set(event.ids)) for event in await events.read()] == [
        ("pending", 1, {dead}), ("pending", 1, {later}), ("removed", 2, {gone, later}),
    ]  # fmt: skip


async def test_promotion_is_told(desk: Desk, events: EventLog) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT)
    await events.read()

    await until(desk.store, task_id, State.PENDING)

    assert await told(events, task_id) == ["pending"]


async def test_many_at_once_are_one_event_that_counts_all(desk: Desk, events: EventLog) -> None:
    tasks = await desk.submit(300)
    await desk.claim(300)
    await desk.call(succeeded=[part for task_id in tasks for part in (task_id, OUTCOME)])

    found = await events.read()

    assert [(event.what, event.count, len(event.ids)) for event in found] == [
        (what, 300, 200) for what in ("submitted", "running", "succeeded")
    ]


async def test_each_event_is_read_once_and_by_every_reader(desk: Desk, events: EventLog) -> None:
    other = EventLog(desk.store)
    await other.read()
    (task_id,) = await desk.submit()

    assert [await told(events, task_id), await told(other, task_id), await told(events, task_id)] == [["submitted"], ["submitted"], []]


async def test_who_comes_back_hears_what_was_missed(desk: Desk, events: EventLog) -> None:
    (first,) = await desk.submit()
    (event,) = await events.read()
    (second,) = await desk.submit()

    missed = await events.since(event.at_ms)

    assert missed is not None
    ids = [task_id for one in missed for task_id in one.ids]
    assert second in ids
    assert set(ids) <= {first, second}


async def test_who_comes_back_too_late_is_told_so(desk: Desk, events: EventLog) -> None:
    await desk.submit()

    assert await events.since(1) is None
    await desk.store.command("test", "DEL", desk.store.key("watched", QUEUE))
    assert await events.since((await desk.store.count(QUEUE)).now_ms) is None


async def test_the_stream_has_a_bound(store: Store, new_id: Callable[[], str]) -> None:
    desk = Desk(store, new_id)
    await EventLog(store).watch()
    for _ in range(2_300):
        await desk.submit()

    length = await store.command("test", "XLEN", store.key("events", QUEUE))

    assert 2_000 <= length < 2_300
