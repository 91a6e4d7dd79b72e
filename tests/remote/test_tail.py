"""Live events over connections that break, and which tasks are looked at."""

from __future__ import annotations

import itertools

import httpx
import pytest

from _taskqueue.remote.answers import Event, Task
from _taskqueue.remote.errors import Forbidden, Unreachable
from _taskqueue.remote.flows import Patience
from _taskqueue.remote.tail import LOST, OPEN, QUIET, Lines, Tail, Watch
from tests.remote.conftest import Script, problem


def stream(text: str) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=text.encode())


def message(name: str, number: int, data: str = "{}") -> str:
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n"


def task(task_id: str, state: str) -> httpx.Response:
    return httpx.Response(200, json={"task_id": task_id, "state": state})


class Time:
    """A clock to be set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_end_at_line_feeds_alone_wherever_the_parts_are_cut() -> None:
    text = "one\u2028still one\r\ntwo\nrest".encode()

    for cut in range(len(text)):
        lines = Lines()
        assert lines.feed(text[:cut]) + lines.feed(text[cut:]) == ["one\u2028still one\r".encode(), b"two"]
        assert lines.rest == b"rest"


def test_a_stream_that_ends_is_resumed_where_it_was() -> None:
    script = Script(stream("retry: 500\n\n" + message("task", 7) + message("bye", 8)), stream(message("reset", 9)), stream(""))

    events = list(itertools.islice(script.client().events(), 2))

    assert [(event.name, event.id) for event in events] == [("task", "7"), ("reset", "9")]
    assert "Last-Event-ID" not in script.requests[0].headers
    assert script.requests[1].headers["Last-Event-ID"] == "8"
    assert script.slept == [0.5]


def test_a_stream_that_breaks_is_resumed() -> None:
    script = Script(stream(message("task", 7)), httpx.ConnectError("refused"), stream(message("task", 8)))

    assert [event.id for event in itertools.islice(script.client().events(), 2)] == ["7", "8"]


def test_a_server_that_stays_away_is_an_error() -> None:
    script = Script(stream(message("task", 7)), httpx.ConnectError("refused"))
    events = script.client(retry_for=30).events()

    assert next(events).id == "7"
    with pytest.raises(Unreachable):
        next(events)


def test_a_refused_stream_is_an_error() -> None:
    with pytest.raises(Forbidden):
        next(Script(problem(403, "forbidden")).client().events())


def test_what_was_half_said_on_a_broken_connection_is_forgotten() -> None:
    script = Script(stream('id: 7\nevent: task\ndata: {"half": '), stream(message("task", 8, '{"whole": 1}')))

    assert next(script.client().events()).data == {"whole": 1}


def test_filters_are_sent() -> None:
    script = Script(stream(message("task", 7)))

    next(script.client().events("tasks", "queues", queue="images", task_id="a"))

    assert dict(script.requests[0].url.params) == {"topics": "tasks,queues", "queue": "images", "task_id": "a"}


def test_tasks_are_given_as_they_end() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        task_id = request.url.path.rpartition("/")[2]
        if task_id == "events":
            return stream(
                message("task", 1, '{"task_id": "b", "state": "succeeded"}') + message("task", 2, '{"task_id": "a", "state": "dead"}')
            )
        looks[task_id] = looks.get(task_id, 0) + 1
        return task(task_id, {"a": "dead", "b": "succeeded"}[task_id] if looks[task_id] > 1 else "running")

    looks: dict[str, int] = {}

    ended = list(Script(serve).client().wait_many(["a", "b", "a"]))

    assert [(one.task_id, one.state) for one in ended] == [("b", "succeeded"), ("a", "dead")]


def test_without_events_tasks_are_looked_at_now_and_then() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/events":
            return problem(403, "forbidden")
        return task("a", "succeeded" if script.now > 1010 else "running")

    script = Script(serve)

    assert [one.task_id for one in script.client().wait_many(["a"])] == ["a"]
    assert set(script.slept) == {2.0}


def test_waiting_for_many_ends_with_the_time() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        return stream("") if request.url.path == "/events" else task("a", "running")

    script = Script(serve)

    assert list(script.client().wait_many(["a"], timeout=5)) == []
    assert script.now == 1005


def test_waiting_for_none_asks_nothing() -> None:
    script = Script(stream(""))

    assert list(script.client().wait_many([])) == []
    assert script.requests == []


@pytest.mark.parametrize(
    ("event", "after_s", "due"),
    [
        (OPEN, 0, ["a", "b"]),
        (Event("reset", {}), 0, ["a", "b"]),
        (Event("busy", {}), 0, []),
        (Event("busy", {}), 2, ["a", "b"]),
        (LOST, 1, []),
        (LOST, 2, ["a", "b"]),
        (QUIET, 4, []),
        (QUIET, 5, ["a", "b"]),
        (Event("task", {"task_id": "a", "state": "running"}), 0, []),
        (Event("task", {"task_id": "a", "state": "succeeded"}), 0, ["a"]),
        (Event("task", {"task_id": "c", "state": "succeeded"}), 0, []),
        (Event("progress", {"task_id": "a", "state": "progress"}), 0, []),
    ],
)
def test_what_is_looked_at_after_an_event(event: Event, after_s: float, due: list[str]) -> None:
    time = Time()
    watch = Watch(Patience(30, time, lambda: 1.0), ["a", "b"], None)
    watch.due(OPEN)

    time.now = after_s

    assert watch.due(event) == due


def test_what_was_missed_is_made_up_for_a_little_later() -> None:
    time = Time()
    watch = Watch(Patience(30, time, lambda: 1.0), ["a"], None)
    watch.due(OPEN)

    time.now = 1
    assert watch.due(Event("busy", {})) == []
    time.now = 2
    assert watch.due(Event("stats", {})) == ["a"]
    time.now = 5
    assert watch.due(Event("stats", {})) == []


def test_a_connection_may_not_be_silent_beyond_the_time() -> None:
    time = Time()
    tail = Tail(Patience(30, time, lambda: 1.0), until=100.0)

    assert tail.request().hold_s == 45
    time.now = 90.0
    assert tail.request().hold_s == 10


def test_an_ended_task_is_waited_for_no_more() -> None:
    watch = Watch(Patience(30, Time(), lambda: 1.0), ["a"], None)

    assert not watch.ended(Task("a", "running"))
    assert not watch.over()
    assert watch.ended(Task("a", "expired"))
    assert watch.over()
