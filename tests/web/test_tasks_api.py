"""``/tasks``: the contract, the fields, the limits, reading, waiting, cancelling."""

from __future__ import annotations

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.answers import Exchange
from tests.store.desk import ATTEMPT, LEASE, OUTCOME, QUEUE
from tests.web.conftest import PAYLOAD_BYTES_MAX, Api

pytestmark = pytest.mark.anyio


async def test_the_contract(api: Api) -> None:
    response = await api.post("/tasks", {"payload": "my_first_task"})

    answer = await response.get_json()
    assert response.status_code == 202
    assert list(answer) == ["task_id"]
    assert response.headers["Location"] == f"/tasks/{answer['task_id']}"


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "nonsense"])
async def test_the_body_is_json_whatever_its_type_says(api: Api, content_type: str) -> None:
    response = await api.post("/tasks", raw=b'{"payload": 1}', Content_Type=content_type)

    assert response.status_code == 202


@pytest.mark.parametrize(
    ("sent", "payload", "is_text"),
    [
        (b'"hello"', b"hello", True),
        (b'"\\u00e9\\n"', "é\n".encode(), True),
        (b'{"a": [1, 2.50]}', b'{"a": [1, 2.50]}', False),
        (b"null", b"null", False),
        (b"12345678901234567890123", b"12345678901234567890123", False),
    ],
)
async def test_a_payload_arrives_as_it_was_sent(api: Api, sent: bytes, payload: bytes, is_text: bool) -> None:
    response = await api.post("/tasks", raw=b'{"payload": ' + sent + b"}")

    task_id = (await response.get_json())["task_id"]
    sight = await api.store.inspect(QUEUE, task_id)
    assert sight is not None
    assert (sight.record.payload, sight.record.is_text) == (payload, is_text)


async def test_every_field_is_kept(api: Api) -> None:
    task_id = await api.submit(
        task="resize", queue="img", priority=9, delay="5m", timeout="2m", max_attempts=3, backoff={"base": 2},
        expires_in="1h", tags=["a", "b"], meta={"who": "me"},
    )  # fmt: skip

    task = await (await api.http.get(f"/tasks/{task_id}")).get_json()
    sight = await api.store.inspect("img", task_id)
    assert sight is not None
    assert (task["task"], task["queue"], task["state"], task["priority"]) == ("resize", "img", "scheduled", 9)
    assert (task["tags"], task["meta"], task["max_attempts"]) == (["a", "b"], {"who": "me"}, 3)
    assert (sight.record.timeout_s, sight.record.expires_in_ms) == (120.0, 3_600_000)


async def test_an_unknown_field_is_ignored_and_named(api: Api) -> None:
    response = await api.post("/tasks", {"payload": 1, "prioriti": 3})

    assert response.status_code == 202
    assert response.headers["X-Ignored-Fields"] == "prioriti"


async def test_an_unknown_field_is_refused_when_strict(api: Api) -> None:
    response = await api.post("/tasks?strict=1", {"payload": 1, "prioriti": 3})

    problem = await response.get_json()
    assert (response.status_code, problem["code"]) == (422, "unknown_field")
    assert "did you mean 'priority'" in problem["detail"]


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{nope", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b'"text"', 400, "invalid_json"),
        (b'{"payload": "\\ud800"}', 400, "invalid_json"),
        (b"[" * 60_000, 400, "invalid_json"),
        (b'{"payload": ' + b"[" * 60_000, 400, "invalid_json"),
        (b"{}", 422, "invalid_field"),
        (b'{"payload": 1, "priority": 10}', 422, "invalid_field"),
        (b'{"payload": 1, "delay": 1' + b"0" * 400 + b"}", 422, "invalid_field"),
        (b'{"payload": 1, "queue": "A B"}', 422, "invalid_field"),
        (b'{"payload": "' + b"x" * (PAYLOAD_BYTES_MAX + 1) + b'"}', 413, "payload_too_large"),
        (b'{"payload": 1, "x": "' + b"x" * 100_000 + b'"}', 413, "payload_too_large"),
    ],
)
async def test_bad_input_is_a_problem_document(api: Api, raw: bytes, status: int, code: str) -> None:
    response = await api.post("/tasks", raw=raw)

    problem = await response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (await api.store.count(QUEUE)).states["pending"] == 0


async def test_every_wrong_field_is_named(api: Api) -> None:
    response = await api.post("/tasks", {"payload": 1, "delay": "x", "tags": 5, "timeout": -1})

    problem = await response.get_json()
    assert {error["pointer"] for error in problem["errors"]} == {"/delay", "/tags", "/timeout"}


async def test_a_batch_gets_a_result_for_each_item_in_order(api: Api) -> None:
    response = await api.post("/tasks/batch", {"tasks": [{"payload": 1}, {"nope": 2}, {"payload": 3, "delay": "x"}, {"payload": 4}]})

    answer = await response.get_json()
    assert (response.status_code, answer["accepted"], answer["rejected"]) == (202, 2, 2)
    assert ["task_id" in result for result in answer["results"]] == [True, False, False, True]
    assert answer["results"][2]["error"]["errors"][0]["pointer"] == "/delay"


