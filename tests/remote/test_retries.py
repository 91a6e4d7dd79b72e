"""What is tried again, for how long, and when not."""

from __future__ import annotations

import json

import httpx
import pytest

from _taskqueue.domain.errors import TaskqueueError, UsageError
from _taskqueue.remote.client import Client
from _taskqueue.remote.errors import (
    ApiError,
    BadAnswer,
    Duplicate,
    Invalid,
    InvalidState,
    NotFound,
    QueueFull,
    RateLimited,
    TaskFailed,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from tests.remote.conftest import Script, accepted, problem

REFUSED = httpx.ConnectError("connection refused")
CUT_OFF = httpx.RemoteProtocolError("server disconnected")
AWAY = problem(503, "backend_unavailable")


@pytest.mark.parametrize("first", [REFUSED, CUT_OFF, httpx.ReadTimeout("late"), AWAY, httpx.Response(502), httpx.Response(504)])
def test_a_submission_that_fails_is_sent_again_under_the_same_key(first: httpx.Response | Exception) -> None:
    script = Script(first, first, accepted())

    assert script.client().submit("x") == "task1"

    keys = {request.headers["Idempotency-Key"] for request in script.requests}
    bodies = {request.content for request in script.requests}
    assert (len(script.requests), len(keys), len(bodies)) == (3, 1, 1)


def test_each_submission_has_a_key_of_its_own() -> None:
    script = Script(accepted())
    client = script.client()

    client.submit("x")
    client.submit("x")

    first, second = (request.headers["Idempotency-Key"] for request in script.requests)
    assert first != second


def test_the_pauses_grow_and_end() -> None:
    script = Script(REFUSED)

    with pytest.raises(Unreachable):
        script.client(retry_for=30).submit("x")

    assert script.slept[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert sum(script.slept) <= 30 < sum(script.slept) + 5


def test_jitter_takes_a_part_of_each_pause() -> None:
    script = Script(REFUSED, REFUSED, accepted())

    script.client(random=lambda: 0.5).submit("x")

    assert script.slept == [0.05, 0.1]


def test_without_patience_one_try_is_made() -> None:
    script = Script(REFUSED)

    with pytest.raises(Unreachable):
        script.client(retry_for=0).submit("x")

    assert len(script.requests) == 1


def test_the_server_says_when_to_come_back() -> None:
    script = Script(problem(429, "rate_limited", headers={"Retry-After": "7"}), accepted())

    script.client().submit("x")

    assert script.slept == [7.1]


def test_a_wait_that_is_too_long_is_an_error_at_once() -> None:
    script = Script(problem(429, "queue_full", headers={"Retry-After": "300"}))

    with pytest.raises(QueueFull) as caught:
        script.client().submit("x")

    assert (script.slept, caught.value.retry_after_s) == ([], 300)


def test_reading_is_tried_again() -> None:
    script = Script(CUT_OFF, AWAY, httpx.Response(200, json={"task_id": "a", "state": "pending"}))

    assert script.client().get("a").state == "pending"


@pytest.mark.parametrize("error", [CUT_OFF, AWAY, httpx.ReadTimeout("late"), problem(429, "rate_limited")])
def test_an_act_that_may_have_been_done_is_not_sent_again(error: httpx.Response | Exception) -> None:
    script = Script(error)

    with pytest.raises(TaskqueueError):
        script.client().retry("a")

    assert len(script.requests) == 1


def test_an_act_that_was_not_sent_is_sent_again() -> None:
    script = Script(REFUSED, httpx.Response(200, json={"task_id": "a", "state": "pending"}))

    assert script.client().retry("a").state == "pending"


def test_a_long_wait_that_breaks_late_goes_on() -> None:
    def late(_request: httpx.Request) -> httpx.Response:
        script.now += 55
        raise CUT_OFF

    script = Script(late, httpx.Response(200, json={"task_id": "a", "state": "succeeded"}))

    assert script.client(retry_for=30).wait("a", 120).done


def test_a_wait_asks_for_a_minute_at_a_time() -> None:
    def hold(request: httpx.Request) -> httpx.Response:
        script.now += float(request.url.params["wait"])
        return httpx.Response(200, json={"task_id": "a", "state": "running"})

    script = Script(hold)

    assert script.client().wait("a", 150).state == "running"
    assert [request.url.params["wait"] for request in script.requests] == ["60.000", "60.000", "30.000"]


def test_a_server_that_answers_too_early_is_not_asked_in_a_circle() -> None:
    script = Script(httpx.Response(200, json={"task_id": "a", "state": "running"}))

    script.client().wait("a", 10)

    assert script.slept == [1.0] * 10


def test_a_replayed_submission_that_waits_goes_on_waiting() -> None:
    script = Script(CUT_OFF, accepted("a"), httpx.Response(200, json={"task_id": "a", "state": "succeeded", "result": 3}))

    assert script.client().submit_and_wait("x", wait=20).result == 3
    assert [request.url.path for request in script.requests] == ["/tasks", "/tasks", "/tasks/a"]


def test_a_submission_that_waits_goes_on_when_the_server_stops() -> None:
    early = httpx.Response(202, json={"task_id": "a", "state": "running"})
    script = Script(early, httpx.ConnectError("refused"), httpx.Response(200, json={"task_id": "a", "state": "succeeded"}))

    assert script.client().submit_and_wait("x", wait=20).succeeded


def test_a_batch_whose_store_was_away_for_some_is_sent_again_under_the_same_key() -> None:
    away = json.loads(AWAY.content)
    script = Script(
        httpx.Response(202, json={"accepted": 1, "rejected": 1, "results": [{"task_id": "a"}, {"error": away}]}),
        httpx.Response(202, json={"accepted": 2, "rejected": 0, "results": [{"task_id": "a"}, {"task_id": "b"}]}),
    )

    assert script.client().submit_many([1, 2]) == ["a", "b"]
    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 1


def test_a_batch_of_which_nothing_was_accepted_gives_each_its_error() -> None:
    full = json.loads(problem(429, "queue_full").content)
    script = Script(problem(422, "all_refused", accepted=0, rejected=1, results=[{"error": full}]))

    (result,) = script.client().submit_many([1])

    assert isinstance(result, QueueFull)


def test_a_batch_that_cannot_be_sent_gives_its_error_to_all_that_follow() -> None:
    script = Script(problem(401, "unauthorized"))

    results = script.client().submit_many(range(1200))

    assert len(script.requests) == 1
    assert len(results) == 1200
    assert all(isinstance(result, Unauthorized) for result in results)


def test_many_are_cut_into_batches_of_five_hundred() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        tasks = json.loads(request.content)["tasks"]
        return httpx.Response(202, json={"results": [{"task_id": f"t{task['payload']}"} for task in tasks]})

    script = Script(take)

    assert script.client().submit_many(iter(range(1001))) == [f"t{number}" for number in range(1001)]
    assert [len(json.loads(request.content)["tasks"]) for request in script.requests] == [500, 500, 1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(404, "not_found"), NotFound),
        (problem(409, "invalid_state", state="running"), InvalidState),
        (problem(409, "duplicate_task", task_id="b"), Duplicate),
        (problem(422, "unknown_field"), Invalid),
        (problem(401, "unauthorized"), Unauthorized),
        (problem(429, "rate_limited", headers={"Retry-After": "60"}), RateLimited),
        (problem(418, "new_code"), ApiError),
        (httpx.Response(503, text="<html>nginx</html>"), Unavailable),
        (httpx.Response(301, headers={"Location": "https://elsewhere.test"}), ApiError),
        (httpx.Response(200, text="<html>a login page</html>"), BadAnswer),
        (httpx.Response(200, json={"something": "else"}), BadAnswer),
    ],
)
def test_every_answer_has_its_error(answer: httpx.Response, kind: type[TaskqueueError]) -> None:
    with pytest.raises(kind) as caught:
        Script(answer).client().get("a")

    assert type(caught.value) is kind


