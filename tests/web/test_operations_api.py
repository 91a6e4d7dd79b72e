"""``/operations``: counted, tried dry, carried out page by page, stopped, taken over; and what they must not do."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.store import operations as keeping
from _taskqueue.store.operations import HOLD_MS, Operations
from _taskqueue.store.store import Store
from _taskqueue.upkeep.operator import SOURCES, Operator
from tests.store.desk import ATTEMPT, FAILED, FAULT, QUEUE, Desk
from tests.web.conftest import Api, Opening

pytestmark = pytest.mark.anyio

WAIT_S = 10


async def carry_out(store: Store, operation_id: str) -> dict[str, Any]:
    """Let an operator work until the operation has ended."""
    stopping, operations = anyio.Event(), Operations(store)
    end: dict[str, Any] = {}
    with anyio.fail_after(WAIT_S):
        async with anyio.create_task_group() as group:
            await group.start(Operator(store, stopping).run)
            while not end:
                found = await operations.read(operation_id)
                assert found is not None
                if found.ended:
                    end = {"state": found.state, "done": found.done, "skipped": found.skipped, "matched": found.matched}
                await anyio.sleep(0.005)
            stopping.set()
    return end


async def start(api: Api, **body: Any) -> str:
    """Begin an operation; gives its id."""
    status, answer = await api.call("POST", "/operations", body)
    assert status == 202, answer
    return str(answer["operation_id"])


@pytest.mark.parametrize("action", SOURCES)
async def test_an_action_is_done_to_every_task_it_fits(api: Api, desk: Desk, action: str) -> None:
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

    end = await carry_out(api.store, await start(api, action=action, filter={}))

    assert end == {"state": "finished", "done": len(SOURCES[action]), "skipped": 0, "matched": len(SOURCES[action])}
    for state, task_id in tasks.items():
        sight = await api.store.inspect(QUEUE, task_id)
        if state not in SOURCES[action]:
            assert sight is not None
            assert sight.state is state
        elif action == "delete":
            assert sight is None
        else:
            assert sight is not None
            expected = State.RUNNING if state is State.RUNNING else State.CANCELLED if action == "cancel" else State.PENDING
            assert (sight.state, sight.cancel_asked) == (expected, state is State.RUNNING)


async def test_a_dry_run_counts_and_does_nothing(api: Api, desk: Desk) -> None:
    tasks = await desk.submit(3, tags=("a",))
    await desk.submit(2)

    by_filter = await api.call("POST", "/operations", {"action": "cancel", "filter": {"tag": "a"}, "dry_run": True})
    by_ids = await api.call("POST", "/operations", {"action": "cancel", "ids": tasks, "dry_run": True})

    for status, answer in (by_filter, by_ids):
        assert (status, answer["state"], answer["matched"]) == (200, "dry_run", 3)
    assert (await api.get("/operations"))["items"] == []
    assert (await api.store.count(QUEUE)).states["pending"] == 5


@pytest.mark.parametrize(("expected", "status"), [(10, 202), (11, 202), (9, 409), (12, 409), (8, 409), (0, 409)])
async def test_a_list_that_has_moved_is_not_acted_on(api: Api, desk: Desk, expected: int, status: int) -> None:
    await desk.submit(10)

    found, answer = await api.call("POST", "/operations", {"action": "cancel", "filter": {}, "expected": expected})

    assert found == status
    assert status == 202 or (answer["code"], answer["matched"]) == ("count_changed", 10)


async def test_tasks_named_by_their_ids_are_acted_on_at_once(api: Api, desk: Desk) -> None:
    waiting, other = await desk.submit(2)
    gone = await desk.in_state(State.SCHEDULED)
    await api.call("DELETE", f"/tasks/{gone}")

    status, answer = await api.call("POST", "/operations", {"action": "cancel", "ids": [waiting, "nonsense", gone, waiting]})

    assert (status, answer["state"], answer["matched"], answer["done"], answer["skipped"]) == (200, "finished", 3, 1, 2)
    assert [await desk.state(one) for one in (waiting, other)] == [State.CANCELLED, State.PENDING]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"action": "explode", "filter": {}}, {"action": "retry"}, {"action": "retry", "filter": {}, "ids": []},
        {"action": "retry", "ids": ["x"] * 1_001}, {"action": "retry", "filter": {"stat": "dead"}},
        {"action": "retry", "filter": {"state": "x"}},
        {"action": "retry", "filter": {}, "rate": 0},
        {"action": "retry", "filter": {}, "expected": -1}, {"action": "retry", "filter": {"state": 5}},
        {"action": "retry", "filter": {}, "dry": True},
    ],
)  # fmt: skip
async def test_a_wrong_operation_is_refused(api: Api, body: object) -> None:
    status, answer = await api.call("POST", "/operations", body)

    assert (status, answer["code"]) in [(422, "invalid_field"), (422, "unknown_field")]


async def test_an_action_that_fits_none_of_the_states_is_refused(api: Api) -> None:
    status, _ = await api.call("POST", "/operations", {"action": "retry", "filter": {"state": "running"}})

    assert status in (409, 422)


async def test_a_dry_run_has_no_operation(api: Api) -> None:
    _, answer = await api.call("POST", "/operations", {"action": "cancel", "filter": {}, "dry_run": True})

    assert answer["operation_id"] is None


async def test_deleting_needs_admin(opening: Opening) -> None:
    async with opening(tokens="o:operate:0123456789abcdef,a:admin:fedcba9876543210") as api:
        body = {"action": "delete", "filter": {}}

        assert (await api.call("POST", "/operations", body, Authorization="Bearer 0123456789abcdef"))[0] == 403
        assert (await api.call("POST", "/operations", body, Authorization="Bearer fedcba9876543210"))[0] == 202


async def test_what_comes_later_is_not_meant(api: Api, desk: Desk) -> None:
    (early,) = await desk.submit()
    operation_id = await start(api, action="cancel", filter={})
    await anyio.sleep(0.005)
    (late,) = await desk.submit()

    await carry_out(api.store, operation_id)

    assert [await desk.state(one) for one in (early, late)] == [State.CANCELLED, State.PENDING]


async def test_a_task_that_fails_again_is_not_retried_again(api: Api, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.upkeep.operator.PAGE", 2)
    tasks = [await desk.in_state(State.DEAD, fault=FAULT) for _ in range(6)]
    await anyio.sleep(0.003)
    operation_id = await start(api, action="retry", filter={"state": "dead"})
    await anyio.sleep(0.003)
    operator, operations = Operator(api.store, anyio.Event()), Operations(api.store)

    last = False
    while not last:
        operation = await operations.take(operation_id, "me")
        assert operation is not None
        last = await operator.step(operation)
        for task_id in await desk.claim():
            await desk.report("dead", task_id, 0, ATTEMPT, FAILED, FAULT)

    assert (await api.get(f"/operations/{operation_id}"))["done"] == 6
    assert {(await desk.sight(task_id)).state for task_id in tasks} == {State.DEAD}
    (group,) = (await api.get("/failures"))["items"]
    assert group["occurrences"] == 12


async def test_an_operation_is_stopped(api: Api, desk: Desk) -> None:
    await desk.submit(30)
    operation_id = await start(api, action="cancel", filter={}, rate=2)

    status, answer = await api.call("POST", f"/operations/{operation_id}/stop")
    end = await carry_out(api.store, operation_id)

    assert (status, answer["state"], end["state"]) == (202, "stopping", "stopped")
    assert end["done"] < 30
    assert (await api.get(f"/operations/{operation_id}"))["finished_at"] is not None
    status, answer = await api.call("POST", f"/operations/{operation_id}/stop")
    assert (status, answer["code"], answer["state"]) == (409, "invalid_state", "stopped")


async def test_another_process_goes_on_where_one_died(api: Api, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.upkeep.operator.PAGE", 4)
    monkeypatch.setattr(keeping, "HOLD_MS", 1)
    await desk.submit(10)
    operation_id = await start(api, action="cancel", filter={})
    operation = await Operations(api.store).take(operation_id, "died")
    assert operation is not None
    await Operator(api.store, anyio.Event()).step(operation)
    monkeypatch.setattr(keeping, "HOLD_MS", HOLD_MS)

    end = await carry_out(api.store, operation_id)

    assert end == {"state": "finished", "done": 10, "skipped": 0, "matched": 10}


async def test_a_low_rate_is_kept(api: Api, desk: Desk) -> None:
    await desk.submit(3)
    began = time.monotonic()

    await carry_out(api.store, await start(api, action="cancel", filter={}, rate=1))

    assert time.monotonic() - began > 1.5


async def test_an_unknown_operation_is_404(api: Api) -> None:
    assert (await api.call("GET", "/operations/op_x"))[0] == 404
    assert (await api.call("POST", "/operations/op_x/stop"))[0] == 404


# -- purge --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", ["", "pending", "dead,cancelled", "failing", "scheduled,pending,retrying"])
async def test_a_purge_deletes_what_it_names_and_no_more(api: Api, desk: Desk, states: str) -> None:
    tasks = {}
    for state in (State.DEAD, State.CANCELLED, State.RETRYING, State.SCHEDULED, State.PENDING):
        tasks[state] = await desk.in_state(state)
    elsewhere = await api.submit(queue="other")
    meant = set((states or "pending").replace("failing", "retrying,dead").split(","))

    status, answer = await api.call("DELETE", f"/queues/default/tasks?state={states}")
    await carry_out(api.store, answer["operation_id"])

    assert (status, answer["matched"]) == (202, len(meant))
    gone = {state.value for state, task_id in tasks.items() if await api.store.inspect(QUEUE, task_id) is None}
    assert gone == meant
    assert (await api.get(f"/tasks/{elsewhere}"))["state"] == "pending"


@pytest.mark.parametrize("states", ["running", "pending,running", "nowhere"])
async def test_running_tasks_are_not_purged(api: Api, desk: Desk, states: str) -> None:
    await desk.in_state(State.RUNNING)

    assert (await api.call("DELETE", f"/queues/default/tasks?state={states}"))[0] == 422
