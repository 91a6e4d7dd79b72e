"""What holds for every path: problems, headers, the guard, health, and a store that is away."""

from __future__ import annotations

import gzip

import pytest

from _taskqueue.domain.errors import StoreFull, StoreUnavailable
from tests.web.conftest import Api

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/tasks", 405, "method_not_allowed"),
        ("PUT", "/tasks", 405, "method_not_allowed"),
        ("POST", "/queues", 405, "method_not_allowed"),
    ],
)
async def test_the_router_answers_with_problems(api: Api, method: str, path: str, status: int, code: str) -> None:
    response = await api.http.open(path, method=method, json=None)

    assert (response.status_code, (await response.get_json())["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/tasks/", "there is: /tasks"),
        ("/v1/queues/mails//", "there is: /v1/queues/mails"),
        ("/nothing/", "there is no such path"),
    ],
)
async def test_a_slash_too_many_is_pointed_at(api: Api, path: str, words: str) -> None:
    status, answer = await api.call("GET", path)

    assert (status, answer["code"], answer["detail"].endswith(words)) == (404, "not_found", True)


@pytest.mark.parametrize("path", ["/tasks", "/tasks/batch", "/operations", "/queues/default/pause"])
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, gzip"])
async def test_a_body_that_is_coded_is_refused(api: Api, path: str, coding: str) -> None:
    for body in (b'{"payload": 1, "tasks": []}', gzip.compress(b'{"payload": 1}')):
        response = await api.post(path, raw=body, Content_Encoding=coding)

        assert (response.status_code, (await response.get_json())["code"]) == (415, "unsupported_media_type")
        assert response.headers["Accept-Encoding"] == "identity"


async def test_a_stream_that_is_coded_is_refused(api: Api) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}
    response = await api.http.post("/tasks/batch", data=b'{"payload": 1}\n', headers=headers)

    assert response.status_code == 415


async def test_a_body_that_is_said_to_be_plain_is_taken(api: Api) -> None:
    assert (await api.post("/tasks", {"payload": 1}, Content_Encoding="identity")).status_code == 202


async def test_a_request_id_is_echoed_when_it_is_a_sane_one(api: Api) -> None:
    mine = await api.http.get("/version", headers={"X-Request-Id": "abc-1"})
    theirs = await api.http.get("/version", headers={"X-Request-Id": "<script>"})

    assert mine.headers["X-Request-Id"] == "abc-1"
    assert theirs.headers["X-Request-Id"] != "<script>"


async def test_every_path_also_stands_under_v1(api: Api) -> None:
    assert (await api.post("/v1/tasks", {"payload": 1})).status_code == 202
    assert (await api.http.get("/v1/queues")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://localhost"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_a_page_of_another_site_may_not_post(api: Api, headers: dict[str, str], status: int) -> None:
    response = await api.http.post("/tasks", data=b'{"payload": 1}', headers=headers)

    assert response.status_code == status
    assert status != 403 or "--cors-origins" in (await response.get_json())["detail"]


async def test_health_and_version(api: Api) -> None:
    assert (await api.http.get("/livez")).status_code == 200
    assert (await api.http.get("/readyz")).status_code == 200
    assert (await (await api.http.get("/version")).get_json())["roles"] == ["api"]


async def test_a_stopping_process_is_not_ready_but_lives(api: Api) -> None:
    api.life.stop()

    assert (await api.http.get("/readyz")).status_code == 503
    assert (await api.http.get("/livez")).status_code == 200


async def test_a_stalled_process_does_not_live(api: Api) -> None:
    api.life.stalled = lambda: True

    assert (await api.http.get("/livez")).status_code == 503


@pytest.mark.parametrize(
    ("error", "code", "retry_after"),
    [(StoreUnavailable("away"), "backend_unavailable", "1"), (StoreFull("full"), "storage_full", "10")],
)
async def test_a_store_that_cannot_is_a_503_that_says_when_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, retry_after: str
) -> None:
    async def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(api.store, "command", refuse)

    one, many = {"payload": 1}, {"tasks": [{"payload": 1}]}
    asked = [api.post("/tasks", one), api.post("/tasks", one, Prefer="wait=1"), api.post("/tasks/batch", many), api.http.get("/queues")]
    for response in [await ask for ask in asked]:
        assert (await response.get_json())["retry_after_seconds"] == int(retry_after)
        assert (response.status_code, response.headers["Retry-After"]) == (503, retry_after)
        assert (await response.get_json())["code"] == code


async def test_a_defect_is_a_500_without_a_traceback(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.store, "queues", break_down)

    response = await api.http.get("/queues")

    body = await response.get_data(as_text=True)
    assert response.status_code == 500
    assert "secret detail" not in body
    assert "internal_error" in body