def test_an_error_says_all_that_the_server_said() -> None:
    with pytest.raises(InvalidState) as caught:
        Script(problem(409, "invalid_state", "the task is running", state="running", allowed=["dead"])).client().retry("a")

    error = caught.value
    assert (error.status, error.code, error.detail, error.state) == (409, "invalid_state", "the task is running", "running")
    assert error.problem["allowed"] == ["dead"]
    assert str(error) == "the task is running (409 invalid_state)"


def test_a_task_without_a_result_says_why() -> None:
    failed = problem(409, "invalid_state", state="dead", error={"type": "ValueError", "message": "no", "fingerprint": "f"})

    with pytest.raises(TaskFailed, match="the task a is dead: ValueError: no") as caught:
        Script(failed).client().result("a")

    assert caught.value.error["fingerprint"] == "f"


@pytest.mark.parametrize("url", ["queue.test", "ftp://queue.test", "http://", "http://queue.test:port"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Client(url)


def test_url_and_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(accepted())
    monkeypatch.setenv("TASKQUEUE_API_URL", "http://elsewhere.test/queue/")
    monkeypatch.setenv("TASKQUEUE_API_TOKEN", "secret")

    with Client(transport=httpx.MockTransport(script.answer)) as client:
        client.submit("x")

    (request,) = script.requests
    assert str(request.url) == "http://elsewhere.test/queue/tasks?strict=1"
    assert request.headers["Authorization"] == "Bearer secret"


def test_what_submissions_wait_for_is_said_with_each() -> None:
    script = Script(accepted())

    with Client("http://queue.test", durability="replica", transport=httpx.MockTransport(script.answer)) as client:
        client.submit("x")

    assert script.requests[0].headers["Prefer"] == "durability=replica"


def test_parts_of_a_path_cannot_change_it() -> None:
    script = Script(httpx.Response(200, json={"task_id": "a", "state": "pending"}))

    script.client().get("../queues?x=1#y")

    assert script.requests[0].url.raw_path == b"/tasks/..%2Fqueues%3Fx%3D1%23y"
