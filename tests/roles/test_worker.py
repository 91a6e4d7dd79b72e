"""The worker on a real store: every way an attempt can end, and how a worker ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from PIL import Image

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.errors import Cancel, Discard, HandlerError, Retry, TaskqueueError
from _taskqueue.domain.states import State
from _taskqueue.domain.task import UNREADABLE, Ending
from _taskqueue.metrics import Metrics
from _taskqueue.store import wire
from _taskqueue.store.answers import Sight
from _taskqueue.store.store import Store
from _taskqueue.tasks.context import Context, current
from _taskqueue.tasks.spec import lifespan, middleware, on_failure, task
from _taskqueue.work.dispatcher import DISCOVER_S
from handlers.images import thumbnail
from tests.conftest import submission
from tests.roles.conftest import Working, lose, until

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff("constant", 0, jitter=False)
LATER = Backoff("constant", 3600, jitter=False)


def result_of(sight: Sight) -> Any:
    assert sight.outcome is not None
    return None if sight.outcome.result is None else msgspec.json.decode(sight.outcome.result)


def reason_of(sight: Sight) -> str:
    assert sight.outcome is not None
    return sight.outcome.reason


@task
async def upper(text: str) -> str:
    """A task that works."""
    return text.upper()


class Nasty(Exception):
    """An error that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


# -- good ends ----------------------------------------------------------------------------------------------------------


async def test_a_task_succeeds_and_its_result_is_kept(working: Working) -> None:
    async with working(upper) as bench:
        sight = await bench.run("upper", b"hello")

        assert result_of(sight) == "HELLO"
        assert sight.outcome is not None
        assert (sight.outcome.attempt, sight.outcome.worker, sight.attempts) == (1, bench.worker.name, [])


async def test_a_plain_function_runs_in_a_thread(working: Working) -> None:
    @task
    def where(ctx: Context) -> list[Any]:
        return [threading.get_ident(), current().id == ctx.id]

    async with working(where) as bench:
        thread, has_context = result_of(await bench.run("where"))

        assert thread != threading.get_ident()
        assert has_context


async def test_many_tasks_all_end(working: Working) -> None:
    async with working(upper) as bench:
        ids = [await bench.submit("upper", str(number).encode()) for number in range(300)]
        sights = [await bench.reaches(task_id, State.SUCCEEDED) for task_id in ids]

        assert [result_of(sight) for sight in sights] == [str(number) for number in range(300)]


# -- bad ends -----------------------------------------------------------------------------------------------------------


async def test_an_error_is_retried_until_the_task_is_dead_with_all_attempts(working: Working) -> None:
    @task(max_attempts=3, backoff=AT_ONCE)
    async def fails(ctx: Context) -> None:
        raise ValueError(f"number {ctx.attempt}")

    async with working(fails) as bench:
        sight = await bench.run("fails", state=State.DEAD)

        assert reason_of(sight) == "attempts"
        assert sorted(one.number for one in sight.attempts) == [1, 2, 3]
        for one in sight.attempts:
            assert one.failure is not None
            assert (one.ending, one.failure.type, one.failure.message) == (Ending.ERROR, "ValueError", f"number {one.number}")
            assert "in fails" in one.failure.traceback
            assert "_taskqueue" not in one.failure.traceback


