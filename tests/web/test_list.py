"""``GET /tasks``: every filter, the line people type, pages, and what is refused."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from _taskqueue.domain.states import State
from tests.store.desk import FAULT, STATES, Desk
from tests.web.conftest import Api

pytestmark = pytest.mark.anyio


async def found(api: Api, query: str) -> list[str]:
    """The ids of a list, sorted; the whole of it."""
    answer = await api.get(f"/tasks?{query}")
    assert (answer["next_cursor"], answer["complete"]) == (None, True)
    return sorted(item["task_id"] for item in answer["items"])


@pytest.fixture
async def tasks(api: Api, desk: Desk) -> dict[str, str]:
    """Three tasks that differ in everything."""
    (dead,) = [await desk.in_state(State.DEAD, fault=FAULT, tags=("red",), meta={"who": "ann"}, task="resize", payload=b"needle one")]
    running = await desk.in_state(State.RUNNING, tags=("red", "blue"), meta={"who": "bob", "at": "x=1"}, batch="b1")
    later = await api.submit(queue="mails", delay="1h", tags=["blue"], task="send", payload={"text": "Needle two"})
    return {"dead": dead, "running": running, "later": later}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "dead running later"),
        ("state=dead", "dead"), ("state=dead,running", "dead running"), ("state=failing", "dead"), ("state=blocked", ""),
        ("queue=mails", "later"), ("queue=default,mails", "dead running later"), ("queue=none", ""),
        ("task=resize", "dead"), ("task=resize,send", "dead later"),
        ("tag=red", "dead running"), ("tag=red,blue", "dead running later"), ("tag=re", ""),
        ("meta.who=ann", "dead"), ("meta.who=ann,bob", "dead running"), ("meta.at=x%3D1", "running"), ("meta.none=x", ""),
        ("error=ValueError", "dead"), ("error=KeyError", ""), ("worker=worker", "dead running"), ("batch_id=b1", "running"),
        ("created_after=2000-01-01T00:00:00Z", "dead running later"), ("created_before=2000-01-01T00:00:00Z", ""),
        ("tag=red&state=running", "running"), ("tag=red&tag=blue", "dead running later"), ("queue=mails&state=dead", ""),
        ("q=state:dead", "dead"), ("q=needle", "dead later"), ("q=needle+two", "later"), ("q=%22needle one%22", "dead"),
        ("q=NEEDLE", "dead later"),
        ("q=tag:red+queue:default+state:running", "running"), ("q=meta.who:ann", "dead"), ("q=no:filter", ""), ("q=%22open", ""),
        ("q=valueerror", "dead"), ("q=state:dead&tag=blue", ""),
        ("state=&q=", "dead running later"),
    ],
)  # fmt: skip
async def test_a_filter_means_these_tasks(api: Api, tasks: dict[str, str], query: str, names: str) -> None:
    assert await found(api, query) == sorted(tasks[name] for name in names.split())


async def test_tasks_are_found_by_their_fingerprint_and_their_id(api: Api, tasks: dict[str, str]) -> None:
    assert await found(api, f"fingerprint={FAULT.split()[0]}") == [tasks["dead"]]
    assert await found(api, f"q={tasks['later']}") == [tasks["later"]]
    assert await found(api, f"q={tasks['later'].lower()}") == [tasks["later"]]


@pytest.mark.parametrize("state", STATES)
async def test_a_list_says_the_same_as_the_task_alone(api: Api, desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, fault=FAULT, tags=("a",))

    (item,) = (await api.get("/tasks"))["items"]

    alone = await api.get(f"/tasks/{task_id}")
    assert item == {name: value for name, value in alone.items() if name in item}
    assert item["state"] == state


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("state=nowhere", 422, "invalid_field"), ("state=DEAD", 422, "invalid_field"), ("created_after=soon", 422, "invalid_field"),
        ("created_after=2030-01-01", 422, "invalid_field"), ("q=state:nowhere", 422, "invalid_field"),
        ("q=" + "x" * 1_001, 422, "invalid_field"),
        ("tag=" + "x" * 201, 422, "invalid_field"), ("tag=" + ",".join("x" * 51), 422, "invalid_field"), ("tag=%2C", 422, "invalid_field"),
        ("limit=0", 422, "invalid_field"), ("limit=501", 422, "invalid_field"), ("limit=x", 422, "invalid_field"),
        ("order=up", 422, "invalid_field"),
        ("stat=dead", 422, "unknown_field"), ("meta.=x", 422, "unknown_field"), ("word=x", 422, "unknown_field"),
        ("cursor=x", 400, "cursor_mismatch"), ("cursor=%C3%A9", 400, "cursor_mismatch"),
    ],
)  # fmt: skip
async def test_a_wrong_query_is_refused(api: Api, query: str, status: int, code: str) -> None:
    found_status, answer = await api.call("GET", f"/tasks?{query}")

    assert (found_status, answer.get("code")) == (status, code)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("query", ["", "state=pending", "tag=a", "task=echo", "q=hello"])
async def test_pages_follow_each_other_to_the_end(api: Api, desk: Desk, order: str, query: str) -> None:
    tasks = await desk.submit(25, tags=("a",))
    seen: list[str] = []
    cursor = ""

    while True:
        page = await api.get(f"/tasks?{query}&order={order}&limit=7&cursor={cursor}")
        seen += [item["task_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]

    assert seen == (tasks if order == "asc" else tasks[::-1])


@pytest.mark.parametrize("other", ["state=dead", "order=asc", "q=x", "queue=default", "created_after=2000-01-01T00:00:00Z"])
async def test_a_cursor_of_another_list_is_refused(api: Api, desk: Desk, other: str) -> None:
    await desk.submit(3)
    cursor = (await api.get("/tasks?limit=1"))["next_cursor"]

    status, answer = await api.call("GET", f"/tasks?limit=1&{other}&cursor={cursor}")

    assert (status, answer["code"]) == (400, "cursor_mismatch")
    assert len((await api.get(f"/tasks?limit=2&cursor={cursor}"))["items"]) == 2


async def test_limits_at_their_ends_are_taken(api: Api, desk: Desk) -> None:
    await desk.submit(3)

    assert [len((await api.get(f"/tasks?limit={limit}"))["items"]) for limit in (1, 500)] == [1, 3]


async def test_payloads_come_when_they_are_asked_for(api: Api) -> None:
    await api.submit(payload={"a": [1]})

    (without,) = (await api.get("/tasks"))["items"]
    (with_it,) = (await api.get("/tasks?fields=payload"))["items"]

    assert "payload" not in without
    assert with_it["payload"] == {"a": [1]}


@pytest.mark.parametrize("text", ["\u65e5\u672c", "a b", "x=y", "50%", "a+b", "#1"])
async def test_any_tag_can_be_asked_for(api: Api, text: str) -> None:
    task_id = await api.submit(tags=[text])

    assert await found(api, f"tag={quote(text, safe='')}") == [task_id]
