"""``/queues``, ``/workers``, ``/handlers``, ``/stats``, ``/failures``, ``/autoscale``."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.states import State
from _taskqueue.store.calls import BeatStore
from tests.store.desk import FAULT, STATES, Desk
from tests.web.conftest import Api, announce, known_task

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", STATES)
async def test_a_queue_counts_its_tasks(api: Api, desk: Desk, state: State) -> None:
    await desk.in_state(state)

    (queue,) = (await api.get("/queues"))["items"]

    assert {name for name, count in queue["counts"].items() if count} == {state.value}
    assert queue | {"latency_seconds": 0} == await api.get("/queues/default") | {"latency_seconds": 0}


async def test_a_queue_is_paused_with_a_reason_and_resumed(api: Api) -> None:
    await api.submit()

    paused = await api.call("POST", "/queues/default/pause", {"reason": "lunch"})
    without = await api.call("POST", "/queues/default/pause")
    resumed = await api.call("POST", "/queues/default/resume")

    assert [(status, answer["paused"], answer["paused_reason"]) for status, answer in (paused, without, resumed)] == [
        (200, True, "lunch"), (200, True, None), (200, False, None),
    ]  # fmt: skip


async def test_a_length_is_set_and_taken_away(api: Api) -> None:
    await api.submit()

    answers = [
        (await api.call("PATCH", "/queues/default", body))[1]["max_length"] for body in ({"max_length": 5}, {}, {"max_length": None})
    ]

    assert answers == [5, 5, None]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("PATCH", "", {}), ("POST", "/pause", {}), ("POST", "/resume", None), ("DELETE", "/tasks", None)],
)
@pytest.mark.parametrize("queue", ["none", "A B", "x" * 65])
async def test_an_unknown_queue_is_404_and_stays_unknown(api: Api, method: str, path: str, body: object, queue: str) -> None:
    status, answer = await api.call(method, f"/queues/{queue}{path}", body)

    assert (status, answer["code"]) == (404, "not_found")
    assert [one["queue"] for one in (await api.get("/queues"))["items"]] == ["default"]


@pytest.mark.parametrize(
    "body", [{"max_length": -1}, {"max_length": "5"}, {"max_length": 10**10}, {"max_length": 1.5}, {"max": 5}, {"max_length": 1e300}]
)
async def test_a_wrong_length_is_refused(api: Api, body: object) -> None:
    status, _ = await api.call("PATCH", "/queues/default", body)

    assert status == 422


async def test_queues_are_not_sent_twice_when_nothing_changed(api: Api) -> None:
    first = await api.http.get("/queues")
    again = await api.http.get("/queues", headers={"If-None-Match": first.headers["ETag"]})
    await api.submit()
    changed = await api.http.get("/queues", headers={"If-None-Match": first.headers["ETag"]})

    assert [response.status_code for response in (first, again, changed)] == [200, 304, 200]
    assert await again.get_data() == b""


# -- workers and handlers -----------------------------------------------------------------------------------------------


def beat(api: Api, worker: str = "w1", **more: Any) -> str:
    """Let a worker beat; gives the order it finds."""
    beats = BeatStore(api.store)
    order = beats.beat(Beat(worker, queues=["default"], slots=10, **more))
    beats.close()
    return order


@pytest.mark.parametrize("order", ["quiet", "resume", "stop"])
async def test_an_order_is_found_with_the_next_beat_and_once(api: Api, order: str) -> None:
    beat(api)

    status, answer = await api.call("POST", f"/workers/w1/{order}")

    assert (status, answer) == (202, {"worker": "w1", "order": order})
    assert [beat(api), beat(api)] == [order, ""]
    assert (await api.call("POST", f"/workers/w2/{order}"))[0] == 404


async def test_workers_are_shown_as_they_beat(api: Api) -> None:
    beat(api, busy=3, quiet=True)
    beat(api, "w2", tasks=["a"], version="1")

    items = (await api.get("/workers"))["items"]

    assert [(item["worker"], item["state"], item["busy"], item["slots"]) for item in items] == [
        ("w1", "quiet", 3, 10),
        ("w2", "active", 0, 10),
    ]


async def test_a_worker_of_another_version_breaks_nothing(api: Api) -> None:
    beat(api, "odd")
    await api.store.command("odd", "HSET", api.store.key("workers"), "odd", "no json")

    assert [item["worker"] for item in (await api.get("/workers"))["items"]] == ["odd"]


async def test_handlers_come_with_the_schema_of_their_payload(api: Api) -> None:
    announce(api.store, known_task("b", {"type": "integer"}), known_task("a"))

    items = (await api.get("/handlers"))["items"]

    assert [(item["task"], item["schema"], item["runs"]) for item in items] == [
        ("a", {}, "on the event loop"), ("b", {"type": "integer"}, "on the event loop"),
    ]  # fmt: skip


async def test_advice_on_workers_follows_the_backlog(api: Api, desk: Desk) -> None:
    none = await api.get("/autoscale")
    await desk.submit(50)
    beat(api)
    some = await api.get("/autoscale?slots_per_worker=10")

    assert (none["desired_workers"], none["backlog"]) == (0, 0)
    assert (some["backlog"], some["slots"], some["desired_workers"]) == (50, 10, 7)
    assert (await api.call("GET", "/autoscale?queue=none"))[0] == 404


# -- numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["", "window=3h", "window=7d", "window=7d&step=1d", "window=1m", "window=3h&step=2h", "window=1h&step=7m"]
)
async def test_every_window_counts_what_has_just_happened(api: Api, desk: Desk, query: str) -> None:
    await desk.in_state(State.DEAD)

    answer = await api.get(f"/stats?{query}")

    sums = {line["series"]: sum(line["values"]) for line in answer["lines"]}
    assert sums == {"submitted": 1, "claimed": 1, "succeeded": 0, "retried": 0, "dead": 1, "cancelled": 0, "expired": 0, "lost": 0}
    assert len({len(line["values"]) for line in answer["lines"]}) == 1
    assert len(answer["lines"][0]["values"]) <= 500


async def test_series_are_told_apart_by_queue(api: Api) -> None:
    await api.submit()
    await api.submit(queue="other")

    answer = await api.get("/stats?group=queue&series=submitted")
    one = await api.get("/stats?queue=other&series=submitted")

    assert {line["queue"]: sum(line["values"]) for line in answer["lines"]} == {"default": 1, "other": 1}
    assert [sum(line["values"]) for line in one["lines"]] == [1]
    assert [sum(line["values"]) for line in (await api.get("/stats?queue=none&series=dead"))["lines"]] == [0]


@pytest.mark.parametrize("query", ["series=nothing", "window=soon", "step=x", "group=task", "from=now"])
async def test_a_wrong_question_is_refused(api: Api, query: str) -> None:
    assert (await api.call("GET", f"/stats?{query}"))[0] == 422


async def test_failures_are_grouped(api: Api, desk: Desk) -> None:
    for _ in range(2):
        await desk.in_state(State.DEAD, fault=FAULT)

    (group,) = (await api.get("/failures"))["items"]

    assert (group["type"], group["message"], group["task"], group["tasks"], group["queues"]) == (
        "ValueError",
        "no",
        "echo",
        2,
        {"default": 2},
    )
    assert await api.get(f"/failures/{group['fingerprint']}") == group
    assert (await api.get("/failures?queue=other"))["items"] == []
    assert (await api.call("GET", "/failures/none"))[0] == 404