async def test_a_later_attempt_may_succeed(working: Working) -> None:
    @task(backoff=AT_ONCE)
    async def second_time(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        return ctx.attempt

    async with working(second_time) as bench:
        assert result_of(await bench.run("second_time")) == 2


async def test_discard_makes_it_dead_at_once(working: Working) -> None:
    @task
    async def gives_up(text: str) -> None:
        raise Discard("useless")

    async with working(gives_up) as bench:
        sight = await bench.run("gives_up", state=State.DEAD)

        assert reason_of(sight) == "discarded"
        assert sight.outcome is not None
        assert sight.outcome.failure is not None
        assert sight.outcome.failure.message == "useless"


async def test_cancel_ends_it_as_cancelled(working: Working) -> None:
    @task
    async def stops(text: str) -> None:
        raise Cancel("no longer needed")

    async with working(stops) as bench:
        await bench.run("stops", state=State.CANCELLED)


async def test_retry_after_waits_that_long_and_uses_an_attempt(working: Working) -> None:
    @task
    async def later(text: str) -> None:
        raise Retry("busy", after="1h")

    async with working(later) as bench:
        sight = await bench.run("later", state=State.RETRYING)

        assert sight.failed_attempts == 1
        assert sight.score is not None
        assert 3_590_000 < sight.score - sight.now_ms <= 3_600_001


async def test_retry_without_counting_uses_no_attempt(working: Working) -> None:
    seen: list[int] = []

    @task(max_attempts=1)
    async def snoozes(ctx: Context) -> int:
        seen.append(ctx.attempt)
        if len(seen) < 4:
            raise Retry(after=0, count=False)
        return len(seen)

    async with working(snoozes) as bench:
        sight = await bench.run("snoozes")

        assert result_of(sight) == 4
        assert (seen, sight.failed_attempts, sight.attempts) == ([1, 1, 1, 1], 0, [])


async def test_an_attempt_beyond_its_time_ends_as_a_timeout(working: Working) -> None:
    stopped: list[bool] = []

    @task(timeout="50ms", max_attempts=1)
    async def hangs(text: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(True)

    async with working(hangs) as bench:
        sight = await bench.run("hangs", state=State.DEAD)

        assert [one.ending for one in sight.attempts] == [Ending.TIMEOUT]
        assert sight.attempts[0].failure is not None
        assert (sight.attempts[0].failure.type, stopped) == ("TimeoutError", [True])


async def test_the_timeout_of_the_submission_beats_that_of_the_task(working: Working) -> None:
    @task(timeout="1h", max_attempts=1)
    async def hangs(text: str) -> None:
        await anyio.sleep_forever()

    async with working(hangs) as bench:
        sight = await bench.run("hangs", state=State.DEAD, timeout_s=0.05)

        assert [one.ending for one in sight.attempts] == [Ending.TIMEOUT]


async def test_a_thread_beyond_its_time_is_told_and_counted_while_it_runs(working: Working) -> None:
    go_on = threading.Event()

    @task(timeout="50ms", max_attempts=1)
    def blocks(ctx: Context) -> None:
        go_on.wait(10)

    async with working(blocks) as bench:

        def abandoned() -> float | None:
            return bench.metrics.registry.get_sample_value("taskqueue_worker_abandoned_threads")

        try:
            await bench.run("blocks", state=State.DEAD)
            during = abandoned()
        finally:
            go_on.set()

        assert during == 1
        await until(lambda: abandoned() == 0)


async def test_a_payload_that_does_not_fit_is_dead_at_once(working: Working) -> None:
    @task
    async def number(n: int) -> None: ...

    async with working(number) as bench:
        assert reason_of(await bench.run("number", b"many", state=State.DEAD)) == "invalid_payload"


async def test_a_result_that_cannot_be_kept_is_dead(working: Working) -> None:
    @task
    async def strange(text: str) -> object:
        return object()

    @task
    async def large(text: str) -> str:
        return "x" * 2000

    async with working(strange, large, max_result="1KiB") as bench:
        for name, said in (("strange", "no JSON form"), ("large", "--max-result")):
            sight = await bench.run(name, state=State.DEAD)
            assert reason_of(sight) == "unfit_result"
            assert sight.outcome is not None
            assert sight.outcome.failure is not None
            assert said in sight.outcome.failure.message


async def test_an_exit_of_a_handler_is_an_error_of_its_task_alone(working: Working) -> None:
    @task(max_attempts=1)
    async def leaves(text: str) -> None:
        raise SystemExit(3)

    async with working(leaves, upper) as bench:
        await bench.run("leaves", state=State.DEAD)
        await bench.run("upper")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda: Retry(after="soon"), id="after-no-duration"),
        pytest.param(lambda: Retry(after=timedelta(minutes=5)), id="after-timedelta"),
        pytest.param(lambda: Retry(after=10**400), id="after-huge"),
        pytest.param(Nasty, id="no-text"),
        pytest.param(lambda: ValueError("caf\udce9"), id="surrogate"),
        pytest.param(asyncio.CancelledError, id="cancelled-error"),
        pytest.param(SystemExit, id="system-exit"),
        pytest.param(KeyboardInterrupt, id="keyboard-interrupt"),
        pytest.param(GeneratorExit, id="generator-exit"),
        pytest.param(lambda: BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()]), id="group"),
    ],
)
@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_strange_error_ends_its_task_and_not_the_worker(
    working: Working, error: Callable[[], BaseException], in_thread: bool
) -> None:
    async def raise_it(text: str) -> None:
        raise error()

    def raise_it_in_a_thread(text: str) -> None:
        raise error()

    declare = task(name="strange", max_attempts=2, backoff=LATER)
    strange = declare(raise_it_in_a_thread) if in_thread else declare(raise_it)

    async with working(strange, upper, concurrency="1", drain_timeout="0s") as bench:
        task_id = await bench.submit("strange")
        with anyio.fail_after(3):
            while (await bench.see(task_id)).state in (State.PENDING, State.RUNNING):
                await anyio.sleep(0.005)
            await bench.run("upper")


