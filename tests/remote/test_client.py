"""The blocking client on the real program: every call once, and the ends that matter."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from _taskqueue.remote.answers import Handler, Task
from _taskqueue.remote.client import Client
from _taskqueue.remote.errors import (
    CountChanged,
    Duplicate,
    Invalid,
    InvalidState,
    NotAllAccepted,
    NotFound,
    PayloadTooLarge,
    QueueFull,
    ResultNotReady,
    TaskFailed,
    Unauthorized,
    Unreachable,
)
from _taskqueue.remote.submission import NewTask
from tests.program import Program, running

LATER: dict[str, Any] = {"delay": "1h"}
WAIT_S = 20.0


def until_handlers_are_known(client: Client) -> dict[str, Handler]:
    """The handlers, once the API has heard of them: it asks its store every few seconds."""
    give_up = time.monotonic() + WAIT_S
    while not (found := client.handlers()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return {handler.task: handler for handler in found}


# -- submit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["plain text", "", "ünï\u2028", "7"])
def test_a_text_arrives_as_it_is(client: Client, payload: str) -> None:
    assert client.submit_and_wait(payload, wait=WAIT_S).result == payload


def test_an_object_is_bound_by_name(client: Client) -> None:
    task = client.submit_and_wait({"left": 2, "right": 3}, task="add", wait=WAIT_S)

    assert (task.state, task.result, task.done, task.succeeded) == ("succeeded", 5, True, True)


def test_all_terms_are_taken(client: Client) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)

    task_id = client.submit(
        "x", task="echo", queue="terms", priority=9, run_at=at, timeout=timedelta(minutes=2), max_attempts=7,
        backoff={"type": "constant", "base": 3}, expires_in="1d", unique={"key": "terms", "ttl": timedelta(hours=3), "while": "ttl"},
        tags=["a", "b"], meta={"who": "me"}, batch_id="terms", retain="1d",
    )  # fmt: skip
    task = client.get(task_id, payload=True)

    assert (task.task, task.queue, task.priority, task.max_attempts, task.timeout_seconds) == ("echo", "terms", 9, 7, 120)
    assert (task.tags, task.meta, task.links.batch, task.unique_key, task.payload) == (["a", "b"], {"who": "me"}, "terms", "terms", "x")
    assert task.next_run_at is not None
    assert abs(task.next_run_at - at) < timedelta(seconds=1)


def test_a_delay_is_kept(client: Client) -> None:
    assert client.get(client.submit("x", delay=timedelta(hours=1))).state == "scheduled"


def test_a_term_that_does_not_exist_is_refused(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.submit("x", prority=3)  # type: ignore[call-arg]

    assert caught.value.errors[0]["pointer"] == "/prority"


def test_a_time_without_offset_is_refused(client: Client) -> None:
    with pytest.raises(Invalid, match="offset"):
        client.submit("x", run_at=datetime(2040, 1, 1))


def test_what_has_no_json_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(TypeError):
        client.submit(object())


def test_a_payload_that_does_not_fit_is_refused(client: Client) -> None:
    until_handlers_are_known(client)

    with pytest.raises(Invalid) as caught:
        client.submit({"left": "two"}, task="add")

    assert caught.value.code == "payload_mismatch"


def test_a_payload_that_is_too_large_is_refused(client: Client) -> None:
    with pytest.raises(PayloadTooLarge):
        client.submit("x" * 2_000_000)


def test_a_unique_key_gives_the_task_that_holds_it(client: Client) -> None:
    holder = client.submit("x", unique="one", **LATER)

    assert client.submit("y", unique="one") == holder
    with pytest.raises(Duplicate) as caught:
        client.submit("y", unique={"key": "one", "on_conflict": "reject"})
    assert caught.value.task_id == holder


def test_waiting_for_a_submission_ends_with_the_time(client: Client) -> None:
    task = client.submit_and_wait({"seconds": 30}, task="nap", wait=0.3)

    assert not task.done
    client.cancel(task.task_id)


def test_many_have_their_results_in_order(client: Client) -> None:
    results = client.submit_many([NewTask("a", tags=["own"]), "b", NewTask("c", priority=12), "d"], queue="many", task="echo", **LATER)

    assert isinstance(results[2], Invalid)
    tasks = [client.get(result, payload=True) for result in results if isinstance(result, str)]
    assert [task.payload for task in tasks] == ["a", "b", "d"]
    assert (tasks[0].queue, tasks[1].queue, tasks[0].tags) == ("default", "many", ["own"])


def test_very_many_are_submitted(client: Client) -> None:
    results = client.submit_many(("x" for _ in range(1_200)), queue="very-many", **LATER)

    assert len({result for result in results if isinstance(result, str)}) == 1_200
    assert client.queue("very-many").counts["scheduled"] == 1_200


def test_large_ones_are_cut_into_batches_that_a_server_takes(client: Client) -> None:
    results = client.submit_many(["x" * 1_000_000] * 80, queue="large", **LATER)

    assert all(isinstance(result, str) for result in results)


def test_none_is_fine(client: Client) -> None:
    assert client.submit_many([]) == []


def test_a_buffer_sends_all_at_its_end(client: Client) -> None:
    with client.buffer(queue="buffer", **LATER) as buffer:
        for number in range(501):
            buffer.submit(number)
        buffer.submit("urgent", queue="buffer-2")

    assert client.queue("buffer").counts["scheduled"] == 501
    assert client.get(str(buffer.results[-1])).queue == "buffer-2"


def test_a_buffer_says_what_was_refused(client: Client) -> None:
    with pytest.raises(NotAllAccepted) as caught, client.buffer(**LATER) as buffer:
        buffer.submit("good")
        buffer.submit("bad", priority=12)

    ((place, error),) = caught.value.failed
    assert (place, type(error)) == (1, Invalid)
    assert isinstance(buffer.results[0], str)


def test_a_buffer_keeps_what_it_took_when_its_block_fails(client: Client) -> None:
    with pytest.raises(KeyError), client.buffer(queue="buffer-3", **LATER) as buffer:
        buffer.submit("good")
        raise KeyError

    assert client.queue("buffer-3").counts["scheduled"] == 1


# -- read -----------------------------------------------------------------------------------------------------------


def test_a_result_is_waited_for(client: Client) -> None:
    assert client.result(client.submit({"left": 1, "right": 1}, task="add"), wait=WAIT_S) == 2


def test_a_task_that_failed_has_no_result(client: Client) -> None:
    task_id = client.submit("no luck", task="fail")

    with pytest.raises(TaskFailed, match="no luck") as caught:
        client.result(task_id, wait=WAIT_S)

    assert (caught.value.state, caught.value.error["type"]) == ("dead", "ValueError")


def test_a_task_that_was_cancelled_has_no_result(client: Client) -> None:
    task_id = client.submit("x", **LATER)
    client.cancel(task_id)

    with pytest.raises(TaskFailed) as caught:
        client.result(task_id)

    assert (caught.value.state, caught.value.error) == ("cancelled", {})


def test_a_task_that_expired_has_no_result(client: Client) -> None:
    task_id = client.submit("x", delay="1h", expires_in="1ms")

    with pytest.raises(TaskFailed) as caught:
        client.result(task_id, wait=WAIT_S)

    assert caught.value.state == "expired"


def test_a_result_that_is_not_there_yet(client: Client) -> None:
    with pytest.raises(ResultNotReady) as caught:
        client.result(client.submit("x", **LATER))

    assert caught.value.state == "scheduled"


def test_a_task_that_does_not_exist(client: Client) -> None:
    for call in (client.get, client.wait, client.result, client.attempts, client.log, client.explain, client.retry, client.cancel):
        with pytest.raises(NotFound):
            call("task0")
    with pytest.raises(NotFound):
        next(client.follow_log("task0"))


def test_a_wait_ends_when_the_task_does(client: Client) -> None:
    task = client.wait(client.submit({"seconds": 0.3}, task="nap"), WAIT_S)

    assert (task.state, task.result) == ("succeeded", 0.3)


def test_a_wait_ends_with_its_time(client: Client) -> None:
    began = time.monotonic()

    assert client.wait(client.submit("x", **LATER), 0.3).state == "scheduled"
    assert time.monotonic() - began < 5


def test_attempts_have_their_errors(client: Client) -> None:
    task = client.submit_and_wait("ouch", task="fail", wait=WAIT_S)

    (attempt,) = client.attempts(task.task_id)

    assert attempt.error is not None
    assert (attempt.number, attempt.outcome, attempt.error.message) == (1, "error", "ouch")
    assert "ValueError: ouch" in (attempt.error.traceback or "")


def test_a_log_is_read_and_followed(client: Client) -> None:
    task_id = client.submit({"lines": ["one", "two\u2028still two", "three"]}, task="talk")

    followed = list(client.follow_log(task_id))

    read = client.log(task_id)
    assert [text in line for text, line in zip(["one", "two\u2028still two", "three"], followed, strict=True)] == [True] * 3
    assert read.split("\n")[:3] == followed
    assert client.log(task_id, attempt=7) == ""


def test_an_explanation(client: Client) -> None:
    explanation = client.explain(client.submit("x", **LATER))

    assert [hold.kind for hold in explanation.held_by] == ["delay"]
    assert explanation.starts_at is not None


def test_a_list_goes_over_all_pages(client: Client) -> None:
    ids = client.submit_many(range(1_050), queue="list", task="echo", **LATER)

    assert [task.task_id for task in client.list(queue="list", order="asc")] == ids
    assert [task.task_id for task in client.list(queue=["list", "none"], limit=3)] == ids[:-4:-1]
    assert list(client.list(queue="list", limit=0)) == []


def test_a_list_is_filtered(client: Client) -> None:
    task_id = client.submit("needle", queue="filter", task="echo", tags=["red"], meta={"k.x": "v"}, batch_id="filter", **LATER)
    client.submit("hay", queue="filter", task="echo", tags=["blue"], **LATER)
    hour = timedelta(hours=1)
    now = datetime.now(UTC)

    found: list[list[Task]] = [
        list(client.list(queue="filter", tag="red")),
        list(client.list(queue="filter", tag=["red", "green"])),
        list(client.list(meta={"k.x": "v"})),
        list(client.list(batch_id="filter")),
        list(client.list(q="queue:filter needle")),
        list(client.list(queue="filter", meta={"k.x": ["v", "w"]}, created_after=now - hour, created_before=now + hour, state="scheduled")),
    ]

    assert [[task.task_id for task in tasks] for tasks in found] == [[task_id]] * len(found)
    assert list(client.list(queue="filter", created_before=now - hour)) == []


def test_what_is_no_filter_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="no filter"):
        next(client.list(colour="red"))  # type: ignore[call-arg]
    with pytest.raises(Invalid):
        next(client.list(state="sleepy"))


def test_an_empty_filter_does_not_mean_everything(client: Client) -> None:
    with pytest.raises(ValueError, match="batch_id is empty"):
        client.operate("delete", filter={"batch_id": []})


def test_a_list_has_payloads_when_they_are_asked_for(client: Client) -> None:
    client.submit({"left": 1}, queue="payloads", task="other", **LATER)

    assert [task.payload for task in client.list(queue="payloads", payload=True)] == [{"left": 1}]


# -- steer ----------------------------------------------------------------------------------------------------------


def test_a_dead_task_is_retried(client: Client) -> None:
    task_id = client.submit_and_wait("again", task="fail", wait=WAIT_S).task_id

    client.retry(task_id)

    assert client.wait(task_id, WAIT_S).state == "dead"
    assert len(client.attempts(task_id)) == 2
    client.retry(task_id, reset_attempts=True)
    assert client.wait(task_id, WAIT_S).attempt == 1


def test_a_scheduled_task_is_run_now(client: Client) -> None:
    task_id = client.submit("now", **LATER)

    client.run(task_id)

    assert client.result(task_id, wait=WAIT_S) == "now"
    with pytest.raises(InvalidState) as caught:
        client.run(task_id)
    assert caught.value.state == "succeeded"


def test_a_running_task_is_cancelled(client: Client) -> None:
    task_id = client.submit({"seconds": 30}, task="nap")
    give_up = time.monotonic() + WAIT_S
    while client.get(task_id).state != "running":
        assert time.monotonic() < give_up

    client.cancel(task_id)

    assert client.wait(task_id, WAIT_S).state == "cancelled"


def test_a_task_is_run_again_as_it_was_and_with_another_payload(client: Client) -> None:
    task_id = client.submit_and_wait("first", wait=WAIT_S).task_id

    same, other = client.rerun(task_id), client.rerun(task_id, "second")

    assert client.result(same, wait=WAIT_S) == "first"
    assert client.result(other, wait=WAIT_S) == "second"
    assert client.get(other).links.rerun_of == task_id


def test_a_waiting_task_is_edited(client: Client) -> None:
    at = datetime.now(UTC) + timedelta(days=1)

    task = client.edit(client.submit("x", priority=2, **LATER), priority=7, run_at=at, max_attempts=2, tags=["new"])

    assert (task.priority, task.max_attempts, task.tags) == (7, 2, ["new"])
    assert task.next_run_at is not None
    assert abs(task.next_run_at - at) < timedelta(seconds=1)


def test_a_task_is_deleted(client: Client) -> None:
    task_id = client.submit("x", **LATER)

    client.delete(task_id)

    with pytest.raises(NotFound):
        client.get(task_id)


def test_a_running_task_is_deleted_only_with_a_cancel(client: Client) -> None:
    task_id = client.submit({"seconds": 30}, task="nap")
    give_up = time.monotonic() + WAIT_S
    while client.get(task_id).state != "running":
        assert time.monotonic() < give_up

    with pytest.raises(InvalidState):
        client.delete(task_id)
    client.delete(task_id, cancel=True)

    with pytest.raises(NotFound):
        client.get(task_id)


# -- queues, workers, operations, numbers ---------------------------------------------------------------------------


def test_a_queue_is_paused_and_goes_on(client: Client) -> None:
    client.submit("x", queue="paused", **LATER)

    paused = client.pause("paused", reason="lunch")
    task_id = client.submit("waits", queue="paused")
    resumed = client.resume("paused")

    assert (paused.paused, paused.paused_reason, resumed.paused) == (True, "lunch", False)
    assert client.result(task_id, wait=WAIT_S) == "waits"
    assert "paused" in [queue.queue for queue in client.queues()]


def test_a_queue_is_limited(program: Program) -> None:
    with Client(program.api, retry_for=0) as client:
        client.submit("x", queue="limited", **LATER)
        assert client.set_max_length("limited", 1).max_length == 1

        with pytest.raises(QueueFull):
            client.submit("x", queue="limited", **LATER)
        (result,) = client.submit_many(["x"], queue="limited", **LATER)
        assert isinstance(result, QueueFull)

        assert client.set_max_length("limited", None).max_length is None
        client.submit("x", queue="limited", **LATER)


def test_a_queue_is_purged(client: Client) -> None:
    client.submit_many("abc", queue="purged", **LATER)

    operation = client.wait_operation(client.purge("purged", state=["scheduled", "pending"]), WAIT_S)

    assert (operation.state, operation.matched, operation.done) == ("finished", 3, 3)
    assert client.queue("purged").counts["scheduled"] == 0


def test_many_tasks_are_acted_on_by_a_filter(client: Client) -> None:
    client.submit_many("abc", queue="operated", **LATER)

    counted = client.operate("cancel", filter={"queue": "operated"}, dry_run=True)
    with pytest.raises(CountChanged) as caught:
        client.operate("cancel", filter={"queue": "operated"}, expected=100)
    operation = client.wait_operation(client.operate("cancel", filter={"queue": "operated"}, expected=3, rate=100), WAIT_S)

    assert (counted.state, counted.matched, counted.counted) == ("dry_run", 3, True)
    assert client.wait_operation(counted) is counted
    assert caught.value.matched == 3
    assert (operation.state, operation.done) == ("finished", 3)
    assert operation.operation_id in [one.operation_id for one in client.operations()]
    with pytest.raises(InvalidState):
        client.stop_operation(str(operation.operation_id))


def test_many_tasks_are_acted_on_by_their_ids(client: Client) -> None:
    ids = [client.submit("x", **LATER) for _ in range(2)]

    operation = client.wait_operation(client.operate("run", ids=[*ids, "task0"]))

    assert (operation.state, operation.done, operation.skipped) == ("finished", 2, 1)


def test_an_operation_is_stopped(client: Client) -> None:
    client.submit_many("abcdefghij" * 10, queue="stopped", **LATER)

    operation = client.operate("cancel", filter={"queue": "stopped"}, rate=1)
    client.stop_operation(str(operation.operation_id))

    assert client.wait_operation(operation, WAIT_S).state == "stopped"


def test_workers_and_handlers(client: Client) -> None:
    (worker,) = client.workers()
    handlers = until_handlers_are_known(client)

    assert worker.state == "active"
    assert worker.started_at is not None
    assert handlers["add"].parameters == ["left", "right"]
    assert "left" in json.dumps(handlers["add"].schema)


def test_a_worker_takes_orders(client: Client) -> None:
    (worker,) = client.workers()

    assert client.quiet_worker(worker.worker).order == "quiet"
    assert client.resume_worker(worker.worker).order == "resume"
    with pytest.raises(NotFound):
        client.stop_worker("nobody")


def test_failures_are_grouped(client: Client) -> None:
    client.submit_and_wait("grouped", task="fail", queue="grouped", wait=WAIT_S)

    (failure,) = client.failures(queue="grouped")

    assert (failure.type, failure.tasks, failure.queues["grouped"]) == ("ValueError", failure.tasks, 1)
    assert client.failure(failure.fingerprint).fingerprint == failure.fingerprint
    assert [task.state for task in client.list(queue="grouped", fingerprint=failure.fingerprint)] == ["dead"]
    with pytest.raises(NotFound):
        client.failure("0000")


def test_a_batch_is_waited_for(client: Client) -> None:
    client.submit_many([{"seconds": 0.1}] * 5, task="nap", batch_id="napping")

    batch = client.wait_batch("napping", WAIT_S)

    assert (batch.ended, batch.total, batch.done, batch.counts["succeeded"]) == (True, 5, 5, 5)


def test_statistics(client: Client) -> None:
    client.submit("x", queue="counted", **LATER)

    stats = client.stats(window="30m", step=60, series=["submitted"], queue="counted", by_queue=True)

    (line,) = stats.lines
    assert (line.queue, sum(line.values), stats.step_seconds) == ("counted", 1, 60)


def test_advice_on_scaling(client: Client) -> None:
    client.submit("x", queue="scaled", **LATER)

    assert client.autoscale("scaled", target=30, slots_per_worker=4).desired_workers == 0


def test_the_server_tells_about_itself(client: Client) -> None:
    assert client.health().ok
    assert client.version().roles == ["api", "scheduler", "worker"]
    assert (client.session().open, client.session().name) == (True, "anybody")
    assert "concurrency" in [setting.name for setting in client.config()]


def test_the_audit_has_what_was_done(client: Client) -> None:
    task_id = client.submit("x", **LATER)
    client.cancel(task_id)

    assert f"/tasks/{task_id}/cancel" in [entry.path for entry in client.audit(limit=20)]


# -- waiting and events ---------------------------------------------------------------------------------------------


def test_many_are_waited_for_as_they_end(client: Client) -> None:
    slow = client.submit({"seconds": 1.0}, task="nap")
    quick = client.submit({"seconds": 0.2}, task="nap")
    dead = client.submit("x", task="fail")

    ended = [task.task_id for task in client.wait_many([slow, quick, dead], WAIT_S)]

    assert sorted(ended) == sorted([slow, quick, dead])
    assert ended[-1] == slow


def test_waiting_for_many_ends_with_the_time(client: Client) -> None:
    began = time.monotonic()

    assert list(client.wait_many([client.submit("x", **LATER)], 1.0)) == []
    assert time.monotonic() - began < 5


def test_events_tell_what_happens(client: Client) -> None:
    events = client.events("tasks", queue="told")
    client.submit("x", queue="told", **LATER)
    threading.Timer(1.5, lambda: client.submit("x", queue="told")).start()

    states = []
    for event in events:
        if event.name == "task":
            states.append(event.data["state"])
        if "succeeded" in states:
            break

    assert states[-1] == "succeeded"


def test_a_topic_that_does_not_exist_is_refused(client: Client) -> None:
    with pytest.raises(Invalid):
        next(client.events("weather"))


# -- the way there --------------------------------------------------------------------------------------------------


def test_a_token_opens_what_is_guarded(folder: Path) -> None:
    tokens = "ops:admin:0123456789abcdef"
    with running(folder, "--redis-url", "memory://", "--handlers", str(folder / "tasks"), "--tokens", tokens) as program:
        with Client(program.api) as stranger, pytest.raises(Unauthorized):
            stranger.queues()
        with Client(program.api, "0123456789abcdef") as known:
            assert known.submit_and_wait("x", task="echo", wait=WAIT_S).result == "x"
            assert known.session().name == "ops"


def test_nobody_there_is_an_error_of_ours() -> None:
    with Client("http://127.0.0.1:9", retry_for=0.2) as client, pytest.raises(Unreachable):
        client.submit("x")


def test_a_wait_survives_a_restart_of_the_server(folder: Path) -> None:
    flags = ["--data-dir", str(folder / "data"), "--handlers", str(folder / "tasks")]
    with running(folder, *flags) as first:
        port = first.api.rpartition(":")[2]
        with Client(first.api) as client:
            task_id = client.submit("survived", task="echo", delay="4s")
            found: list[str] = []
            waiting = threading.Thread(target=lambda: found.append(client.result(task_id, wait=60)))
            waiting.start()
            first.stop()
            with running(folder, *flags, "--port", port, "--metrics-port", "0"):
                waiting.join(30)

    assert found == ["survived"]


def test_the_payload_is_what_json_makes_of_it(client: Client) -> None:
    payload = {"number": 1.5, "none": None, "list": [1, "two"], "at": datetime(2030, 1, 1, tzinfo=UTC)}

    task = client.get(client.submit(payload, task="other", **LATER), payload=True)

    assert json.loads(json.dumps(task.payload)) == {"number": 1.5, "none": None, "list": [1, "two"], "at": "2030-01-01T00:00:00Z"}
