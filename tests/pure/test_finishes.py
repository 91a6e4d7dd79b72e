"""The log lines about tasks: each one while that is readable, a sum beyond that."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from _taskqueue.domain.task import Claim, Failure, Record
from _taskqueue.tasks.context import Context
from _taskqueue.work import finishes
from _taskqueue.work.finishes import LINES_MAX, FinishLog

FAILURE = Failure("ValueError", "first\nsecond")
CONTEXT = Context(
    Claim(b"task1", Record("greet", True), 0, 2, queue="mails"),
    SimpleNamespace(task_name="greet", max_attempts=5),
)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(finishes, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "taskqueue.task")
    return caplog


def test_beyond_the_limit_a_sum_takes_the_place_of_the_lines(clock: Clock, said: pytest.LogCaptureFixture) -> None:
    log = FinishLog("finish")

    for _ in range(LINES_MAX + 7):
        log.succeeded(CONTEXT, 0.01)
    within = len(said.messages)
    clock.now += 1
    log.succeeded(CONTEXT, 0.01)

    assert within == LINES_MAX
    assert said.messages[LINES_MAX] == "and 7 more tasks ended"
    assert said.messages[LINES_MAX + 1] == "succeeded in 10.0 ms"
    assert len(said.messages) == LINES_MAX + 2


def test_a_second_within_the_limit_has_no_sum(clock: Clock, said: pytest.LogCaptureFixture) -> None:
    log = FinishLog("finish")

    for _ in range(3):
        for _ in range(LINES_MAX):
            log.succeeded(CONTEXT, 2)
        clock.now += 1

    assert said.messages == ["succeeded in 2.0 s"] * (3 * LINES_MAX)


@pytest.mark.parametrize(("level", "events"), [("errors", ["task.finished"]), ("finish", ["task.finished"] * 2),
                                               ("all", ["task.started", "task.finished", "task.finished"])])  # fmt: skip
def test_the_level_says_which_ends_are_worth_a_line(clock: Clock, said: pytest.LogCaptureFixture, level: str, events: list[str]) -> None:
    log = FinishLog(level)

    log.started(CONTEXT)
    log.succeeded(CONTEXT, 0.1)
    log.failed(CONTEXT, "dead", 0, "attempts", FAILURE, 0.1)

    assert [record.__dict__["event"] for record in said.records] == events


@pytest.mark.parametrize(
    ("verb", "level", "text"),
    [
        ("retry", "WARNING", "failed with ValueError: first; attempt 2 of 5, next in 3.0 s"),
        ("dead", "ERROR", "dead (attempts): ValueError: first"),
        ("snooze", "INFO", "snoozed, back in 3.0 s"),
        ("cancel", "INFO", "cancelled"),
    ],
)
def test_each_ending_has_its_own_line(clock: Clock, said: pytest.LogCaptureFixture, verb: str, level: str, text: str) -> None:
    FinishLog("errors").failed(CONTEXT, verb, 3.0, "attempts", FAILURE, 0.25)

    (record,) = said.records
    assert (record.levelname, record.getMessage()) == (level, text)
    fields = {name: record.__dict__[name] for name in ("task_id", "task", "queue", "attempt", "duration_s", "outcome", "error_type")}
    assert fields == {
        "task_id": "task1", "task": "greet", "queue": "mails", "attempt": 2, "duration_s": 0.25, "outcome": verb,
        "error_type": "ValueError",
    }  # fmt: skip
