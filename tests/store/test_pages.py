"""look and page: lists of tasks, in order, without gaps or repetitions over their pages."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.states import State
from _taskqueue.filters import Filter
from _taskqueue.store import browse as browsing
from _taskqueue.store.answers import Sight
from _taskqueue.store.browse import Browse, Page
from _taskqueue.store.store import Store
from tests.conftest import submission
from tests.store.desk import FAULT, OUTCOME, QUEUE, STATES, Desk

pytestmark = pytest.mark.anyio


async def pages(desk: Desk, wanted: Filter, *, limit: int, descending: bool = False) -> list[Page]:
    """All pages of a list."""
    browse, found = Browse(desk.store), []
    after = None
    while True:
        page = await browse.page(wanted, descending=descending, limit=limit, after=after)
        found.append(page)
        after = page.next
        if after is None:
            return found


async def walk(desk: Desk, wanted: Filter, *, limit: int, descending: bool = False) -> list[Sight]:
    """All tasks of a list."""
    return [sight for page in await pages(desk, wanted, limit=limit, descending=descending) for sight in page.sights]


async def many_in(desk: Desk, state: State, count: int) -> list[str]:
    """So many tasks that came into this state in one call."""
    if state is State.SCHEDULED:
        return await desk.submit(count, delay_ms=60_000)
    tasks = await desk.submit(count, **({"expires_in_ms": 1} if state is State.EXPIRED else {}))
    if state is State.CANCELLED:
        await desk.store.cancel(QUEUE, *tasks)
    elif state is State.EXPIRED:
        while (await desk.store.count(QUEUE)).states["expired"] < count:
            await desk.store.promote(QUEUE)
    elif state is not State.PENDING:
        await desk.claim(count)
        if state is State.SUCCEEDED:
            await desk.call(succeeded=[part for task_id in tasks for part in (task_id, OUTCOME)])
        elif state is not State.RUNNING:
            verb = {"retrying": "retry", "dead": "dead"}[state.value]
            await desk.call(reports=[part for task_id in tasks for part in (verb, task_id, 60_000 * 16 + 5, b"", b"", FAULT)])
    return tasks


@pytest.mark.parametrize("state", STATES)
async def test_look_agrees_with_inspect(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT, tags=("a",))

    looked, nothing = await Browse(desk.store).look(QUEUE, [task_id, "task" + "0" * 26])

    inspected = await desk.sight(task_id)
    assert nothing is None
    assert looked is not None
    for name in ("state", "record", "score", "held", "failed_attempts", "crashes", "outcome", "attempts", "fingerprint", "unroutable"):
        assert getattr(looked, name) == getattr(inspected, name), name


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("state", [state for state in STATES if state not in (State.RETRYING, State.DEAD)])
async def test_tasks_of_one_moment_are_each_seen_once(desk: Desk, state: State, descending: bool) -> None:
    tasks = await many_in(desk, state, 60)

    seen = [sight.id for sight in await walk(desk, Filter(states=(state,)), limit=7, descending=descending)]

    assert seen == sorted(tasks, reverse=descending)


@pytest.mark.parametrize("descending", [False, True])
async def test_a_thousand_tasks_of_one_call_are_each_seen_once(store: Store, new_id: Any, descending: bool) -> None:
    desk = Desk(store, new_id)
    tasks = await desk.submit(1_000)

    found = await pages(desk, Filter(), limit=7, descending=descending)

    assert [sight.id for page in found for sight in page.sights] == sorted(tasks, reverse=descending)
    assert [len(page.sights) for page in found] == [7] * 142 + [6]
    assert all(page.complete for page in found)


@pytest.mark.parametrize("limit", [1, 2, 249, 250, 251, 499, 500])
async def test_no_size_of_pages_loses_a_task(store: Store, new_id: Any, limit: int) -> None:
    desk, half = Desk(store, new_id), min(250, 20 * limit)
    tasks = [*await desk.submit(half), *await desk.submit(half, delay_ms=5_000)]

    seen = [sight.id for sight in await walk(desk, Filter(), limit=limit)]

    assert sorted(seen) == sorted(tasks)
    assert len(seen) == len(set(seen))


async def test_priorities_mix_in_one_order(desk: Desk) -> None:
    tasks = [task_id for priority in (5, 0, 9, 3) for task_id in await desk.submit(5, priority=priority)]

    up = [sight.id for sight in await walk(desk, Filter(), limit=3)]
    down = [sight.id for sight in await walk(desk, Filter(), limit=3, descending=True)]

    assert sorted(up) == sorted(tasks)
    assert down == up[::-1]


async def test_every_state_comes_in_one_list(desk: Desk) -> None:
    tasks = {}
    for state in (
        State.EXPIRED,
        State.SUCCEEDED,
        State.DEAD,
        State.CANCELLED,
        State.RETRYING,
        State.SCHEDULED,
        State.RUNNING,
        State.PENDING,
    ):
        tasks[state] = await desk.in_state(state)

    for descending in (False, True):
        seen = await walk(desk, Filter(), limit=3, descending=descending)
        assert sorted((sight.state, sight.id) for sight in seen) == sorted(tasks.items())
    some = await walk(desk, Filter(states=(State.DEAD, State.RUNNING, State.BLOCKED)), limit=1)
    assert {sight.id for sight in some} == {tasks[State.DEAD], tasks[State.RUNNING]}


async def test_finished_tasks_come_in_the_order_of_their_end(desk: Desk) -> None:
    first, second, third = [await desk.in_state(State.PENDING) for _ in range(3)]
    await desk.claim()
    for task_id in (second, third, first):
        await desk.call(succeeded=[task_id, OUTCOME])
        await next_millisecond(desk)

    seen = [sight.id for sight in await walk(desk, Filter(states=(State.SUCCEEDED,)), limit=2)]

    assert seen == [second, third, first]


async def next_millisecond(desk: Desk) -> None:
    """Wait until the store's clock has moved on."""
    now = (await desk.store.count(QUEUE)).now_ms
    while (await desk.store.count(QUEUE)).now_ms == now:
        pass


