"""Handlers that do to their asyncio task, their context, their errors and their results whatever can be done.

Each ends as its own task's success or failure; the ones beside it and after it never notice, and no slot is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.errors import Cancel, Discard, Retry, StoreUnavailable
from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.states import State
from _taskqueue.logs import secure_loggers
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Sight
from _taskqueue.store.store import Store
from _taskqueue.tasks.context import Context, current
from _taskqueue.tasks.spec import lifespan, middleware, on_failure, task
from _taskqueue.work import execution, run
from _taskqueue.work.settlement import Settlement
from tests.conftest import submission
from tests.roles.conftest import Working, lose, until

pytestmark = pytest.mark.anyio

SLOTS = 2
AnyHandler = Callable[..., Any]
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


@task
async def innocent(text: str) -> str:
    """Runs beside the guilty one, and after it."""
    await anyio.sleep(0.2)
    return f"{text} {tenant.get()}"


def result_of(sight: Sight) -> Any:
    assert sight.outcome is not None
    return None if sight.outcome.result is None else msgspec.json.decode(sight.outcome.result)


def message_of(sight: Sight) -> str:
    assert sight.outcome is not None
    assert sight.outcome.failure is not None
    return f"{sight.outcome.failure.type}: {sight.outcome.failure.message}"


async def tried(working: Working, handler: AnyHandler, *, state: State, **options: Any) -> Sight:
    """Run a hostile handler beside an innocent one, then as many innocent ones as there are slots; gives its own end."""
    guilty = task(name="guilty", max_attempts=1, **options)(handler)
    async with working(guilty, innocent, concurrency=str(SLOTS)) as bench:
        beside = await bench.submit("innocent", b"beside")
        sight = await bench.run("guilty", state=state)
        assert result_of(await bench.reaches(beside, State.SUCCEEDED)) == "beside nobody"
        after = [await bench.submit("innocent", b"after") for _ in range(2 * SLOTS)]
        for one in after:
            assert result_of(await bench.reaches(one, State.SUCCEEDED)) == "after nobody"
        await until(lambda: bench.worker.busy == 0)
        assert not bench.life.stopping.is_set()
        assert not bench.ended.is_set()
    assert bench.worker.clean
    return sight


# -- what it does to its own asyncio task --------------------------------------------------------------------------------


async def cancels_itself(text: str) -> str:
    current_task().cancel()
    return "done"


async def cancels_itself_and_waits(text: str) -> None:
    current_task().cancel()
    await asyncio.sleep(10)


async def swallows_its_own_cancellation(text: str) -> str:
    current_task().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(10)
    return "done"


async def leaves_a_watchdog(text: str) -> str:
    mine = current_task()

    async def bite() -> None:
        try:
            await asyncio.sleep(0.05)
        finally:
            mine.cancel()

    current_task().get_loop().create_task(bite())
    await asyncio.sleep(0.01)
    return "done"


async def leaves_a_scope(text: str) -> str:
    anyio.CancelScope(deadline=anyio.current_time() + 0.1).__enter__()
    return "done"


async def leaves_a_cancelled_scope(text: str) -> str:
    scope = anyio.CancelScope()
    scope.__enter__()
    scope.cancel()
    return "done"


async def leaves_a_task_group_that_fails(text: str) -> str:
    async def child() -> None:
        await anyio.sleep(0.1)
        raise ValueError("late")

    group = anyio.create_task_group()
    await group.__aenter__()
    group.start_soon(child)
    return "done"


async def leaves_a_task_group_of_asyncio(text: str) -> str:
    group = asyncio.TaskGroup()
    await group.__aenter__()
    group.create_task(asyncio.sleep(0.05))
    return "done"


async def leaves_a_timeout(text: str) -> str:
    await asyncio.timeout(0.05).__aenter__()
    return "done"


async def sets_variables(text: str) -> str:
    tenant.set("acme")
    decimal.getcontext().prec = 3
    return "done"


async def schedules_its_own_cancellation(text: str) -> str:
    asyncio.get_running_loop().call_later(0.05, current_task().cancel)
    return "done"


def current_task() -> asyncio.Task[Any]:
    found = asyncio.current_task()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "handler",
    [
        cancels_itself, swallows_its_own_cancellation, leaves_a_watchdog, leaves_a_scope, leaves_a_cancelled_scope,
        leaves_a_task_group_that_fails, leaves_a_task_group_of_asyncio, leaves_a_timeout, sets_variables, schedules_its_own_cancellation,
    ],
    ids=lambda handler: handler.__name__,
)  # fmt: skip
async def test_what_a_handler_does_to_its_asyncio_task_ends_with_it(working: Working, handler: AnyHandler) -> None:
    assert result_of(await tried(working, handler, state=State.SUCCEEDED)) == "done"


@pytest.mark.parametrize("handler", [cancels_itself_and_waits], ids=lambda handler: handler.__name__)
async def test_a_handler_that_cancels_itself_fails_as_itself(working: Working, handler: AnyHandler) -> None:
    assert message_of(await tried(working, handler, state=State.DEAD)).startswith("CancelledError")


async def test_a_cancellation_that_was_swallowed_once_is_nobody_elses(working: Working) -> None:
    async def awaits_what_was_cancelled(text: str) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    first = task(name="first")(swallows_its_own_cancellation)
    second = task(name="second", max_attempts=1)(awaits_what_was_cancelled)
    async with working(first, second, concurrency="1") as bench:
        await bench.run("first")
        assert message_of(await bench.run("second", state=State.DEAD)).startswith("CancelledError")
        assert not bench.ended.is_set()


async def test_a_middleware_that_cancels_harms_its_own_task_alone(working: Working) -> None:
    async def around(ctx: Context, call_next: Callable[[], Any]) -> Any:
        if ctx.task == "guilty":
            current_task().cancel()
        return await call_next()

    async def guilty(text: str) -> str:
        await asyncio.sleep(10)
        return "never"

    async with working(task(max_attempts=1)(guilty), innocent, hooks=[middleware(around)], concurrency="1") as bench:
        await bench.run("guilty", state=State.DEAD)
        assert result_of(await bench.run("innocent", b"x")) == "x nobody"


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_no_variable_of_one_task_is_seen_by_another(working: Working, where: str) -> None:
    async def on_the_loop(text: str) -> str:
        before = tenant.get()
        tenant.set(text)
        return before

    def in_a_thread(text: str) -> str:
        before = tenant.get()
        tenant.set(text)
        return before

    handler: AnyHandler = on_the_loop if where == "loop" else in_a_thread
    async with working(task(name="sets")(handler), concurrency="1") as bench:
        assert [result_of(await bench.run("sets", b"acme")) for _ in range(3)] == ["nobody"] * 3


async def test_what_a_lifespan_set_is_seen_by_every_task(working: Working) -> None:
    async def opens() -> AsyncIterator[dict[str, Any]]:
        tenant.set("house")
        yield {}

    async with working(innocent, hooks=[lifespan(opens)]) as bench:
        assert [result_of(await bench.run("innocent", b"x")) for _ in range(2)] == ["x house"] * 2


# -- what it starts and leaves --------------------------------------------------------------------------------------------


async def test_what_a_handler_leaves_running_is_cancelled_and_named(working: Working, caplog: pytest.LogCaptureFixture) -> None:
    ended = anyio.Event()

    async def watch_for_ever() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.set()

    @task
    async def leaves(text: str) -> None:
        asyncio.get_running_loop().create_task(watch_for_ever(), name="mine")
        await asyncio.sleep(0)

    async with working(leaves) as bench:
        sight = await bench.run("leaves")
        with anyio.fail_after(5):
            await ended.wait()

    (line,) = [record.getMessage() for record in caplog.records if "left 1 asyncio tasks running" in record.getMessage()]
    assert sight.id in line
    assert "watch_for_ever" in line


async def test_what_swallows_its_cancellation_is_asked_again(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.work.ownership.REMIND_FIRST_S", 0.05)
    asked = 0
    ended = anyio.Event()

    async def stubborn() -> None:
        nonlocal asked
        while asked < 3:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                asked += 1
        ended.set()

    @task
    async def leaves(text: str) -> None:
        asyncio.get_running_loop().create_task(stubborn())
        await asyncio.sleep(0.01)

    async with working(leaves) as bench:
        await bench.run("leaves")
        with anyio.fail_after(5):
            await ended.wait()


async def test_what_a_handler_awaits_is_not_disturbed(working: Working, caplog: pytest.LogCaptureFixture) -> None:
    @task
    async def gathers(text: str) -> list[int]:
        async def one(number: int) -> int:
            await asyncio.sleep(0.01)
            return number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(3)]
        return [found.result() for found in tasks] + list(await asyncio.gather(*(one(number) for number in range(3))))

    async with working(gathers) as bench:
        assert result_of(await bench.run("gathers")) == [0, 1, 2, 0, 1, 2]
    assert "left" not in caplog.text


@pytest.mark.parametrize("quit_with", [SystemExit(7), SystemExit(0), KeyboardInterrupt()], ids=repr)
async def test_an_exit_in_a_child_task_is_an_error_of_the_handler(working: Working, quit_with: BaseException) -> None:
    async def exits(text: str) -> None:
        async def child() -> None:
            await asyncio.sleep(0.01)
            raise quit_with

        await asyncio.gather(child(), asyncio.sleep(1))

    assert message_of(await tried(working, exits, state=State.DEAD)).startswith(f"HandlerQuit: {type(quit_with).__name__}")


async def test_an_exit_in_a_child_task_that_was_left_behind_ends_nothing(working: Working) -> None:
    async def exits_later(text: str) -> str:
        async def child() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                sys.exit(3)

        asyncio.get_running_loop().create_task(child())
        await asyncio.sleep(0.01)
        return "done"

    assert result_of(await tried(working, exits_later, state=State.SUCCEEDED)) == "done"


# -- errors, results and hooks that do not behave -------------------------------------------------------------------------


class Lazy(Exception):
    """Fails at every look."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Chatty(Exception):
    """Has every attribute."""

    def __getattr__(self, name: str) -> Any:
        return "something"


