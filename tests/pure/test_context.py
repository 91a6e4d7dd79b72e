"""What a handler sees of its own task, with a desk that only remembers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from _taskqueue.domain.errors import Cancel, TaskqueueError
from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.task import Claim, Record
from _taskqueue.tasks.context import Context, current, current_context

pytestmark = pytest.mark.anyio

TASK_ID = IdMint(lambda: 1_800_000_000_500, bytes).mint(1)


class Desk:
    """Remembers what the context asks for."""

    task_name = "greet"
    max_attempts = 3
    worker = "host:1:abc"

    def __init__(self) -> None:
        self.state: Mapping[str, Any] = {"db": "open"}
        self.cancel_asked = False
        self.progress: list[tuple[float, float | None, str | None]] = []
        self.saved: list[bytes] = []
        self.sent: list[tuple[str, Any, Mapping[str, Any]]] = []
        self.lines: list[str] = []

    def deadline_at(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def remaining_s(self) -> float:
        return 12.5

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        self.progress.append((done, total, message))

    async def save(self, packed: bytes) -> None:
        self.saved.append(packed)

    async def submit(self, task: str, payload: Any, options: Mapping[str, Any]) -> str:
        self.sent.append((task, payload, options))
        return "task2"

    def keep_line(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def context(desk: Desk) -> Context:
    return make(desk)


def make(desk: Desk, attempt: int = 1, checkpoint: bytes | None = None) -> Context:
    record = Record("greet", True, tags=("a",), meta={"k": "v"}, payload=b"hello")
    return Context(Claim(TASK_ID.encode(), record, 0, attempt, 0, "host:1:abc/x", "mails", checkpoint), desk)


def test_the_context_shows_the_claim_and_the_desk(context: Context) -> None:
    assert (context.id, context.idempotency_key, context.task, context.queue) == (TASK_ID, TASK_ID, "greet", "mails")
    assert (context.tags, context.meta, context.payload_raw) == (("a",), {"k": "v"}, b"hello")
    assert (context.worker, context.state["db"], context.remaining()) == ("host:1:abc", "open", 12.5)
    assert context.created_at == datetime.fromtimestamp(1_800_000_000.5, UTC)
    assert context.deadline == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("attempt", "last"), [(1, False), (2, False), (3, True), (4, True)])
def test_the_last_attempt_is_known_as_such(desk: Desk, attempt: int, last: bool) -> None:
    context = make(desk, attempt)

    assert (context.attempt, context.max_attempts, context.is_last_attempt) == (attempt, 3, last)


async def test_progress_can_be_awaited_and_just_called(context: Context, desk: Desk) -> None:
    await context.progress(1, 10, "one")
    context.progress(2)

    assert desk.progress == [(1, 10, "one"), (2, None, None)]


async def test_what_is_saved_is_seen_at_once(context: Context, desk: Desk) -> None:
    before = context.saved

    await context.save({"page": 3})

    assert before is None
    assert context.saved == {"page": 3}
    assert desk.saved == [b'{"page":3}']


def test_what_an_attempt_before_saved_is_seen(desk: Desk) -> None:
    assert make(desk, 2, b"[1,2]").saved == [1, 2]


def test_a_request_to_stop_is_seen_and_raised(context: Context, desk: Desk) -> None:
    context.check_cancelled()
    before = context.cancelled
    desk.cancel_asked = True

    assert (before, context.cancelled) == (False, True)
    with pytest.raises(Cancel):
        context.check_cancelled()


async def test_another_task_goes_through_the_desk(context: Context, desk: Desk) -> None:
    assert await context.submit("mail", {"to": "me"}, delay=5) == "task2"
    assert desk.sent == [("mail", {"to": "me"}, {"delay": 5})]


def test_a_log_line_is_kept_and_carries_the_task(context: Context, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskqueue.handler")

    context.log.info("page %d of %s", 3, "ten", extra={"own": 1})

    (record,) = caplog.records
    assert record.getMessage() == "page 3 of ten"
    assert [getattr(record, name) for name in ("task_id", "task", "attempt", "own")] == [TASK_ID, "greet", 1, 1]
    (line,) = desk.lines
    assert line.endswith(" INFO page 3 of ten")
    assert datetime.fromisoformat(line.split()[0]).tzinfo is not None


def test_a_level_that_is_off_is_not_kept(context: Context, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "taskqueue.handler")

    context.log.info("quiet")
    context.log.warning("loud")

    assert [line.split()[-1] for line in desk.lines] == ["loud"]


class Rude:
    """Fails when it is looked at."""

    def __str__(self) -> str:
        raise KeyError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("msg", "args", "said"),
    [
        ("%(a)s and %(b)s", ({"a": 1, "b": 2},), "1 and 2"),
        ("%s", ({},), "{}"),
        ("%d", ("x",), "(a line that cannot be formatted: TypeError)"),
        ("%s %s", ("only one",), "(a line that cannot be formatted: TypeError)"),
        ("%s", (Rude(),), "(a line that cannot be formatted: KeyError)"),
        (Rude(), (), "(a line that cannot be formatted: KeyError)"),
        ("100 %", (), "100 %"),
    ],
    ids=range(7),
)
def test_a_line_is_formatted_as_the_standard_library_does_and_never_raises(
    context: Context, desk: Desk, msg: Any, args: tuple[Any, ...], said: str
) -> None:
    logger = logging.getLogger("taskqueue.handler")
    logger.addHandler(quiet := logging.NullHandler())
    logger.propagate = False
    try:
        context.log.warning(msg, *args)
    finally:
        logger.propagate = True
        logger.removeHandler(quiet)

    assert [line.split(" ", 1)[1] for line in desk.lines] == [f"WARNING {said}"]


def test_the_traceback_of_an_error_that_is_logged_is_kept(context: Context, desk: Desk) -> None:
    try:
        raise ValueError("it broke")
    except ValueError as error:
        context.log.exception("one")
        given = error
    context.log.error("two", exc_info=given)
    context.log.error("three", exc_info=(ValueError, given, given.__traceback__))
    context.log.error("four", exc_info=False)

    for line, word in zip(desk.lines, ("one", "two", "three"), strict=False):
        assert f"ERROR {word}\nTraceback (most recent call last):" in line
        assert line.rstrip().endswith("ValueError: it broke")
    assert desk.lines[3].endswith("ERROR four")


def test_a_filter_that_fails_is_told_in_the_kept_log_and_not_to_the_handler(context: Context, desk: Desk) -> None:
    def fail(record: logging.LogRecord) -> bool:
        raise OSError("no filter")

    logger = logging.getLogger("taskqueue.handler")
    logger.addFilter(fail)
    try:
        context.log.warning("one")
    finally:
        logger.removeFilter(fail)

    assert desk.lines[0].endswith("WARNING one")
    assert desk.lines[1].endswith("ERROR (the line above did not reach the log: OSError)")


@pytest.mark.parametrize(
    ("given", "kept"),
    [(3, 3), (0.5, 0.5), (Decimal("0.5"), 0.5), (Fraction(1, 4), 0.25), (2**70, float(2**70)), (2**63 - 1, 2**63 - 1), (-1, -1)],
)
def test_progress_takes_whatever_is_a_number(context: Context, desk: Desk, given: Any, kept: float) -> None:
    context.progress(given, given)

    assert desk.progress == [(kept, kept, None)]
    assert type(desk.progress[0][0]) is type(kept)


@pytest.mark.parametrize(("given", "kept"), [("caf\udce9", "caf?"), (ValueError("x"), "ValueError('x')"), (7, "7"), ("", ""), (None, None)])
def test_a_message_of_progress_is_kept_as_it_can_be_stored(context: Context, desk: Desk, given: Any, kept: str | None) -> None:
    context.progress(1, 2, given)

    assert desk.progress == [(1, 2, kept)]


def test_a_long_message_of_progress_is_clipped(context: Context, desk: Desk) -> None:
    context.progress(1, 2, "x" * 10_000)

    assert len(desk.progress[0][2] or "") == 500


@pytest.mark.parametrize("given", ["half", None, {"rows": 5}, True, b"1", 1j, [1]])
def test_progress_refuses_what_is_no_number(context: Context, desk: Desk, given: Any) -> None:
    with pytest.raises(TypeError, match="progress: done must be a number, not "):
        context.progress(given)
    assert not desk.progress


@pytest.mark.parametrize("given", [float("nan"), float("inf"), Decimal("NaN"), 10**400])
def test_progress_refuses_what_is_not_finite(context: Context, desk: Desk, given: Any) -> None:
    with pytest.raises(ValueError, match="progress: total "):
        context.progress(1, given)
    assert not desk.progress


def test_current_is_the_context_inside_a_task_and_an_error_outside(context: Context) -> None:
    token = current_context.set(context)
    inside = current()
    current_context.reset(token)

    assert inside is context
    with pytest.raises(TaskqueueError, match="no task runs here"):
        current()
