"""``Prefer: durability=``: how safe a submission is before it is answered."""

from __future__ import annotations

import pytest

from _taskqueue.domain.durability import Durability
from _taskqueue.store import durable
from tests.web.conftest import Api

ITEM = {"payload": "x"}
BATCH = {"tasks": [ITEM, ITEM]}
LINES = "application/x-ndjson"


@pytest.fixture
def confirming(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that confirms at once."""
    for level in (Durability.DISK, Durability.REPLICA):
        monkeypatch.setitem(durable._CONFIRM, level, ("ECHO", "1"))


@pytest.mark.parametrize(("path", "body"), [("/tasks", ITEM), ("/tasks/batch", BATCH)])
@pytest.mark.parametrize("level", ["disk", "replica"])
@pytest.mark.usefixtures("confirming")
async def test_the_level_reached_is_in_the_answer(api: Api, path: str, body: object, level: str) -> None:
    response = await api.post(path, body, Prefer=f"durability={level}")

    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == f"durability={level}"


@pytest.mark.usefixtures("confirming")
async def test_lines_are_accepted_when_they_are_safe(api: Api) -> None:
    response = await api.post("/tasks/batch", raw=b'{"payload": 1}\n', Content_Type=LINES, Prefer="durability=disk")

    assert response.headers["Preference-Applied"] == "durability=disk"
    assert b'{"accepted":1,"rejected":0}' in await response.get_data()


async def test_the_common_level_needs_no_word(api: Api) -> None:
    for headers in ({}, {"Prefer": "durability=primary"}):
        response = await api.post("/tasks", ITEM, **headers)
        assert response.status_code == 202
        assert "Preference-Applied" not in response.headers


@pytest.mark.usefixtures("confirming")
async def test_the_level_of_the_process_holds_where_nothing_is_said(api: Api) -> None:
    api.client.durability = Durability.DISK

    for headers in ({}, {"Prefer": "return=minimal"}):  # past the framework, and through it
        response = await api.post("/tasks", ITEM, **headers)
        assert response.headers["Preference-Applied"] == "durability=disk"


@pytest.mark.parametrize(("path", "body"), [("/tasks", ITEM), ("/tasks/batch", BATCH)])
async def test_what_cannot_be_promised_is_refused_with_the_remedy(api: Api, path: str, body: object) -> None:
    response = await api.post(path, body, Prefer="durability=disk")
    problem = await response.get_json()

    assert (response.status_code, problem["code"]) == (503, "not_durable")
    assert "appendonly yes" in problem["detail"]
    assert response.headers["Retry-After"] == "1"


async def test_a_repetition_under_its_key_is_the_same_task(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Idempotency_Key": "k" * 16, "Prefer": "durability=disk"}
    refused = await api.post("/tasks", ITEM, **headers)
    monkeypatch.setitem(durable._CONFIRM, Durability.DISK, ("ECHO", "1"))

    accepted = await api.post("/tasks", ITEM, **headers)

    assert (refused.status_code, accepted.status_code) == (503, 202)
    counts = (await api.store.count("default")).states
    assert counts["pending"] == 1


async def test_an_unknown_level_is_named(api: Api) -> None:
    response = await api.post("/tasks", ITEM, Prefer="durability=eternal")

    assert response.status_code == 400
    assert "primary, disk, replica" in (await response.get_json())["detail"]