class Exits(Exception):
    """Leaves when its text is asked for."""

    def __str__(self) -> str:  # noqa: PLE0307 - it never gets there
        sys.exit(4)

    __repr__ = __str__


class NoClass(Exception):
    """Lies about its class, with an error."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class Picky(type):
    """A class of classes that cannot be asked."""

    def __instancecheck__(cls, instance: object) -> bool:
        raise SystemExit(5)


class NeverRetried(Exception, metaclass=Picky):
    """Stands in retry_on."""


class NoDuration(float):
    """No number after all."""

    def __float__(self) -> float:
        raise ArithmeticError("no number")


class LazyResult:
    """A result whose every attribute is an error."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("not loaded")


class ExitingResult:
    """A result that leaves when it is encoded."""

    def model_dump(self, **options: Any) -> Any:
        raise SystemExit(6)


class Circle:
    """A result without an end."""

    def model_dump(self, **options: Any) -> Any:
        return self


ERRORS: dict[str, Callable[[], Exception]] = {
    "lazy": lambda: Lazy("x"),
    "stop-iteration": lambda: StopIteration("x"),
    "chatty": lambda: Chatty("x"),
    "exits": lambda: Exits("x"),
    "no-class": lambda: NoClass("x"),
    "group": lambda: ExceptionGroup("g", [Lazy("y")]),
}
KINDS = {
    "lazy": {"Lazy"}, "exits": {"Exits"}, "no-class": {"NoClass", "Unreadable"}, "stop-iteration": {"StopIteration", "RuntimeError"},
    "chatty": {"Chatty"}, "group": {"Lazy"},
}  # fmt: skip
RESULTS: dict[str, Callable[[], object]] = {
    "lazy": LazyResult,
    "exits": ExitingResult,
    "circle": Circle,
    "object": object,
    "complex-key": lambda: {1j: 1},
    "surrogate": lambda: "\udce9",
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_an_error_that_cannot_be_looked_at_is_its_tasks_failure(working: Working, name: str, where: str) -> None:
    async def raises(text: str) -> None:
        raise ERRORS[name]()

    def raises_in_a_thread(text: str) -> None:
        raise ERRORS[name]()

    sight = await tried(working, raises if where == "loop" else raises_in_a_thread, state=State.DEAD)

    assert message_of(sight).partition(":")[0] in KINDS[name]


async def test_a_class_that_cannot_be_asked_leaves_the_verdict_to_the_attempts(working: Working) -> None:
    async def raises(text: str) -> None:
        raise ValueError("x")

    guilty = task(name="guilty", max_attempts=2, no_retry_on=NeverRetried, backoff=Backoff("constant", 0, jitter=False))(raises)
    async with working(guilty, innocent, concurrency="1") as bench:
        sight = await bench.run("guilty", state=State.DEAD)
        await bench.run("innocent")

    assert [one.failure.type for one in sight.attempts if one.failure] == ["Unreadable", "ValueError"]


async def test_a_retry_after_no_number_is_an_error_of_its_task(working: Working) -> None:
    async def raises(text: str) -> None:
        raise Retry("later", after=NoDuration(1))

    assert "no number" in message_of(await tried(working, raises, state=State.DEAD))


@pytest.mark.parametrize("name", RESULTS)
async def test_a_result_that_cannot_be_encoded_is_unfit(working: Working, name: str) -> None:
    async def returns(text: str) -> object:
        return RESULTS[name]()

    sight = await tried(working, returns, state=State.DEAD)

    assert message_of(sight).startswith("ResultUnfit: the result cannot be kept: ")
    assert sight.outcome is not None
    assert sight.outcome.reason == "unfit_result"


@pytest.fixture
def secured() -> Iterator[Callable[[], None]]:
    """Makes the queue's loggers what the program makes them."""
    yield secure_loggers
    for name, found in logging.root.manager.loggerDict.items():
        if name.startswith("taskqueue") and isinstance(found, logging.Logger):
            found.__class__ = logging.Logger


@pytest.mark.parametrize("end", ["returns", "raises", "discards"])
@pytest.mark.parametrize("broken", ["filter", "factory"])
async def test_logging_that_fails_settles_the_task_all_the_same(
    working: Working, secured: Callable[[], None], end: str, broken: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no log")

    async def guilty(text: str) -> str:
        if broken == "filter":
            logging.getLogger("taskqueue.task").addFilter(fail)
        else:
            logging.setLogRecordFactory(fail)
        if end == "raises":
            raise ValueError("x")
        if end == "discards":
            raise Discard("x")
        return "done"

    secured()
    async with working(task(name="guilty", max_attempts=1)(guilty), concurrency="1", log_tasks="all") as bench:
        try:
            await bench.run("guilty", state=State.SUCCEEDED if end == "returns" else State.DEAD)
            await until(lambda: bench.worker.busy == 0)
        finally:
            logging.getLogger("taskqueue.task").filters.clear()
            logging.setLogRecordFactory(logging.LogRecord)
        assert not bench.ended.is_set()


async def test_hooks_that_misbehave_do_not_keep_a_task_from_its_end(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "HOOK_S", 0.2)
    ran: list[str] = []

    async def cancels(ctx: Context, error: BaseException) -> None:
        ran.append("cancels")
        current_task().cancel()
        await asyncio.sleep(10)

    async def exits(ctx: Context, error: BaseException) -> None:
        ran.append("exits")
        raise SystemExit(1)

    async def never_ends(ctx: Context, error: BaseException) -> None:
        ran.append("never ends")
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)

    async def sees(ctx: Context, error: BaseException) -> None:
        ran.append(f"sees {current().task} {tenant.get()}")
        tenant.set("hook")

    async def fails(text: str) -> None:
        tenant.set("handler")
        raise ValueError("x")

    hooks = [on_failure(hook) for hook in (cancels, exits, never_ends, sees)]
    async with working(task(name="fails", max_attempts=1)(fails), hooks=hooks, concurrency="1") as bench:
        for _ in range(2):
            assert message_of(await bench.run("fails", state=State.DEAD)) == "ValueError: x"
        await until(lambda: bench.worker.busy == 0)

    assert ran == ["cancels", "exits", "never ends", "sees fails nobody"] * 2


async def test_a_hook_may_do_what_its_context_offers(working: Working) -> None:
    async def again(ctx: Context, error: BaseException) -> None:
        ctx.log.warning("from the hook")
        await ctx.submit("innocent", "follow-up")

    @task(max_attempts=1)
    async def fails(text: str) -> None:
        raise ValueError("x")

    async with working(fails, innocent, hooks=[on_failure(again)]) as bench:
        sight = await bench.run("fails", state=State.DEAD)
        kept = await bench.store.command("log", "HGET", bench.store.key("logs", "default"), f"{sight.id}:1")
        with anyio.fail_after(10):
            while (await bench.store.count("default")).states[State.SUCCEEDED] != 1:
                await anyio.sleep(0.01)

    assert kept.endswith(b"WARNING from the hook")


# -- handlers that do not stop, and those that were left behind -----------------------------------------------------------


async def test_a_handler_that_swallows_its_timeout_is_told_again_ever_more_rarely(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run.Run, "remind_s", 0.1)
    monkeypatch.setattr(run, "REMIND_FIRST_S", 0.1)
    asked = 0

    @task(timeout=0.1, max_attempts=1)
    async def stubborn(text: str) -> str:
        nonlocal asked
        while asked < 4:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                asked += 1
        return "at last"

    async with working(stubborn) as bench:
        sight = await bench.run("stubborn")

    assert result_of(sight) == "at last"
    assert [record.getMessage() for record in caplog.records if "runs on" in record.getMessage()] == [
        f"task {sight.id} (stubborn) was asked to stop (timeout) and runs on; it is asked again, ever more rarely"
    ]


async def test_a_thread_that_was_left_behind_changes_nothing_any_more(working: Working, store: Store) -> None:
    go_on, ended, errors = threading.Event(), threading.Event(), list[BaseException]()

    @task(timeout=0.2, max_attempts=1)
    def slow(ctx: Context) -> str:
        ctx.progress(1, 10)
        ctx.log.warning("before")
        go_on.wait(10)
        ctx.progress(9, 10)
        ctx.log.warning("after")
        try:
            asyncio.run(ctx.save("late"))
        except BaseException as error:  # noqa: BLE001 - to see what it is
            errors.append(error)
        ended.set()
        return "late"

    async with working(slow) as bench:
        sight = await bench.run("slow", state=State.DEAD)
        go_on.set()
        await until(ended.is_set)
        await anyio.sleep(0.2)
        again = await bench.see(sight.id)

    assert again.state is State.DEAD
    kept = await store.command("log", "HGET", store.key("logs", "default"), f"{sight.id}:1")
    assert kept.endswith(b"WARNING before")
    assert [type(error).__name__ for error in errors] == ["Cancel"]
    assert await store.command("saved", "HGET", store.key("checkpoints", "default"), sight.id) is None


async def test_what_the_worker_lacks_costs_no_attempt(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("_taskqueue.work.dispatcher.REST_S", 0.1)
    lacking = 3

    def start(thread: threading.Thread) -> None:
        nonlocal lacking
        if lacking:
            lacking -= 1
            raise RuntimeError("can't start new thread")
        threading.Thread.start(thread)

    monkeypatch.setattr("anyio._backends._asyncio.WorkerThread.start", start)

    @task(max_attempts=1)
    def plain(text: str) -> str:
        return text

    async with working(plain) as bench:
        task_id = await bench.submit("plain")
        await until(lambda: bench.life.lacking() is True)
        sight = await bench.reaches(task_id, State.SUCCEEDED)
        await until(lambda: not bench.life.lacking())

    assert lacking == 0
    assert (sight.failed_attempts, len(sight.attempts)) == (0, 0)
    assert "no thread can be started: can't start new thread; claiming nothing for 0.1 s" in caplog.text


async def test_what_is_claimed_does_not_start_when_the_lease_may_have_ended(working: Working) -> None:
    started: list[str] = []

    @task
    async def notes(text: str) -> None:
        started.append(text)

    async with working(notes) as bench:
        await bench.run("notes", b"first")
        line = bench.worker.dispatcher.lines["default"]
        line.tenure.renew, renew = lambda sent_at: None, line.tenure.renew  # type: ignore[method-assign]
        line.tenure.until = 0.0
        task_id = await bench.submit("notes", b"second")
        await until(lambda: line._doubtful)
        await anyio.sleep(0.1)
        assert started == ["first"]
        line.tenure.renew = renew  # type: ignore[method-assign]
        await bench.reaches(task_id, State.SUCCEEDED)

    assert started == ["first", "second"]


async def test_what_waited_for_a_thread_does_not_start_when_the_lease_may_have_ended(working: Working) -> None:
    go_on = threading.Event()
    started: list[str] = []

    @task
    def notes(text: str) -> None:
        started.append(text)
        if text == "first":
            go_on.wait(10)

    async with working(notes, threads="1") as bench:
        first = await bench.submit("notes", b"first")
        await until(lambda: started == ["first"])
        second = await bench.submit("notes", b"second")
        await until(lambda: bench.worker.busy == 2)
        line = bench.worker.dispatcher.lines["default"]
        line.tenure.renew, renew = lambda sent_at: None, line.tenure.renew  # type: ignore[method-assign]
        line.tenure.until = 0.0
        go_on.set()
        await bench.reaches(first, State.SUCCEEDED)
        await until(lambda: line._doubtful)
        assert started == ["first"]
        line.tenure.renew = renew  # type: ignore[method-assign]
        sight = await bench.reaches(second, State.SUCCEEDED)

    assert started == ["first", "second"]
    assert sight.failed_attempts == 0


# -- the guard of the whole -----------------------------------------------------------------------------------------------


async def test_a_task_that_is_held_and_run_by_nobody_goes_back(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("_taskqueue.work.worker.GAUGES_S", 0.05)
    lost = 1

    async with working(innocent) as bench:
        start = bench.worker._execution.start

        def lose_one(claim: Any) -> None:
            nonlocal lost
            if lost:
                lost -= 1
                bench.worker._pool.ended()
            else:
                start(claim)

        bench.worker._pool.start_with(lose_one)
        sight = await bench.run("innocent", b"x")

    assert result_of(sight) == "x nobody"
    assert f"task {sight.id} is held here but nothing runs it: a defect; it goes back to its queue" in caplog.text


async def test_a_line_that_ends_is_loud_and_ends_the_worker(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(innocent) as bench:
        bench.life.start()
        await bench.run("innocent", b"x")
        line = bench.worker.dispatcher.lines["default"]

        async def breaks() -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(line, "_until_a_call_is_due", breaks)
        line.poke()
        await until(bench.life.stopping.is_set)
        with anyio.fail_after(10):
            await bench.ended.wait()

    assert bench.life.failed
    (record,) = [one for one in caplog.records if "the line to the queue default ended" in one.getMessage()]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a defect"


async def test_after_an_answer_that_failed_less_is_claimed_and_then_more_again(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(innocent, concurrency="50") as bench:
        line = bench.worker.dispatcher.lines["default"]
        call = line._store.settle_and_claim
        limits: list[int] = []
        failing = 0

        async def fail(queue: str, lease: str, exchange: Any) -> Any:
            nonlocal failing
            if exchange.limit:
                limits.append(exchange.limit)
            if failing:
                failing -= 1
                raise StoreUnavailable("cut off")
            return await call(queue, lease, exchange)

        monkeypatch.setattr(line._store, "settle_and_claim", fail)
        await bench.run("innocent", b"x")
        limits.clear()
        failing = 3
        line.poke()
        await until(lambda: failing == 0)
        await until(lambda: limits[3:])
        for _ in range(8):
            await bench.run("innocent", b"x")
        line.poke()
        await until(lambda: limits[-1] == 50)

        line._claim_max = 200
        line._claim_less(0)  # a call that only settled says little of how much may be claimed
        assert line._claim_max == 100

    assert limits[:4] == [50, 25, 12, 6]


async def test_what_a_handler_submits_to_a_new_queue_outlives_it(working: Working, caplog: pytest.LogCaptureFixture) -> None:
    @task
    async def submits(ctx: Context, text: str) -> list[str]:
        return [await ctx.submit("innocent", "x", queue="fresh"), await innocent.options(queue="fresher").enqueue("y")]

    async with working(submits, innocent, queues="default,fresh,fresher") as bench:
        bench.life.start()
        claim_it = submission(b"go", "submits")  # past the producer: whose first queues are then the handler's
        task_id = IdMint(lambda: int(time.time() * 1000), os.urandom).mint(await bench.store.route("default"))
        await bench.store.submit("default", [(task_id, claim_it)])
        first = await bench.reaches(task_id, State.SUCCEEDED)
        for one in result_of(first):
            await bench.reaches(one, State.SUCCEEDED)
        assert not bench.life.failed
        await bench.run("innocent", b"z")

    assert "left" not in caplog.text


async def test_a_task_that_comes_back_while_its_old_attempt_cleans_up_is_watched(
    working: Working, store: Store, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0
    go_on = anyio.Event()

    @task(timeout=0.5, max_attempts=1)
    async def slow(text: str) -> None:
        nonlocal runs
        runs += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if runs == 1:
                await go_on.wait()
            raise

    async with working(slow) as bench:
        task_id = await bench.submit("slow", timeout_s=60.0)
        await until(lambda: runs == 1)
        bench.worker.heartbeat.stop()
        await lose(store, metrics)
        line = bench.worker.dispatcher.lines["default"]
        line.poke()
        await until(lambda: runs == 2)
        second = line.runs[task_id.encode()]
        go_on.set()
        await until(lambda: bench.worker.busy == 1)
        assert line.runs[task_id.encode()] is second
        second.stop("timeout")
        await bench.reaches(task_id, State.DEAD)
        await until(lambda: bench.worker.busy == 0)

    assert "a defect" not in caplog.text


async def test_a_drain_that_takes_long_calls_nothing_a_defect(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("_taskqueue.work.worker.GAUGES_S", 0.05)

    @task
    async def stops(text: str) -> None:
        await asyncio.sleep(60)

    @task
    async def cleans_up(text: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise

    async with working(stops, cleans_up, drain_timeout="0s") as bench:
        ids = [await bench.submit(name) for name in ("stops", "cleans_up")]
        await until(lambda: bench.worker.busy == 2)
        await bench.stop()
        assert [(await bench.see(one)).state for one in ids] == [State.PENDING] * 2

    assert "a defect" not in caplog.text


async def test_a_middleware_cannot_make_the_workers_lack_the_tasks_fault(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.work.dispatcher.REST_S", 0.1)
    lacking = 2

    def start(thread: threading.Thread) -> None:
        nonlocal lacking
        if lacking:
            lacking -= 1
            raise RuntimeError("can't start new thread")
        threading.Thread.start(thread)

    async def wraps(ctx: Context, call_next: Callable[[], Any]) -> Any:
        try:
            return await call_next()
        except Exception as error:
            raise ValueError("wrapped") from error

    @task(max_attempts=1)
    def plain(text: str) -> str:
        return text

    monkeypatch.setattr("anyio._backends._asyncio.WorkerThread.start", start)
    async with working(plain, hooks=[middleware(wraps)]) as bench:
        assert not (await bench.run("plain")).attempts
    assert lacking == 0


async def test_an_end_that_cannot_be_recorded_loses_no_place(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hook(ctx: Context, error: BaseException) -> None:
        await asyncio.sleep(0)

    async def fails(text: str) -> None:
        raise ValueError("x")

    broken = 2
    tell = Settlement._tell_line

    def fail(*args: Any) -> None:
        nonlocal broken
        if broken:
            broken -= 1
            raise MemoryError
        tell(*args)

    monkeypatch.setattr(Settlement, "_tell_line", fail)
    async with working(task(name="fails", max_attempts=1)(fails), hooks=[on_failure(hook)], concurrency="1") as bench:
        await bench.run("fails", state=State.DEAD)
        await until(lambda: bench.worker.busy == 0)
    assert broken == 0


@pytest.mark.parametrize("again", ["callback", "finally"])
async def test_what_starts_itself_again_is_put_off_longer_and_longer(
    working: Working, caplog: pytest.LogCaptureFixture, again: str
) -> None:
    started = 0
    enough = False

    async def connection() -> None:
        nonlocal started
        started += 1
        try:
            await asyncio.sleep(100)
        finally:
            if again == "finally" and not enough:
                asyncio.get_running_loop().create_task(connection())

    def restart(_: object) -> None:
        if not enough:
            asyncio.get_running_loop().create_task(connection()).add_done_callback(restart)

    @task
    async def connects(text: str) -> None:
        first = asyncio.get_running_loop().create_task(connection())
        if again == "callback":
            first.add_done_callback(restart)
        await asyncio.sleep(0)

    async with working(connects, innocent) as bench:
        await bench.run("connects")
        await anyio.sleep(1)
        assert started < 5
        assert result_of(await bench.run("innocent", b"x")) == "x nobody"
        enough = True

    assert "left running starts asyncio tasks again" in caplog.text


@pytest.mark.parametrize("factory", [None, lambda loop, coroutine, **options: asyncio.Task(coroutine, loop=loop)])
async def test_the_task_factory_is_set_back(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, factory: Any
) -> None:
    monkeypatch.setattr(execution, "LOGS_S", 0.05)

    @task
    async def sets(text: str) -> None:
        asyncio.get_running_loop().set_task_factory(factory)

    @task(max_attempts=1)
    async def exits(text: str) -> None:
        async def child() -> None:
            raise SystemExit(3)

        await asyncio.gather(child())

    async with working(sets, exits) as bench:
        await bench.run("sets")
        await until(lambda: "is set back" in caplog.text)
        assert message_of(await bench.run("exits", state=State.DEAD)).startswith("HandlerQuit")


async def test_a_handler_in_a_thread_of_its_own_ends_with_its_own_end(working: Working) -> None:
    kept: list[asyncio.Task[None]] = []

    @task(timeout=3)
    async def leaves(text: str) -> str:
        async def stubborn() -> None:
            for _ in range(100):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.1)

        loop = asyncio.get_running_loop()
        kept.append(loop.create_task(stubborn()))
        loop.run_in_executor(None, time.sleep, 2)
        await asyncio.sleep(0.01)
        return "done"

    async with working(leaves, blocking_handlers="thread") as bench:
        bench.worker._execution.calls.blockers.add("leaves")
        assert result_of(await bench.run("leaves")) == "done"


async def test_whoever_cancels_all_there_is_leaves_nothing_held(working: Working) -> None:
    @task(max_attempts=1)
    async def cancels_all(text: str) -> str:
        for line in asyncio.all_tasks():
            if "watched" in line.get_name():  # the worker's parts, and not this test
                line.cancel()
        return "done"

    async with working(cancels_all, innocent) as bench:
        bench.life.start()
        beside = await bench.submit("innocent", b"x")
        await until(lambda: bench.worker.busy == 1)
        task_id = await bench.submit("cancels_all")
        await until(bench.life.stopping.is_set)
        with anyio.fail_after(10):
            await bench.ended.wait()
        found = [await bench.see(one) for one in (task_id, beside)]

    assert bench.life.failed
    assert [one.state for one in found] == [State.SUCCEEDED, State.PENDING]


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (type("Markup", (str,), {})("x"), "x"),
        (type("Count", (int,), {})(3), 3),
        (type("Share", (float,), {})(0.5), 0.5),
        (Fraction(1, 4), 0.25),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
    ],
    ids=range(6),
)
async def test_a_result_of_a_derived_type_is_kept_as_what_it_is(working: Working, result: object, kept: object) -> None:
    async def returns(text: str) -> object:
        return result

    assert result_of(await tried(working, returns, state=State.SUCCEEDED)) == kept


async def test_a_cancellation_is_no_failure_to_the_hooks(working: Working) -> None:
    seen: list[str] = []

    async def hook(ctx: Context, error: BaseException) -> None:
        seen.append(type(error).__name__)

    async def gives_up(text: str) -> None:
        raise Cancel("not needed")

    async with working(task(name="gives_up")(gives_up), hooks=[on_failure(hook)]) as bench:
        await bench.run("gives_up", state=State.CANCELLED)

    assert seen == []
