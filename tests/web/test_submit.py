"""Submitting: idempotency keys, unique keys, full queues, batches, and streams of lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.domain.errors import StoreUnavailable
from _taskqueue.domain.states import State
from _taskqueue.producer import Producer
from _taskqueue.web.idempotency import Idempotency
from tests.store.desk import LEASE, QUEUE, Desk
from tests.web.conftest import PAYLOAD_BYTES_MAX, Api, Opening, announce, known_task

pytestmark = pytest.mark.anyio

KEY = "order-7"
LINES = "application/x-ndjson"


async def submit(api: Api, body: object, key: str = KEY, path: str = "/tasks", **headers: str) -> tuple[int, Any, bool]:
    """Submit under a key: status, answer, and whether it was said before."""
    response = await api.post(path, body, Idempotency_Key=key, **headers)
    return response.status_code, await response.get_json(), "Idempotency-Replayed" in response.headers


async def pending(api: Api) -> int:
    """How many tasks wait."""
    return (await api.store.count(QUEUE)).states["pending"]


# -- idempotency keys ---------------------------------------------------------------------------------------------------


async def test_a_request_sent_again_gets_the_answer_it_got(api: Api) -> None:
    first = await api.post("/tasks", {"payload": 1}, Idempotency_Key=KEY)
    again = await api.post("/tasks", {"payload": 1}, Idempotency_Key=KEY)

    assert (first.status_code, again.status_code) == (202, 202)
    assert await first.get_data() == await again.get_data()
    assert again.headers["Location"] == first.headers["Location"]
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert await pending(api) == 1


async def test_a_key_is_the_same_quoted_or_bare_and_under_v1(api: Api) -> None:
    answers = [
        await submit(api, {"payload": 1}), await submit(api, {"payload": 1}, f'"{KEY}"'),
        await submit(api, {"payload": 1}, path="/v1/tasks"),
    ]  # fmt: skip

    assert [replayed for _, _, replayed in answers] == [False, True, True]
    assert await pending(api) == 1


async def test_another_request_under_the_key_is_refused(api: Api) -> None:
    await submit(api, {"payload": 1})

    for body, path in (({"payload": 2}, "/tasks"), ({"payload": 1}, "/tasks?strict=1"), ({"tasks": [{"payload": 1}]}, "/tasks/batch")):
        status, answer, _ = await submit(api, body, path=path)
        assert (status, answer["code"]) == (422, "idempotency_mismatch")
    assert await pending(api) == 1


@pytest.mark.parametrize("key", ["", " ", '""', "x" * 256, "\u00e9", "a\tb"])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    status, answer, _ = await submit(api, {"payload": 1}, key)

    assert (status, answer["code"]) == (400, "invalid_idempotency_key")
    assert await pending(api) == 0


async def test_a_request_that_was_wrong_does_not_use_up_its_key(api: Api) -> None:
    assert (await submit(api, {"payload": 1, "priority": 99}))[0] == 422

    assert (await submit(api, {"payload": 1}))[0] == 202


async def test_callers_have_keys_of_their_own(opening: Opening) -> None:
    async with opening(tokens="a:submit:0123456789abcdef,b:submit:fedcba9876543210") as api:
        answers = [
            await submit(api, {"payload": 1}, Authorization=f"Bearer {secret}")
            for secret in ("0123456789abcdef", "fedcba9876543210", "0123456789abcdef")
        ]

        assert [replayed for _, _, replayed in answers] == [False, False, True]
        assert answers[0][1] == answers[2][1] != answers[1][1]


async def test_a_request_that_was_cut_off_before_its_answer_makes_no_second_task(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Idempotency, "keep", nothing)
        _, first, _ = await submit(api, {"payload": 1})

    status, again, replayed = await submit(api, {"payload": 1})

    assert (status, again, replayed) == (202, first, False)
    assert (await submit(api, {"payload": 1}))[2] is True
    assert await pending(api) == 1


async def test_a_request_that_was_cut_off_before_its_task_makes_one_when_repeated(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Producer, "offer", away)
        assert (await submit(api, {"payload": 1}))[0] == 503

    assert (await submit(api, {"payload": 1}))[0] == 202
    assert (await submit(api, {"payload": 1}))[2] is True
    assert await pending(api) == 1


async def test_the_same_request_many_times_at_once_makes_one_task(api: Api) -> None:
    answers: list[tuple[int, Any, bool]] = []

    async def send() -> None:
        answers.append(await submit(api, {"payload": 1}))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(send)

    assert {(status, answer["task_id"]) for status, answer, _ in answers} == {(202, answers[0][1]["task_id"])}
    assert await pending(api) == 1


@pytest.mark.parametrize("more", [{"unique": {"key": "k", "on_conflict": "reject"}}, {"priority": 1}])
async def test_a_request_that_was_refused_for_now_can_be_sent_again(api: Api, more: dict[str, Any]) -> None:
    holder = await api.submit(unique={"key": "k"})
    await api.call("PATCH", "/queues/default", {"max_length": 1})

    refused = await submit(api, {"payload": 1, **more})
    await api.call("DELETE", f"/tasks/{holder}")

    assert refused[0] in (409, 429)
    assert (await submit(api, {"payload": 1, **more}))[::2] == (202, False)


async def test_a_batch_sent_again_makes_no_second_tasks(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        raise StoreUnavailable("away")

    batch = {"tasks": [{"payload": 1}, {"payload": 2, "priority": 99}, {"payload": 3}]}
    with monkeypatch.context() as patch:
        patch.setattr(Idempotency, "keep", nothing)
        _, first, _ = await submit(api, batch, path="/tasks/batch")
    _, second, _ = await submit(api, batch, path="/tasks/batch")
    _, third, replayed = await submit(api, batch, path="/tasks/batch")

    assert first == second == third
    assert replayed is True
    assert await pending(api) == 2


async def test_a_batch_cut_off_while_a_handler_changes_needs_a_new_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        raise StoreUnavailable("away")

    batch = {"tasks": [{"payload": 1}, {"payload": "x", "task": "numbers"}]}
    announce(api.store, known_task("numbers", {"type": "integer"}))
    with monkeypatch.context() as patch:
        patch.setattr(Idempotency, "keep", nothing)
        await submit(api, batch, path="/tasks/batch")
    announce(api.store, known_task("numbers"))
    monkeypatch.setattr("_taskqueue.store.handlers.FRESH_S", -1.0)

    status, answer, _ = await submit(api, batch, path="/tasks/batch")

    assert (status, answer["code"]) == (422, "idempotency_mismatch")


async def test_the_whole_answer_is_said_again(api: Api) -> None:
    first = await submit(api, {"payload": 1}, Prefer="return=representation")
    again = await submit(api, {"payload": 1}, Prefer="return=representation")

    assert again[1] == first[1]


async def test_a_key_on_a_stream_is_honoured_or_refused(api: Api) -> None:
    for _ in range(2):
        await api.post("/tasks/batch", raw=b'{"payload": 1}\n', Idempotency_Key=KEY, Content_Type=LINES)

    assert await pending(api) < 2


# -- unique keys --------------------------------------------------------------------------------------------------------


async def test_a_second_task_of_a_key_is_the_first(api: Api) -> None:
    first = await api.submit(unique={"key": "k"})
    second = await api.submit(unique={"key": "k"})

    assert first == second
    assert (await api.get(f"/tasks/{first}"))["unique_key"] == "k"


async def test_a_conflict_names_the_holder_and_its_state(api: Api, desk: Desk) -> None:
    holder = await api.submit(unique={"key": "k"})
    await desk.claim(lease=LEASE)

    for on_conflict in ("reject", "replace"):
        status, answer = await api.call("POST", "/tasks", {"payload": 1, "unique": {"key": "k", "on_conflict": on_conflict}})
        assert (status, answer["code"], answer["task_id"], answer["state"]) == (409, "duplicate_task", holder, "running")


async def test_a_repetition_is_told_from_a_new_task(api: Api) -> None:
    body = {"payload": 1, "unique": {"key": "k"}}

    answers = [await api.call("POST", "/tasks", body) for _ in range(2)]
    batch = await api.call("POST", "/tasks/batch", {"tasks": [body, {"payload": 2}]})
    replayed = [await api.call("POST", "/tasks", body, Idempotency_Key="again") for _ in range(2)]

    first = answers[0][1]["task_id"]
    assert answers == [(202, {"task_id": first}), (202, {"task_id": first, "existing": True})]
    assert batch[1]["results"][0] == {"task_id": first, "existing": True}
    assert list(batch[1]["results"][1]) == ["task_id"]
    assert replayed == [(202, {"task_id": first, "existing": True})] * 2


TIMED = {"key": "k", "while": "ttl", "ttl": "60s"}


async def forgotten(api: Api) -> str:
    """A task that held its key for a time, and was deleted meanwhile."""
    holder = await api.submit(unique=TIMED)
    status, _ = await api.call("DELETE", f"/tasks/{holder}")
    assert status == 204
    return holder


async def test_a_key_for_a_time_answers_with_the_task_that_ran_and_says_so(api: Api) -> None:
    holder = await forgotten(api)

    status, answer = await api.call("POST", "/tasks", {"payload": 1, "unique": TIMED})

    assert (status, answer) == (202, {"task_id": holder, "existing": True})


@pytest.mark.parametrize(("query", "more"), [("?wait=1", {}), ("", {"on_conflict": "reject"}), ("", {"on_conflict": "replace"})])
async def test_who_waits_or_insists_learns_that_the_task_is_forgotten_and_until_when_its_key_is_held(
    api: Api, query: str, more: dict[str, str]
) -> None:
    holder = await forgotten(api)

    status, answer = await api.call("POST", f"/tasks{query}", {"payload": 1, "unique": TIMED | more})

    assert (status, answer["code"], answer["task_id"], answer["state"]) == (409, "duplicate_task", holder, None)
    left_s = (datetime.fromisoformat(answer["held_until"]) - datetime.now(UTC)).total_seconds()
    assert 50 < left_s <= 60
    for part in ("ran", "is forgotten", answer["held_until"], "nothing new was stored"):
        assert part in answer["detail"]


async def test_a_key_for_a_time_of_a_task_that_ended_says_so(api: Api) -> None:
    holder = await api.submit(unique=TIMED)
    await api.call("POST", f"/tasks/{holder}/cancel")

    status, answer = await api.call("POST", "/tasks", {"payload": 1, "unique": TIMED | {"on_conflict": "reject"}})

    assert (status, answer["state"]) == (409, "cancelled")
    assert "is cancelled" in answer["detail"]


async def test_a_task_takes_the_place_of_one_that_waits(api: Api) -> None:
    first = await api.submit(unique={"key": "k"})
    second = await api.submit(unique={"key": "k", "on_conflict": "replace"})

    assert [(await api.get(f"/tasks/{one}"))["state"] for one in (first, second)] == ["cancelled", "pending"]


@pytest.mark.parametrize(
    "unique",
    [{}, {"key": ""}, {"key": "x" * 256}, {"key": 1}, {"key": "a\nb"}, {"key": "k", "while": "ever"}, {"key": "k", "on_conflict": "wait"},
     {"key": "k", "ttl": 0}, {"key": "k", "more": 1}, "k", ["k"]],
)  # fmt: skip
async def test_a_wrong_unique_is_refused(api: Api, unique: object) -> None:
    status, answer = await api.call("POST", "/tasks", {"payload": 1, "unique": unique})

    assert (status, answer["errors"][0]["pointer"]) == (422, "/unique")


# -- full queues --------------------------------------------------------------------------------------------------------


async def test_a_full_queue_is_429_and_says_when_to_come_back(api: Api) -> None:
    await api.submit()
    await api.call("PATCH", "/queues/default", {"max_length": 1})

    response = await api.post("/tasks", {"payload": 1})

    assert (response.status_code, (await response.get_json())["code"]) == (429, "queue_full")
    assert 1 <= int(response.headers["Retry-After"]) <= 300
    assert await pending(api) == 1


async def test_a_batch_fills_a_queue_up(api: Api) -> None:
    await api.submit()
    await api.call("PATCH", "/queues/default", {"max_length": 3})

    status, answer = await api.call("POST", "/tasks/batch", {"tasks": [{"payload": number} for number in range(4)]})

    assert (status, answer["accepted"], answer["rejected"]) == (202, 2, 2)
    assert [result.get("error", {}).get("code") for result in answer["results"]] == [None, None, "queue_full", "queue_full"]


# -- batches ------------------------------------------------------------------------------------------------------------


async def test_a_batch_can_be_all_or_nothing(api: Api) -> None:
    status, answer = await api.call("POST", "/tasks/batch", {"atomic": True, "tasks": [{"payload": 1}, {"payload": 2, "delay": "x"}, {}]})

    assert (status, answer["code"]) == (422, "invalid_field")
    assert [error["pointer"] for error in answer["errors"]] == ["/tasks/1", "/tasks/2"]
    assert await pending(api) == 0
    assert (await api.call("POST", "/tasks/batch", {"atomic": True, "tasks": [{"payload": 1}, {"payload": 2}]}))[1]["accepted"] == 2


async def test_a_batch_of_nothing_is_accepted(api: Api) -> None:
    assert await api.call("POST", "/tasks/batch", {"tasks": []}) == (202, {"accepted": 0, "rejected": 0, "batch_id": None, "results": []})


async def test_a_batch_of_which_nothing_is_right_is_refused_with_each_reason(api: Api) -> None:
    status, answer = await api.call("POST", "/tasks/batch", {"tasks": [{}, {"payload": 1, "nope": 2}]})

    assert (status, answer["code"], answer["accepted"], answer["rejected"]) == (422, "all_refused", 0, 2)
    assert [result["error"]["code"] for result in answer["results"]] == ["invalid_field", "unknown_field"]


async def test_the_tasks_of_a_batch_are_counted_together(api: Api, desk: Desk) -> None:
    tasks = [{"payload": 1}, {"payload": 2, "batch_id": "other"}, {"payload": 3, "queue": "mails"}]
    await api.call("POST", "/tasks/batch", {"batch_id": "b", "tasks": tasks})
    (task_id, *_) = await desk.claim(1)
    await desk.call(succeeded=[task_id, b"\x95\x01\x01\x01\xa1w\xc0"])

    answer = await api.get("/batches/b")

    assert (answer["batch_id"], answer["total"], answer["done"]) == ("b", 2, 1)
    assert {name: count for name, count in answer["counts"].items() if count} == {"succeeded": 1, "waiting_or_running": 1}
    assert (await api.get("/batches/other"))["total"] == 1
    assert (await api.call("GET", "/batches/nothing"))[0] == 404


# -- streams of lines ---------------------------------------------------------------------------------------------------


async def stream(api: Api, raw: bytes, query: str = "") -> tuple[int, list[Any]]:
    """Send lines; gives the status and what came back, line by line."""
    response = await api.post(f"/tasks/batch{query}", raw=raw, Content_Type=LINES)
    assert response.mimetype == LINES
    return response.status_code, [msgspec.json.decode(line) for line in (await response.get_data()).splitlines()]


async def test_each_line_gets_its_result_and_the_last_one_the_sums(api: Api) -> None:
    status, lines = await stream(api, b'{"payload": 1}\n{"payload": 2, "delay": "x"}\nno json\n{"payload": 3}\n')

    assert status == 200
    assert ["task_id" in line for line in lines] == [True, False, False, True, False]
    assert [line["error"]["code"] for line in lines[1:3]] == ["invalid_field", "invalid_json"]
    assert lines[-1] == {"accepted": 2, "rejected": 2}
    assert await pending(api) == 2


@pytest.mark.parametrize(
    "raw", [b'{"payload": 1}', b'{"payload": 1}\n', b'\n \n{"payload": 1}\n\n', b'{"payload": 1}\r\n', b'\r\n{"payload": 1}\r\n  \r\n']
)
async def test_blank_lines_count_for_nothing_and_the_last_needs_no_end(api: Api, raw: bytes) -> None:
    _, lines = await stream(api, raw)

    assert lines[-1] == {"accepted": 1, "rejected": 0}
    assert len(lines) == 2


async def test_an_empty_stream_has_sums(api: Api) -> None:
    assert await stream(api, b"") == (200, [{"accepted": 0, "rejected": 0}])


async def test_only_errors_are_told_when_asked(api: Api) -> None:
    _, lines = await stream(api, b'{"payload": 1}\n{}\n{"payload": 2}\n', "?results=errors")

    assert [sorted(line) for line in lines] == [["error"], ["accepted", "rejected"]]
    assert lines[-1] == {"accepted": 2, "rejected": 1}


async def test_a_line_over_the_limit_spares_the_others(api: Api) -> None:
    big = b'{"payload": "' + b"x" * (PAYLOAD_BYTES_MAX + 1) + b'"}'
    _, lines = await stream(api, b'{"payload": 1}\n' + big + b'\n{"payload": 2}')

    assert lines[1]["error"]["code"] == "payload_too_large"
    assert lines[-1] == {"accepted": 2, "rejected": 1}


async def test_a_line_without_an_end_ends_the_stream(api: Api) -> None:
    _, lines = await stream(api, b'{"payload": 1}\n' + b"x" * 200_000)

    assert lines[-2]["error"]["code"] == "payload_too_large"
    assert lines[-1] == {"accepted": await pending(api), "rejected": 0}


async def test_a_long_stream_is_taken_as_a_whole(api: Api) -> None:
    _, lines = await stream(api, b'{"payload": 1}\n' * 1_234, "?results=errors")

    assert lines == [{"accepted": 1_234, "rejected": 0}]
    assert await pending(api) == 1_234


async def test_results_come_in_the_order_of_the_lines(api: Api) -> None:
    raw = b"".join(b'{"payload": %d, "queue": "%s"}\n' % (number, b"ab"[number % 2 : number % 2 + 1]) for number in range(20))

    _, lines = await stream(api, raw)

    payloads = [(await api.get(f"/tasks/{line['task_id']}?fields=payload"))["payload"] for line in lines[:-1]]
    assert payloads == list(range(20))


# -- what a handler cannot take -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"payload": {"n": "x"}}, {"payload": "no json"}, {"payload": [1]}, {"payload": {}}])
async def test_a_payload_that_its_task_cannot_take_is_refused(api: Api, body: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    announce(api.store, known_task("count", schema))

    status, answer = await api.call("POST", "/tasks", {"task": "count", **body})
    _, batch = await api.call("POST", "/tasks/batch", {"tasks": [{"task": "count", **body}, {"task": "count", "payload": {"n": 1}}]})

    assert (status, answer["code"]) == (422, "payload_mismatch")
    assert all(error["pointer"].startswith("/payload") for error in answer["errors"])
    assert ["error" in result for result in batch["results"]] == [True, False]


async def test_a_payload_that_is_the_text_of_what_fits_is_taken(api: Api) -> None:
    announce(api.store, known_task("count", {"type": "object", "required": ["n"]}))

    assert (await api.call("POST", "/tasks", {"task": "count", "payload": '{"n": 1}'}))[0] == 202


async def test_a_schema_that_nobody_can_read_checks_nothing(api: Api) -> None:
    announce(api.store, known_task("odd", {"type": "no such type"}))

    assert (await api.call("POST", "/tasks", {"task": "odd", "payload": 1}))[0] == 202


async def test_a_name_that_nobody_knows_is_taken_unless_names_are_strict(opening: Opening) -> None:
    async with opening(strict_tasks="on") as api:
        assert (await api.call("POST", "/tasks", {"task": "new", "payload": 1}))[0] == 202  # no worker has told its tasks
    announce(api.store, known_task("known"))
    async with opening(strict_tasks="on") as api:
        status, answer = await api.call("POST", "/tasks", {"task": "new", "payload": 1})
        assert (status, answer["code"]) == (422, "unknown_task")
        assert (await api.call("POST", "/tasks", {"task": "known", "payload": 1}))[0] == 202
    async with opening() as api:
        assert (await api.call("POST", "/tasks", {"task": "new", "payload": 1}))[0] == 202
        assert (await api.store.count(QUEUE)).states[State.PENDING] == 3


@pytest.mark.parametrize("name", [".", "..", "_", "night\n", "x" * 65])
async def test_names_that_no_path_can_hold_are_refused(api: Api, name: str) -> None:
    one = await api.post("/tasks", {"payload": 1, "batch_id": name, "queue": name, "task": name * 3})
    many = await api.post("/tasks/batch", {"tasks": [{"payload": 1}], "batch_id": name})

    assert (one.status_code, many.status_code) == (422, 422)
    assert [error["pointer"] for error in (await one.get_json())["errors"]] == ["/batch_id", "/queue", "/task"]
    assert [error["pointer"] for error in (await many.get_json())["errors"]] == ["/batch_id"]
