"""retry, run, cancel, rerun, edit, delete: every act on a task in every state."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from _taskqueue.domain.states import State
from tests.store.desk import FAULT, OUTCOME, QUEUE, STATES, Desk
from tests.web.conftest import Api

pytestmark = pytest.mark.anyio

UNKNOWN = "task" + "0" * 26
ACTS: dict[str, tuple[str, str, object]] = {
    "retry": ("POST", "/retry", None),
    "run": ("POST", "/run", None),
    "cancel": ("POST", "/cancel", None),
    "edit": ("PATCH", "", {"priority": 9}),
    "delete": ("DELETE", "", None),
}
TABLE: dict[str, dict[str, str]] = {
    "retry": {"retrying": "pending", "dead": "pending", "cancelled": "pending", "expired": "pending"},
    "run": {"scheduled": "pending", "retrying": "pending"},
    "cancel": {
        "scheduled": "cancelled", "pending": "cancelled", "retrying": "cancelled", "running": "running", "cancelled": "cancelled",
    },
    "edit": {"scheduled": "scheduled", "pending": "pending", "retrying": "retrying"},
    "delete": dict.fromkeys((state for state in STATES if state is not State.RUNNING), "gone"),
}  # fmt: skip
"""Act → state before → state after; where there is no entry the answer is 409."""


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("act", ACTS)
async def test_an_act_is_done_or_refused_with_the_state_and_what_is_allowed(api: Api, desk: Desk, act: str, state: State) -> None:
    task_id = await desk.in_state(state)
    method, path, body = ACTS[act]

    status, answer = await api.call(method, f"/tasks/{task_id}{path}", body)

    after = TABLE[act].get(state)
    sight = await api.store.inspect(QUEUE, task_id)
    if after is None:
        assert (status, answer["code"], answer["state"]) == (409, "invalid_state", state)
        assert set(answer["allowed"]) | {"cancelled"} == set(TABLE[act]) | {"cancelled"}
        assert sight is not None
        assert sight.state is state
    elif after == "gone":
        assert (status, answer, sight) == (204, None, None)
    else:
        assert status == (202 if after == "running" else 200)
        assert (answer["task_id"], answer["state"]) == (task_id, after)
        assert sight is not None
        assert sight.state == after


@pytest.mark.parametrize("act", [*ACTS, "rerun"])
@pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense", "task" + "Z" * 26])
async def test_an_unknown_task_is_404(api: Api, act: str, task_id: str) -> None:
    method, path, body = ACTS.get(act, ("POST", "/rerun", {}))

    status, answer = await api.call(method, f"/tasks/{task_id}{path}", body)

    assert (status, answer["code"]) == (404, "not_found")


@pytest.mark.parametrize("act", [*ACTS, "rerun"])
async def test_a_forgotten_task_is_404(api: Api, desk: Desk, act: str) -> None:
    task_id = await desk.in_state(State.DEAD)
    await api.call("DELETE", f"/tasks/{task_id}")
    method, path, body = ACTS.get(act, ("POST", "/rerun", {}))

    assert (await api.call(method, f"/tasks/{task_id}{path}", body))[0] == 404


# -- retry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "attempts"), [({}, 1), ({"reset_attempts": False}, 1), ({"reset_attempts": True}, 0)])
async def test_attempts_are_kept_unless_they_are_reset(api: Api, desk: Desk, body: object, attempts: int) -> None:
    task_id = await desk.in_state(State.DEAD, fault=FAULT)

    _, answer = await api.call("POST", f"/tasks/{task_id}/retry", body)

    assert (answer["attempt"], len(answer["attempts"]), answer["finished_at"]) == (attempts, attempts, None)


@pytest.mark.parametrize(
    ("body", "code"), [({"reset": True}, "unknown_field"), ({"reset_attempts": 1}, "invalid_field"), ([], "invalid_field")]
)
async def test_a_strange_body_is_refused_by_name(api: Api, desk: Desk, body: object, code: str) -> None:
    task_id = await desk.in_state(State.DEAD)

    status, answer = await api.call("POST", f"/tasks/{task_id}/retry", body)

    assert (status, answer["code"]) == (422, code)


async def test_a_task_whose_key_another_holds_is_not_retried(api: Api) -> None:
    old = await api.submit(unique={"key": "k"})
    await api.call("POST", f"/tasks/{old}/cancel")
    await api.submit(unique={"key": "k"})

    status, answer = await api.call("POST", f"/tasks/{old}/retry")

    assert (status, answer["code"]) == (409, "duplicate_task")


# -- rerun ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
async def test_any_task_can_be_run_again_as_a_new_one(api: Api, desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, payload=b'{"a":1}', priority=7, tags=("t",), meta={"k": "v"}, batch="b")

    status, answer = await api.call("POST", f"/tasks/{task_id}/rerun")

    new = await api.get(f"/tasks/{answer['task_id']}?fields=payload")
    assert (status, new["task_id"] != task_id, new["state"]) == (202, True, "pending")
    assert (new["payload"], new["priority"], new["tags"], new["meta"]) == ('{"a":1}', 7, ["t"], {"k": "v"})
    assert new["links"] == {"rerun_of": task_id, "batch": None}
    assert await desk.state(task_id) is state


@pytest.mark.parametrize("payload", ["text", "", {"b": [1, 2.5]}, [], 0, False, None])
async def test_a_new_task_can_have_another_payload(api: Api, payload: Any) -> None:
    task_id = await api.submit()

    status, answer = await api.call("POST", f"/tasks/{task_id}/rerun", {"payload": payload})

    assert status == 202, answer
    assert (await api.get(f"/tasks/{answer['task_id']}?fields=payload"))["payload"] == payload


@pytest.mark.parametrize("raw", [b"2.50", b'{"a": 1,  "b": 1e2}'])
async def test_another_payload_arrives_as_it_was_sent(api: Api, raw: bytes) -> None:
    task_id = await api.submit()

    response = await api.post(f"/tasks/{task_id}/rerun", raw=b'{"payload": ' + raw + b"}")

    sight = await api.store.inspect(QUEUE, (await response.get_json())["task_id"])
    assert sight is not None
    assert sight.record.payload == raw


async def test_another_payload_has_the_same_limit(api: Api) -> None:
    task_id = await api.submit()

    status, answer = await api.call("POST", f"/tasks/{task_id}/rerun", {"payload": "x" * 2_000})

    assert (status, answer["code"]) == (413, "payload_too_large")


async def test_a_full_queue_says_when_to_come_back(api: Api) -> None:
    task_id = await api.submit()
    await api.call("PATCH", "/queues/default", {"max_length": 1})

    response = await api.post(f"/tasks/{task_id}/rerun", {})

    assert (response.status_code, (await response.get_json())["code"]) == (429, "queue_full")
    assert int(response.headers["Retry-After"]) >= 1


# -- edit -------------------------------------------------------------------------------------------------------------


async def test_every_field_that_may_change_changes(api: Api) -> None:
    task_id = await api.submit(tags=["old"], meta={"k": "v"})
    changes = {"priority": 1, "run_at": "2999-01-01T00:00:00Z", "max_attempts": 7, "tags": ["new", "newer"]}

    status, answer = await api.call("PATCH", f"/tasks/{task_id}", changes)

    assert (status, answer["state"], answer["priority"], answer["max_attempts"]) == (200, "scheduled", 1, 7)
    assert (answer["tags"], answer["meta"], answer["next_run_at"]) == (["new", "newer"], {"k": "v"}, "2999-01-01T00:00:00.000Z")
    assert [one["task_id"] for one in (await api.get("/tasks?tag=newer"))["items"]] == [task_id]
    assert (await api.get("/tasks?tag=old"))["items"] == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"priority": 10}, "/priority"), ({"priority": None}, "/priority"), ({"run_at": "soon"}, "/run_at"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"tags": ["a,b"]}, "/tags"), ({"payload": "x"}, "/payload"), ({"tags": ["x"] * 11}, "/tags"),
    ],
)  # fmt: skip
async def test_a_wrong_change_is_named_and_nothing_changes(api: Api, changes: object, pointer: str) -> None:
    task_id = await api.submit(tags=["old"])

    status, answer = await api.call("PATCH", f"/tasks/{task_id}", changes)

    assert (status, answer["errors"][0]["pointer"]) == (422, pointer)
    assert (await api.get(f"/tasks/{task_id}"))["tags"] == ["old"]


async def test_no_change_is_no_error(api: Api) -> None:
    task_id = await api.submit()

    assert (await api.call("PATCH", f"/tasks/{task_id}", {}))[0] == 200


# -- delete -----------------------------------------------------------------------------------------------------------


async def test_a_running_task_is_deleted_once_it_has_stopped(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    answers: list[tuple[int, Any]] = []

    async def delete() -> None:
        answers.append(await api.call("DELETE", f"/tasks/{task_id}?cancel=1"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(delete)
            while not (await desk.sight(task_id)).cancel_asked:
                await anyio.sleep(0.002)
            await desk.report("release", task_id)

    assert answers == [(204, None)]
    assert await api.store.inspect(QUEUE, task_id) is None


async def test_the_result_of_a_deleted_task_is_gone(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.call(succeeded=[task_id, OUTCOME])

    await api.call("DELETE", f"/tasks/{task_id}")

    for part in ("", "/result", "/attempts", "/logs", "/explain"):
        assert (await api.call("GET", f"/tasks/{task_id}{part}"))[0] == 404


async def test_a_rerun_sent_twice_under_one_key_is_one_task(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.DEAD)

    first = await api.post(f"/tasks/{task_id}/rerun", {}, Idempotency_Key="again")
    second = await api.post(f"/tasks/{task_id}/rerun", {}, Idempotency_Key="again")
    other = await api.post(f"/tasks/{task_id}/rerun", {"payload": "new"}, Idempotency_Key="again")

    assert [await first.get_json(), first.status_code] == [await second.get_json(), second.status_code]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert other.status_code == 422
    assert (await api.store.count(QUEUE)).states["pending"] == 1


async def test_a_rerun_is_kept_as_long_as_the_first(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.DEAD, retain_ms=5_000)

    _, answer = await api.call("POST", f"/tasks/{task_id}/rerun")

    assert await api.store.retain_ms(QUEUE, answer["task_id"]) == 5_000


async def test_a_record_that_cannot_be_read_is_shown_and_deleted_but_never_overwritten(api: Api, desk: Desk) -> None:
    (task_id,) = await desk.submit()
    body = b"\xc1 of a newer release"
    await api.store.command("break", "HSET", api.store.key("records", QUEUE), task_id, body)

    listed = (await api.get("/tasks"))["items"]
    shown = await api.get(f"/tasks/{task_id}")
    edited, problem = await api.call("PATCH", f"/tasks/{task_id}", {"priority": 9})
    rerun, _ = await api.call("POST", f"/tasks/{task_id}/rerun")

    assert [item["task"] for item in listed] == [shown["task"]] == ["(unreadable)"]
    assert (edited, problem["code"], rerun) == (409, "unreadable", 409)
    assert await api.store.raw_record(QUEUE, task_id) == body
    assert (await api.call("DELETE", f"/tasks/{task_id}"))[0] == 204