async def test_a_log_line_that_is_no_utf_8_harms_nobody(working: Working, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskqueue.handler")

    @task
    async def says(ctx: Context) -> None:
        ctx.log.info("caf\udce9")

    async with working(says, drain_timeout="0s") as bench:
        await bench.run("says")


# -- unknown names ------------------------------------------------------------------------------------------------------


async def until_held(store: Store) -> None:
    """Wait until a task is held for want of a handler."""
    with anyio.fail_after(10):
        while not (await store.count("default")).unroutable:
            await anyio.sleep(0.005)


async def test_a_task_without_a_handler_is_held_until_a_worker_knows_it(working: Working, store: Store) -> None:
    async with working(upper) as bench:
        task_id = await bench.submit("later", b"x")
        await until_held(store)
        await bench.run("upper")
        assert (await bench.see(task_id)).state is State.PENDING

    @task(name="later")
    async def known(text: str) -> str:
        return text * 2

    async with working(known) as bench:
        sight = await bench.reaches(task_id, State.SUCCEEDED)

    assert (result_of(sight), (await store.count("default")).unroutable) == ("xx", 0)


@pytest.mark.parametrize("body", [b"\xc1 no record", wire.encode(["a newer", {"release": 2}])])
async def test_a_record_that_cannot_be_read_is_held_and_stops_no_other(
    working: Working, store: Store, body: bytes, new_id: Callable[[], str]
) -> None:
    bad = new_id()
    await store.submit("default", [(bad, submission(b"bad", "upper"))])
    await store.command("break", "HSET", store.key("records", "default"), bad, body)

    async with working(upper) as bench:
        await bench.run("upper")
        await until_held(store)
        sight = await bench.see(bad)

    assert (sight.state, sight.unroutable, sight.record) == (State.PENDING, True, UNREADABLE)


async def test_the_first_task_of_a_new_queue_starts_at_once(working: Working) -> None:
    async with working(upper, queues="") as bench:
        await bench.run("upper")
        for name in ("one", "two"):
            with anyio.fail_after(DISCOVER_S / 2):
                await bench.run("upper", queue=name)


# -- on request ---------------------------------------------------------------------------------------------------------


async def test_cancelling_a_running_task_stops_its_handler(working: Working) -> None:
    began, stopped = anyio.Event(), anyio.Event()

    @task
    async def hangs(text: str) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with working(hangs) as bench:
        task_id = await bench.submit("hangs")
        await began.wait()
        was = await bench.client.cancel(task_id)
        await bench.reaches(task_id, State.CANCELLED)

        assert was is State.RUNNING
        assert stopped.is_set()


async def test_cancelling_a_thread_is_seen_by_it(working: Working) -> None:
    began, saw, over = threading.Event(), threading.Event(), threading.Event()

    @task
    def polls(ctx: Context) -> None:
        began.set()
        while not over.wait(0.005):
            if ctx.cancelled:
                saw.set()
                ctx.check_cancelled()

    async with working(polls) as bench:
        try:
            task_id = await bench.submit("polls")
            await until(began.is_set)
            await bench.client.cancel(task_id)
            await bench.reaches(task_id, State.CANCELLED)
            await until(saw.is_set)
        finally:
            over.set()


# -- what the context does ----------------------------------------------------------------------------------------------


async def test_progress_is_seen_while_the_task_runs(working: Working) -> None:
    go_on = anyio.Event()

    @task
    async def reports(ctx: Context) -> None:
        await ctx.progress(3, 10, "three")
        await go_on.wait()

    async with working(reports) as bench:
        task_id = await bench.submit("reports")
        with anyio.fail_after(10):
            while (sight := await bench.see(task_id)).progress is None:
                await anyio.sleep(0.005)
        go_on.set()

        assert sight.state is State.RUNNING
        assert (sight.progress.done, sight.progress.total, sight.progress.message) == (3, 10, "three")


async def test_progress_from_a_thread_is_seen(working: Working) -> None:
    @task
    def reports(ctx: Context) -> None:
        ctx.progress(1, 2)

    async with working(reports) as bench:
        sight = await bench.run("reports")

        assert sight.progress is not None
        assert (sight.progress.done, sight.progress.total) == (1, 2)


@pytest.mark.parametrize("count", [True, False])
async def test_what_is_saved_is_there_in_the_next_attempt(working: Working, count: bool) -> None:
    seen: list[Any] = []

    @task
    async def resumes(ctx: Context) -> None:
        seen.append(ctx.saved)
        if len(seen) == 1:
            await ctx.save({"page": 7})
            raise Retry(after=0, count=count)

    async with working(resumes) as bench:
        await bench.run("resumes")

        assert seen == [None, {"page": 7}]


async def test_what_is_too_large_to_be_saved_is_an_error_of_the_handler(working: Working) -> None:
    @task(max_attempts=1)
    async def hoard(context: Context, text: str) -> None:
        await context.save("x" * 2_000)

    async with working(hoard, max_result="1000") as bench:
        sight = await bench.run("hoard", state=State.DEAD)

    assert sight.outcome is not None
    assert sight.outcome.failure is not None
    assert sight.outcome.failure.message == "the checkpoint has 2002 bytes, more than --max-result 1000"


async def test_log_lines_are_kept_with_their_attempt(working: Working, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskqueue.handler")

    @task(backoff=AT_ONCE)
    async def says(ctx: Context) -> None:
        ctx.log.info("one of %d", ctx.attempt)
        ctx.log.warning("two")
        if ctx.attempt == 1:
            raise ValueError("again")

    async with working(says) as bench:
        sight = await bench.run("says")

        client: Any = store._client
        for number in (1, 2):
            kept = await client.execute_command("HGET", store.key("logs", "default"), f"{sight.id}:{number}")
            lines = kept.decode().splitlines()
            assert [line.split(" ", 1)[1] for line in lines] == [f"INFO one of {number}", "WARNING two"]


async def test_a_handler_submits_more_tasks(working: Working) -> None:
    @task(queue="default")
    async def parent(ctx: Context) -> list[str]:
        return [await ctx.submit("upper", "a", priority=7, tags=["x"]), await upper.options(priority=8).enqueue("b")]

    async with working(parent, upper) as bench:
        by_context, by_spec = result_of(await bench.run("parent"))
        first, second = await bench.reaches(by_context, State.SUCCEEDED), await bench.reaches(by_spec, State.SUCCEEDED)

        assert (result_of(first), first.record.priority, first.record.tags) == ("A", 7, ("x",))
        assert (result_of(second), second.record.priority) == ("B", 8)


async def test_a_submission_with_an_unknown_option_fails_in_the_handler(working: Working) -> None:
    @task(max_attempts=1)
    async def parent(ctx: Context) -> None:
        await ctx.submit("upper", "a", priorty=7)

    async with working(parent) as bench:
        sight = await bench.run("parent", state=State.DEAD)

        assert sight.outcome is not None
        assert sight.outcome.failure is not None
        assert "did you mean 'priority'" in sight.outcome.failure.message


# -- hooks --------------------------------------------------------------------------------------------------------------


async def test_middlewares_wrap_each_attempt_the_first_outermost(working: Working) -> None:
    seen: list[str] = []

    def named(name: str) -> Callable[[Context, Callable[[], Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]]:
        async def around(ctx: Context, call_next: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
            seen.append(f"{name} in {ctx.task}")
            result = await call_next()
            seen.append(f"{name} out")
            return f"{result}{name}"

        return around

    @task
    def in_thread(text: str) -> str:
        return text

    async with working(upper, in_thread, hooks=[middleware(named("a")), middleware(named("b"))]) as bench:
        assert result_of(await bench.run("upper", b"x")) == "Xba"
        assert seen == ["a in upper", "b in upper", "b out", "a out"]
        assert result_of(await bench.run("in_thread", b"x")) == "xba"


async def test_middlewares_wrap_handlers_in_processes_too(working: Working, tmp_path: Path) -> None:
    seen: list[str] = []

    async def around(ctx: Context, call_next: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        seen.append(ctx.task)
        return await call_next()

    source, target = tmp_path / "large.png", tmp_path / "small.png"
    Image.new("RGB", (64, 64)).save(source)
    payload = msgspec.json.encode({"source": str(source), "target": str(target), "width": 8, "height": 8})

    async with working(thumbnail, hooks=[middleware(around)]) as bench:
        sight = await bench.run("thumbnail", payload)

    assert seen == ["thumbnail"]
    assert result_of(sight)["width"] == 8


async def test_on_failure_runs_each_time_and_on_dead_once(working: Working) -> None:
    seen: list[tuple[str, int, str]] = []

    async def failed(ctx: Context, error: BaseException) -> None:
        seen.append(("failed", ctx.attempt, str(error)))

    def died(ctx: Context, error: BaseException) -> None:
        seen.append(("dead", ctx.attempt, str(error)))

    @task(max_attempts=2, backoff=AT_ONCE, on_dead=died)
    async def fails(text: str) -> None:
        raise ValueError("no")

    async with working(fails, hooks=[on_failure(failed)]) as bench:
        await bench.run("fails", state=State.DEAD)

        assert seen == [("failed", 1, "no"), ("failed", 2, "no"), ("dead", 2, "no")]


async def test_a_hook_that_fails_does_not_change_the_end(working: Working, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(ctx: Context, error: BaseException) -> None:
        raise RuntimeError("hook")

    @task(max_attempts=1, on_dead=broken)
    async def fails(text: str) -> None:
        raise ValueError("no")

    async with working(fails, hooks=[on_failure(broken)]) as bench:
        sight = await bench.run("fails", state=State.DEAD)

        assert reason_of(sight) == "attempts"
        assert sum("hook" in message and "failed for task" in message for message in caplog.messages) == 2


async def test_a_lifespan_sets_up_the_state_and_is_closed_at_the_end(working: Working) -> None:
    seen: list[str] = []

    async def life() -> AsyncIterator[dict[str, str]]:
        seen.append("open")
        yield {"db": "connection"}
        seen.append("closed")

    @task
    async def uses(ctx: Context) -> str:
        return str(ctx.state["db"])

    async with working(uses, hooks=[lifespan(life)]) as bench:
        assert result_of(await bench.run("uses")) == "connection"
        assert seen == ["open"]

    assert seen == ["open", "closed"]


async def test_a_lifespan_that_fails_stops_the_start(working: Working) -> None:
    async def life() -> AsyncIterator[dict[str, str]]:
        await anyio.Path("/nowhere/database").read_text()
        yield {}

    with pytest.raises(BaseExceptionGroup) as caught:
        async with working(upper, hooks=[lifespan(life)]):
            pass

    errors = caught.value.subgroup(HandlerError)
    assert errors is not None
    assert "the lifespan" in repr(errors.exceptions)
    assert "/nowhere/database" in repr(errors.exceptions)


# -- order --------------------------------------------------------------------------------------------------------------


async def test_a_higher_priority_goes_first_and_ties_stay_in_order(working: Working) -> None:
    order: list[str] = []
    began, go_on = anyio.Event(), anyio.Event()

    @task
    async def note(text: str) -> None:
        if text == "first":
            began.set()
            await go_on.wait()
        order.append(text)

    async with working(note, concurrency="1") as bench:
        await bench.submit("note", b"first")
        await began.wait()
        levels = {"low": 1, "mid1": 5, "mid2": 5, "high": 9}
        ids = [await bench.submit("note", name.encode(), priority=level) for name, level in levels.items()]
        go_on.set()
        for task_id in ids:
            await bench.reaches(task_id, State.SUCCEEDED)

        assert order == ["first", "high", "mid1", "mid2", "low"]


# -- the end ------------------------------------------------------------------------------------------------------------


async def test_running_tasks_finish_during_the_drain_and_waiting_ones_stay(working: Working, store: Store) -> None:
    began, go_on = anyio.Event(), anyio.Event()

    @task
    async def slow(text: str) -> str:
        began.set()
        await go_on.wait()
        return "done"

    async with working(slow, concurrency="1") as bench:
        running, waiting = await bench.submit("slow"), await bench.submit("slow")
        await began.wait()
        bench.life.stop()
        await until(lambda: bench.worker.dispatcher.draining)
        still = bench.worker.busy
        go_on.set()
        await bench.stop()

        done, left = await bench.see(running), await bench.see(waiting)
        assert (still, bench.worker.clean) == (1, True)
        assert (done.state, result_of(done)) == (State.SUCCEEDED, "done")
        assert (left.state, left.failed_attempts, left.crashes) == (State.PENDING, 0, 0)
        assert await store.live_leases("default") == set()


@pytest.mark.parametrize("saves", [False, True])
async def test_without_drain_time_a_running_task_goes_back_at_no_cost(working: Working, saves: bool) -> None:
    began = anyio.Event()
    attempts: list[tuple[int, Any]] = []

    @task
    async def slow(ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.saved))
        if len(attempts) == 1:
            if saves:
                await ctx.save("half")
            began.set()
            await anyio.sleep_forever()

    async with working(slow, drain_timeout="0s") as bench:
        task_id = await bench.submit("slow")
        await began.wait()
        await bench.stop()
        sight = await bench.see(task_id)
        assert (sight.state, sight.failed_attempts, sight.crashes, sight.attempts) == (State.PENDING, 0, 0, [])
        assert bench.worker.clean

    async with working(slow) as bench:
        await bench.reaches(task_id, State.SUCCEEDED)

    assert attempts == [(1, None), (1, "half" if saves else None)]


async def test_without_drain_time_the_worker_ends_at_once(working: Working) -> None:
    began = anyio.Event()

    @task
    async def slow(text: str) -> None:
        began.set()
        await anyio.sleep_forever()

    async with working(slow, drain_timeout="0s") as bench:
        await bench.submit("slow")
        await began.wait()
        stopped_at = anyio.current_time()
        await bench.stop()

        assert anyio.current_time() - stopped_at < 0.7


async def test_a_worker_whose_lease_was_taken_stops_its_handlers_and_its_late_answer_is_refused(
    working: Working, store: Store, metrics: Metrics
) -> None:
    began, stopped = anyio.Event(), anyio.Event()
    runs: list[int] = []

    @task
    async def slow(ctx: Context) -> str:
        runs.append(ctx.attempt)
        if len(runs) > 1:
            return "second"
        began.set()
        try:
            await anyio.Event().wait()
        except anyio.get_cancelled_exc_class():
            stopped.set()
        return "first"

    async with working(slow) as bench:
        task_id = await bench.submit("slow")
        await began.wait()
        before = bench.worker.dispatcher.lines["default"].lease
        taken = await lose(store, metrics)
        with anyio.fail_after(10):
            await stopped.wait()
        sight = await bench.reaches(task_id, State.SUCCEEDED)

        assert taken == 1
        assert bench.worker.dispatcher.lines["default"].lease != before
        assert (result_of(sight), sight.crashes, [one.ending for one in sight.attempts]) == ("second", 1, [Ending.LOST])
        assert metrics.registry.get_sample_value("taskqueue_settlements_refused_total", {"queue": "default"}) == 1


async def test_a_save_in_flight_when_the_lease_is_taken_does_not_lose_the_slot(working: Working, store: Store, metrics: Metrics) -> None:
    began, go_on = anyio.Event(), anyio.Event()
    runs: list[int] = []

    @task
    async def saves(ctx: Context) -> None:
        runs.append(1)
        if len(runs) == 1:
            began.set()
            await go_on.wait()
            await ctx.save("late")

    async with working(saves, upper, concurrency="1") as bench:
        task_id = await bench.submit("saves")
        await began.wait()
        await lose(store, metrics)
        go_on.set()

        await bench.reaches(task_id, State.SUCCEEDED)
        await bench.run("upper")


async def test_what_a_handler_asks_of_a_queue_outside_of_one_is_refused() -> None:
    with pytest.raises(TaskqueueError):
        current()