async def test_held_tasks_are_in_the_list_of_pending_ones(desk: Desk) -> None:
    held = await desk.in_state(State.RUNNING)
    await desk.report("hold", held)
    (pending,) = await desk.submit()

    seen = await walk(desk, Filter(states=(State.PENDING,)), limit=1)

    assert {sight.id: sight.unroutable for sight in seen} == {held: True, pending: False}


async def test_several_queues_are_merged_by_time(desk: Desk) -> None:
    names = ("default", "b", "a")
    routes = {name: await desk.store.route(name) for name in names}
    tasks = []
    for name in names * 8:
        tasks.append(await desk.submit_to(name, routes[name]))
        await next_millisecond(desk)

    for descending in (False, True):
        seen = [sight.id for sight in await walk(desk, Filter(), limit=5, descending=descending)]
        assert seen == (tasks[::-1] if descending else tasks)
    some = await walk(desk, Filter(queues=("a", "b", "nowhere")), limit=5)
    assert {sight.queue for sight in some} == {"a", "b"}
    assert len(some) == 16


async def test_what_a_filter_leaves_out_is_looked_at_within_a_bound(store: Store, new_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "SCAN_MAX", 100)
    monkeypatch.setattr(browsing, "CHUNK", 50)
    desk = Desk(store, new_id)
    await desk.submit(240)
    (wanted,) = await desk.submit(task="other")

    found = await pages(desk, Filter(tasks=("other",)), limit=10)

    assert [page.complete for page in found] == [False, False, True]
    assert [page.scanned for page in found] == [100, 100, 41]
    assert [sight.id for page in found for sight in page.sights] == [wanted]


async def test_a_long_payload_is_cut_in_a_list_and_its_length_is_known(desk: Desk) -> None:
    (task_id,) = await desk.submit(payload=b"x" * 100_000, tags=("a",))

    (sight,) = await walk(desk, Filter(), limit=5)

    assert sight.id == task_id
    assert len(sight.record.payload) == 100_000
    assert sight.record.payload[:10_000] == b"x" * 10_000
    assert 0 < sight.cut_bytes < 100_000


@pytest.mark.parametrize("read", ["page", "count"])
async def test_a_task_with_all_the_meta_it_may_have_is_listed(desk: Desk, read: str) -> None:
    meta = {f"key{number}": "\u65e5" * 512 for number in range(16)}
    (task_id,) = await desk.submit(meta=meta)

    if read == "page":
        (sight,) = await walk(desk, Filter(), limit=5)
        assert (sight.id, sight.record.meta) == (task_id, meta)
    else:
        assert (await desk.store.count(QUEUE)).next_record is not None


async def test_a_task_that_moves_on_is_not_seen_twice_in_one_state(desk: Desk) -> None:
    tasks = await desk.submit(20)
    browse, wanted = Browse(desk.store), Filter(states=(State.PENDING,))
    first = await browse.page(wanted, descending=False, limit=10, after=None)

    await desk.claim(5)
    second = await browse.page(wanted, descending=False, limit=10, after=first.next)

    assert [sight.id for sight in (*first.sights, *second.sights)] == sorted(tasks)


@pytest.mark.parametrize("head_start_ms", [0, 60_000, 10**13])
async def test_pages_hold_under_any_head_start(store: Store, new_id: Any, head_start_ms: int) -> None:
    store.head_start_ms = head_start_ms
    tasks = []
    for priority in (0, 9, 5):
        ids = [new_id() for _ in range(10)]
        await store.submit(QUEUE, [(task_id, submission(priority=priority)) for task_id in ids])
        tasks += ids

    seen = [sight.id for sight in await walk(Desk(store, new_id), Filter(), limit=4)]

    assert sorted(seen) == sorted(tasks)
