"""``GET /tasks/{id}`` and its parts: result, attempts, logs, why it waits."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.domain.task import Failure, Outcome
from _taskqueue.store import wire
from _taskqueue.store.answers import pack_number
from tests.store.desk import ATTEMPT, FAULT, LEASE, QUEUE, STATES, Desk, until
from tests.web.conftest import Api, announce, known_task

pytestmark = pytest.mark.anyio

RESULTS = {
    "succeeded": (200, None), "dead": (409, "invalid_state"), "cancelled": (409, "invalid_state"), "expired": (410, "expired"),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
async def test_a_task_shows_where_it_is(api: Api, desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT)

    task = await api.get(f"/tasks/{task_id}")

    assert (task["task_id"], task["state"], task["queue"]) == (task_id, state, QUEUE)
    assert (task["finished_at"] is not None) is (state in TERMINAL)
    assert (task["next_run_at"] is not None) is (state in (State.SCHEDULED, State.RETRYING))
    assert (task["error"] is not None) is (state in (State.RETRYING, State.DEAD))
    assert (task["worker"] is not None) is (state in (State.RUNNING, State.RETRYING, State.SUCCEEDED, State.DEAD))


@pytest.mark.parametrize("state", STATES)
async def test_a_result_is_there_or_it_is_said_why_not(api: Api, desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    response = await api.http.get(f"/tasks/{task_id}/result")

    answer = await response.get_json()
    status, code = RESULTS.get(state, (202, None))
    assert response.status_code == status
    if status == 202:
        assert (answer, int(response.headers["Retry-After"])) == ({"state": state}, 1)
    elif code:
        assert (answer["code"], answer["state"]) == (code, state)
    else:
        assert answer == "done"
    if state is State.DEAD:
        assert answer["error"]["type"] == "ValueError"


@pytest.mark.parametrize("raw", [b"null", b"0", b'{"a":[1,2.50]}', b'"text"', b"12345678901234567890123", None])
async def test_a_result_is_the_json_that_the_handler_gave(api: Api, desk: Desk, raw: bytes | None) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.call(succeeded=[task_id, wire.encode(Outcome(1, 1, 1, "worker", raw))])

    data = await (await api.http.get(f"/tasks/{task_id}/result")).get_data()

    assert data.strip() == (raw or b"null")


async def test_a_result_can_be_waited_for(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    answers: list[Any] = []

    async def wait() -> None:
        answers.append(await api.get(f"/tasks/{task_id}/result?wait=10"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await desk.call(succeeded=[task_id, wire.encode(Outcome(1, 1, 1, "worker", b"7"))])

    assert answers == [7]


async def test_attempts_come_with_their_errors(api: Api, desk: Desk) -> None:
    (task_id,) = await desk.submit()
    for _ in range(2):
        await desk.claim()
        await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT, fault=FAULT)
        await until(desk.store, task_id, State.PENDING)

    items = (await api.get(f"/tasks/{task_id}/attempts"))["items"]

    assert [(item["outcome"], item["error"]["type"], item["worker"]) for item in items] == [("error", "ValueError", "worker")] * 2


@pytest.mark.parametrize("state", STATES)
async def test_a_task_without_a_log_has_an_empty_one(api: Api, desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)

    response = await api.http.get(f"/tasks/{task_id}/logs")

    assert (response.status_code, response.mimetype, await response.get_data()) == (200, "text/plain", b"")


async def test_each_attempt_has_its_log(api: Api, desk: Desk) -> None:
    (task_id,) = await desk.submit()
    for number in (1, 2):
        await desk.claim()
        await desk.report("log", task_id, 0, b"<b>%d\xc3\xa9" % number)
        await desk.report("retry", task_id, pack_number(1, 5), ATTEMPT)
        await until(desk.store, task_id, State.PENDING)

    texts = [
        await (await api.http.get(f"/tasks/{task_id}/logs{query}")).get_data(as_text=True)
        for query in ("", "?attempt=1", "?attempt=2", "?attempt=9")
    ]

    assert texts == ["<b>2\u00e9", "<b>1\u00e9", "<b>2\u00e9", ""]


async def test_a_log_is_followed_to_the_end_of_the_attempt(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    await desk.report("log", task_id, 0, b"one\n")
    texts: list[str] = []

    async def follow() -> None:
        texts.append(await (await api.http.get(f"/tasks/{task_id}/logs?follow=1")).get_data(as_text=True))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await anyio.sleep(0.05)
            await desk.report("log", task_id, 0, b"one\ntwo\n")
            await desk.call(succeeded=[task_id, wire.encode(Outcome(1, 1, 1, "worker"))])

    assert texts == ["one\ntwo\n"]


# -- why it waits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
async def test_every_state_is_explained(api: Api, desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state)
    await api.store.open_lease(QUEUE, LEASE)

    answer = await api.get(f"/tasks/{task_id}/explain")

    kinds = [hold["kind"] for hold in answer["held_by"]]
    expected = {"scheduled": ["delay"], "pending": [], "running": ["running"], "retrying": ["back_off"]}.get(state, ["ended"])
    assert (answer["state"], kinds) == (state, expected)
    assert answer["summary"]
    assert (answer["starts_in_seconds"] is None) is (state in (State.RUNNING, *TERMINAL))


async def test_what_holds_a_task_is_said(api: Api, desk: Desk) -> None:
    tasks = await desk.submit(3)
    await api.call("POST", "/queues/default/pause", {"reason": "lunch"})

    answer = await api.get(f"/tasks/{tasks[2]}/explain")

    assert [hold["kind"] for hold in answer["held_by"]] == ["paused", "no_workers", "queue"]
    assert "lunch" in answer["summary"]
    assert (answer["position"], answer["starts_in_seconds"]) == (2, None)


async def test_a_task_that_nobody_knows_is_explained(api: Api, desk: Desk) -> None:
    announce(api.store, known_task("other"))
    task_id = await desk.in_state(State.RUNNING, task="mine")
    await desk.report("hold", task_id)

    answer = await api.get(f"/tasks/{task_id}/explain")

    assert [hold["kind"] for hold in answer["held_by"]] == ["unroutable"]
    assert "'mine'" in answer["summary"]


@pytest.mark.parametrize(("timeout_s", "late"), [(0.001, True), (60.0, False)])
async def test_a_task_that_does_not_stop_at_its_time_limit_is_explained(
    api: Api, desk: Desk, monkeypatch: pytest.MonkeyPatch, timeout_s: float, late: bool
) -> None:
    monkeypatch.setattr("_taskqueue.web.explain.LATE_S", 0.02)
    task_id = await desk.in_state(State.RUNNING, timeout_s=timeout_s)
    await anyio.sleep(0.05)

    answer = await api.get(f"/tasks/{task_id}/explain")

    assert ("past its time limit of 0.001 s: it was asked to stop and does not." in answer["summary"]) is late


async def test_a_task_of_the_last_year_is_explained(api: Api) -> None:
    task_id = await api.submit(run_at="9999-12-31T23:59:59.999Z")
    await api.store.open_lease(QUEUE, LEASE)

    assert (await api.call("GET", f"/tasks/{task_id}/explain"))[0] == 200


async def test_a_failure_shows_its_traceback_with_its_attempt_only(api: Api, desk: Desk) -> None:
    task_id = await desk.in_state(State.RUNNING)
    failed = wire.encode(Outcome(1, 1, 1, "worker", None, "attempts", Failure("ValueError", "no", "Traceback: here")))
    await desk.report("dead", task_id, 0, ATTEMPT, failed, FAULT)

    task = await api.get(f"/tasks/{task_id}")

    assert (task["reason"], task["error"]["fingerprint"], task["error"]["traceback"]) == ("attempts", FAULT.split()[0], None)