@pytest.mark.parametrize(
    ("body", "status"), [({"tasks": [{"payload": 1}] * 1001}, 422), ({"tasks": 5}, 422), ({"jobs": []}, 422), ([], 422)]
)
async def test_a_batch_that_is_none_is_refused(api: Api, body: object, status: int) -> None:
    assert (await api.post("/tasks/batch", body)).status_code == status


@pytest.mark.parametrize("task_id", ["nope", "task" + "0" * 26, "task" + "Z" * 26, "%00", "x" * 2000])
async def test_an_unknown_id_is_404(api: Api, task_id: str) -> None:
    response = await api.http.get(f"/tasks/{task_id}")

    assert (response.status_code, (await response.get_json())["code"]) == (404, "not_found")


async def test_waiting_ends_with_the_task(api: Api) -> None:
    task_id = await api.submit()
    ends: list[dict[str, object]] = []

    async def read() -> None:
        ends.append(await (await api.http.get(f"/tasks/{task_id}?wait=10")).get_json())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await api.store.open_lease(QUEUE, LEASE)
            await api.store.settle_and_claim(QUEUE, LEASE, Exchange(1, 1))
            await api.store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, [task_id, OUTCOME]))

    assert (ends[0]["state"], ends[0]["result"]) == ("succeeded", "done")


async def test_waiting_that_runs_out_of_time_shows_the_task_as_it_is(api: Api) -> None:
    response = await api.post("/tasks?wait=0.05", {"payload": 1})

    assert (response.status_code, (await response.get_json())["state"]) == (202, "pending")


@pytest.mark.parametrize("query", ["wait=-1", "wait=soon", "wait=1&wait_for=heaven"])
async def test_a_bad_wait_is_refused(api: Api, query: str) -> None:
    task_id = await api.submit()

    assert (await api.http.get(f"/tasks/{task_id}?{query}")).status_code == 422


async def test_a_waiting_task_is_cancelled(api: Api) -> None:
    task_id = await api.submit()

    response = await api.post(f"/tasks/{task_id}/cancel")

    assert (response.status_code, (await response.get_json())["state"]) == (200, "cancelled")
    assert (await api.post(f"/tasks/{task_id}/cancel")).status_code == 200


async def test_a_running_task_is_asked_to_cancel(api: Api) -> None:
    task_id = await api.submit()
    await api.store.open_lease(QUEUE, LEASE)
    await api.store.settle_and_claim(QUEUE, LEASE, Exchange(1, 1))

    response = await api.post(f"/tasks/{task_id}/cancel")

    assert response.status_code == 202
    assert (await response.get_json())["cancel_requested"] is True


async def test_a_finished_task_cannot_be_cancelled(api: Api) -> None:
    task_id = await api.submit()
    await api.store.open_lease(QUEUE, LEASE)
    await api.store.settle_and_claim(QUEUE, LEASE, Exchange(1, 1))
    await api.store.settle_and_claim(QUEUE, LEASE, Exchange(0, 0, [], ["dead", task_id, 0, ATTEMPT, OUTCOME, ""]))

    response = await api.post(f"/tasks/{task_id}/cancel")

    problem = await response.get_json()
    assert (response.status_code, problem["code"], problem["state"]) == (409, "invalid_state", "dead")


async def test_a_client_that_hangs_up_does_not_lose_its_task(api: Api) -> None:
    with anyio.move_on_after(0):
        await api.post("/tasks", {"payload": "gone"})

    with anyio.move_on_after(0.05):
        await api.post("/tasks?wait=30", {"payload": "kept"})

    assert (await api.store.count(QUEUE)).states[State.PENDING] == 1


@pytest.mark.parametrize(
    "item",
    [b'{"payload": "\xff"}', b'{"payload": ["\xff"]}', b'{"payload": 1, "tags": ["\xff"]}', b'{"payload": 1, "priority": 1e999}'],
)
async def test_a_bad_item_spares_the_rest_of_its_batch(api: Api, item: bytes) -> None:
    alone = await api.post("/tasks", raw=item)
    batch = await api.post("/tasks/batch", raw=b'{"tasks": [{"payload": 1}, ' + item + b"]}")

    assert alone.status_code == 400
    assert batch.status_code in (202, 400)


@pytest.mark.parametrize("name", ["a\nb", "\x00", "é", "x" * 60_000])
async def test_a_field_name_that_no_header_can_carry_does_not_break_the_answer(api: Api, name: str) -> None:
    response = await api.post("/tasks", {"payload": 1, name: 2})

    assert response.status_code == 202
    assert response.headers["X-Ignored-Fields"].isascii()
