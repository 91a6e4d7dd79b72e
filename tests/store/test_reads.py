"""The scripts that move nothing: inspect, count, adopt's pages, register, open, renew, beat, muster."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.states import State
from _taskqueue.store.calls import BeatStore
from tests.store.desk import LEASE, QUEUE, Desk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", [one for one in State if one is not State.BLOCKED])
async def test_inspect_and_count_agree_on_every_state(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    count = await desk.store.count(QUEUE)

    assert await desk.state(task_id) is state
    assert {name for name, number in count.states.items() if number} == {state.value}


async def test_an_unknown_task_is_none(desk: Desk) -> None:
    assert await desk.store.inspect(QUEUE, "task" + "0" * 26) is None


async def test_count_shows_the_next_task_and_the_workers(desk: Desk) -> None:
    await desk.submit(priority=9)
    await desk.store.open_lease(QUEUE, LEASE)

    count = await desk.store.count(QUEUE)

    assert count.next_record is not None
    assert (count.next_record.priority, count.workers) == (9, 1)


async def test_held_tasks_can_be_read_by_arrival_and_adopted(desk: Desk) -> None:
    tasks = [await desk.in_state(State.RUNNING) for _ in range(2)]
    for task_id in tasks:
        await desk.report("hold", task_id)

    page = await desk.store.unroutable(QUEUE, 0)
    (later,) = await desk.store.unroutable(QUEUE, page[0][1])
    adopted = await desk.store.adopt(QUEUE, [(task_id, record) for task_id, _, record in page])
    again = await desk.store.adopt(QUEUE, [(task_id, record) for task_id, _, record in page])

    assert later[0].decode() == tasks[1]
    assert (adopted, again) == (2, 0)
    assert await desk.claim() == tasks


async def test_a_queue_keeps_its_number(desk: Desk) -> None:
    numbers = [await desk.store.route(name) for name in ("default", "mails", "images")]

    assert numbers == [1, 2, 3]
    desk.store._routes.clear()
    assert [await desk.store.route(name) for name in ("images", "mails", "default")] == [3, 2, 1]
    assert await desk.store.queues() == ["default", "images", "mails"]


async def test_an_id_names_its_queue(desk: Desk) -> None:
    (task_id,) = await desk.submit()
    desk.store._queues.clear()

    assert await desk.store.queue_of(task_id) == QUEUE
    assert await desk.store.queue_of("no id") is None


async def test_the_heartbeat_renews_a_lease_that_holds_and_no_other(desk: Desk) -> None:
    await desk.store.open_lease(QUEUE, LEASE)
    beats = BeatStore(desk.store)

    assert beats.renew(QUEUE, LEASE) is True
    assert beats.renew(QUEUE, "other/lease") is False
    beats.close()


async def test_a_worker_that_beats_is_mustered_until_it_leaves(desk: Desk) -> None:
    beats = BeatStore(desk.store)

    beats.beat(Beat("worker"))

    assert await desk.store.muster() == (1, 0)
    await desk.store.forget_worker("worker")
    assert await desk.store.muster() == (0, 0)
    beats.close()


async def test_a_queue_that_vanished_is_registered_anew(desk: Desk) -> None:
    """As after FLUSHALL: a queue known by heart alone would never be seen by other processes."""
    await desk.submit()
    await desk.store.command("flush", "FLUSHDB")

    known = await desk.store.queues()
    await desk.store.route(QUEUE)

    assert (known, await desk.store.queues()) == ([], [QUEUE])


async def test_a_queue_that_is_registered_while_the_list_is_read_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read = desk.store.command

    async def slowly(op: str, *args: Any) -> Any:
        answer = await read(op, *args)
        if op == "queues":
            await desk.store.route("meanwhile")
        return answer

    monkeypatch.setattr(desk.store, "command", slowly)

    assert "meanwhile" in await desk.store.queues()
