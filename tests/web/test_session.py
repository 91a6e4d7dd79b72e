"""What a process says about itself, who did what, and what stands on every answer; no secret among it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from _taskqueue.domain.states import State
from _taskqueue.web.frame import SECURITY_HEADERS
from tests.store.desk import Desk
from tests.web.conftest import Api, Opening, announce, known_task
from tests.web.test_access import path_of, routes_of

pytestmark = pytest.mark.anyio

CANARY = "canary-S3cret-0123456789"
ADMIN = {"Authorization": f"Bearer {CANARY}"}


async def test_no_secret_is_in_any_answer_or_log(opening: Opening, caplog: pytest.LogCaptureFixture) -> None:
    redis_url = f"redis://user:{CANARY}@localhost:1/0?password={CANARY}"
    with caplog.at_level(logging.DEBUG):
        async with opening(tokens=f"me:admin:{CANARY}", redis_url=redis_url) as api:
            for route in routes_of(api).values():
                if route.path == "/events":
                    continue
                for headers in (ADMIN, {}, {"Authorization": f"Basic {CANARY}"}):
                    response = await api.http.open(path_of(route), method=route.method, headers=headers, data=b"{}")
                    said = await response.get_data(as_text=True) + str(response.headers)
                    assert CANARY not in said, (route.method, route.path)
            await api.call("POST", "/session", {"token": CANARY})

    assert CANARY not in caplog.text


async def test_settings_are_shown_with_their_source_and_without_secrets(opening: Opening) -> None:
    async with opening(tokens=f"me:admin+read:{CANARY}", redis_url=f"redis://me:{CANARY}@example:6379/3?x={CANARY}") as api:
        status, answer = await api.call("GET", "/config", **ADMIN)

        shown = {item["name"]: (item["value"], item["source"]) for item in answer["items"]}
        assert status == 200
        assert shown["tokens"] == (["me:admin+read"], "--tokens")
        assert shown["redis-url"] == ("redis://example:6379/3", "--redis-url")
        assert shown["port"] == (8080, "default")


# -- the audit trail ----------------------------------------------------------------------------------------------------


async def test_who_changed_what_is_kept_the_latest_first(opening: Opening) -> None:
    async with opening(tokens=f"me:admin:{CANARY}") as api:
        await api.call("POST", "/tasks", {"payload": 1}, **ADMIN)
        await api.call("POST", "/queues/default/pause", {}, X_Request_Id="mine-1", **ADMIN)
        await api.call("GET", "/queues", **ADMIN)
        await api.call("DELETE", "/queues/default/tasks", X_Request_Id="mine-2", **ADMIN)

        items = (await api.call("GET", "/audit", **ADMIN))[1]["items"]

        assert [(item["caller"], item["method"], item["path"], item["status"]) for item in items] == [
            ("me", "DELETE", "/queues/default/tasks", 202), ("me", "POST", "/queues/default/pause", 200),
        ]  # fmt: skip
        assert [item["address"] for item in items] == ["<local>"] * 2
        assert all(item["at"] for item in items)


async def test_an_entry_has_the_id_of_its_request(api: Api) -> None:
    await api.submit()
    await api.call("POST", "/queues/default/pause", {}, X_Request_Id="mine-1")

    (item,) = (await api.get("/audit"))["items"]

    assert item["request_id"] == "mine-1"


async def test_what_was_not_allowed_or_not_done_is_not_kept(opening: Opening) -> None:
    async with opening(tokens=f"me:admin:{CANARY},r:read:0123456789abcdef") as api:
        await api.call("POST", "/queues/none/pause", {}, **ADMIN)
        await api.call("POST", "/queues/none/pause", {})
        await api.call("POST", "/queues/none/pause", {}, Authorization="Bearer 0123456789abcdef")

        assert (await api.call("GET", "/audit", **ADMIN))[1]["items"] == []


@pytest.mark.parametrize(("limit", "status"), [(0, 422), (1, 200), (1_000, 200), (1_001, 422)])
async def test_the_trail_is_read_in_parts(api: Api, limit: int, status: int) -> None:
    await api.submit()
    for _ in range(2):
        await api.call("POST", "/queues/default/resume")

    found, answer = await api.call("GET", f"/audit?limit={limit}")

    assert found == status
    assert status != 200 or len(answer["items"]) == min(limit, 2)


# -- headers ------------------------------------------------------------------------------------------------------------


def _lacks(response: Any) -> list[str]:
    wanted = {*SECURITY_HEADERS, "X-Request-Id", "API-Version", "Cache-Control", "Content-Type"}
    if response.status_code in (204, 302, 304):
        wanted.discard("Content-Type")
    return sorted(name for name in wanted if name not in response.headers)


async def test_every_answer_has_its_headers(api: Api, desk: Desk) -> None:
    await desk.in_state(State.DEAD)
    for route in routes_of(api).values():
        if route.path != "/events":
            response = await api.http.open(path_of(route), method=route.method, data=b"{}")
            assert _lacks(response) == [], (route.method, route.path, response.status_code)
            assert response.headers["API-Version"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404), ("PUT", "/tasks", {}, 405), ("GET", "/tasks?x=1", {}, 422), ("POST", "/tasks", {}, 422),
        ("POST", "/tasks", {"Sec-Fetch-Site": "cross-site"}, 403), ("GET", "/queues", {"Host": "evil.example"}, 421),
    ],
)  # fmt: skip
async def test_every_error_has_its_headers(api: Api, method: str, path: str, headers: dict[str, str], status: int) -> None:
    response = await api.http.open(path, method=method, headers=headers, data=b"{}")

    problem = await response.get_json()
    assert (response.status_code, response.mimetype, problem["status"]) == (status, "application/problem+json", status)
    assert {"type", "title", "status", "code", "detail"} <= set(problem)
    assert _lacks(response) == []


async def test_a_compressed_answer_for_a_page_of_another_site_varies_by_both(opening: Opening, desk: Desk) -> None:
    await desk.submit(50)
    async with opening(cors_origins="https://a.example") as api:
        response = await api.http.get("/tasks", headers={"Origin": "https://a.example", "Accept-Encoding": "gzip"})

        assert response.headers["Content-Encoding"] == "gzip"
        assert {part.strip() for part in response.headers["Vary"].split(",")} == {"Origin", "Accept-Encoding"}


# -- what nobody may see ------------------------------------------------------------------------------------------------

HIDDEN = "hidden-4111"


@pytest.mark.parametrize(
    ("redact", "payload", "shown"),
    [
        (("card",), {"card": HIDDEN, "to": "ann"}, {"card": "\u2022\u2022\u2022", "to": "ann"}),
        (("card",), {"a": [{"card": {"x": HIDDEN}}]}, {"a": [{"card": "\u2022\u2022\u2022"}]}),
        (("card",), HIDDEN, "\u2022\u2022\u2022"),
        (True, {"card": HIDDEN}, "\u2022\u2022\u2022"),
        (True, HIDDEN, "\u2022\u2022\u2022"),
    ],
)
async def test_what_a_task_hides_is_shown_nowhere(api: Api, redact: Any, payload: Any, shown: Any) -> None:
    announce(api.store, known_task("pay", redact=redact))
    status, one = await api.call("POST", "/tasks?wait=0.01", {"task": "pay", "payload": payload})
    path = f"/tasks/{one['task_id']}"

    answers = [
        one, await api.get(path), await api.get(f"{path}?fields=payload"), await api.get("/tasks?fields=payload"),
        await api.get(f"{path}/explain"), (await api.call("PATCH", path, {"priority": 1}))[1],
        (await api.call("POST", f"{path}/cancel"))[1],
    ]  # fmt: skip

    assert status == 202
    assert all(HIDDEN not in str(answer) for answer in answers)
    assert answers[2]["payload"] == shown


async def test_a_rerun_keeps_what_is_hidden(api: Api) -> None:
    announce(api.store, known_task("pay", redact=True))
    task_id = await api.submit(task="pay", payload={"card": HIDDEN})

    _, answer = await api.call("POST", f"/tasks/{task_id}/rerun")

    sight = await api.store.inspect("default", answer["task_id"])
    assert sight is not None
    assert HIDDEN.encode() in sight.record.payload


@pytest.mark.parametrize("act", [("POST", "/cancel"), ("PATCH", "")])
async def test_the_first_call_of_a_process_hides_it_too(opening: Opening, desk: Desk, act: tuple[str, str]) -> None:
    (task_id,) = await desk.submit(task="pay", payload=HIDDEN.encode())
    announce(desk.store, known_task("pay", redact=True))
    async with opening() as api:
        status, answer = await api.call(act[0], f"/tasks/{task_id}{act[1]}", {})

        assert status == 200
        assert HIDDEN not in str(answer)


async def test_what_is_hidden_is_not_found_either(api: Api) -> None:
    announce(api.store, known_task("pay", redact=True))
    await api.submit(task="pay", payload={"card": HIDDEN})

    assert (await api.get(f"/tasks?q={HIDDEN}"))["items"] == []
