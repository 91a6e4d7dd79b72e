"""The claim that waits at the store: it saves a round trip, and nothing is lost or run twice when it fails."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from redis.exceptions import ConnectionError as Unreachable

from _taskqueue.domain.states import State
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Exchange
from _taskqueue.store.connect import Connector
from _taskqueue.store.direct import DirectClient
from _taskqueue.store.store import Store
from _taskqueue.tasks.spec import task
from _taskqueue.work.line import RECONCILE_S, Line
from tests.roles.conftest import Bench, Working, lose, until

pytestmark = pytest.mark.anyio


@task
async def echo(text: str) -> str:
    """A task that works."""
    return text


class Held:
    """A handler that runs until told to end."""

    def __init__(self) -> None:
        self.running = 0
        self.end = anyio.Event()

        @task
        async def held(text: str) -> str:
            self.running += 1
            await self.end.wait()
            return text

        self.task = held


def line_of(bench: Bench, queue: str = "default") -> Line:
    return bench.worker.dispatcher.lines[queue]


async def stands(bench: Bench, *queues: str) -> None:
    """Wait until the worker stands at the store for these queues, and hears of nothing by another way."""
    bench.client.on_news = lambda queue: None
    for queue in queues or ("default",):
        await until(line_of(bench, queue)._place.locked)
    await anyio.sleep(0.05)


class Spoilt:
    """Makes the answers of standing claims vanish on their way; the server did what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, how_many: int) -> None:
        self.left = how_many
        execute = DirectClient.execute_together

        async def spoil(client: DirectClient, *commands: tuple[Any, ...]) -> list[Any]:
            answers = await execute(client, *commands)
            if self.left and commands[0][0] == "BLPOP" and answers[1][8]:
                self.left -= 1
                raise Unreachable("the answer was lost")
            return answers

        monkeypatch.setattr(DirectClient, "execute_together", spoil)


async def test_a_task_that_comes_is_claimed_without_another_call(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    async with working(held.task) as bench:
        await stands(bench)
        calls: list[str] = []
        run = Store.run

        async def listen(store: Store, verb: str, *args: Any, **more: Any) -> Any:
            calls.append(verb)
            return await run(store, verb, *args, **more)

        monkeypatch.setattr(Store, "run", listen)
        await bench.submit("held")
        await until(lambda: held.running)
        assert "settle_and_claim" not in calls

        held.end.set()


async def test_a_lost_answer_costs_the_task_nothing(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(echo) as bench:
        spoilt = Spoilt(monkeypatch, 3)
        await stands(bench)
        sights = [await bench.run("echo") for _ in range(6)]

        assert spoilt.left == 0
        assert [(sight.crashes, sight.failed_attempts) for sight in sights] == [(0, 0)] * 6


async def test_a_burst_larger_than_the_room_is_taken_as_far_as_it_fits(working: Working) -> None:
    held = Held()
    async with working(held.task, concurrency="3") as bench:
        await stands(bench)
        await bench.client.submit_many([bench.client.read({"task": "held"}, b"x", True) for _ in range(8)])
        await until(lambda: held.running == 3)
        await anyio.sleep(0.1)
        states = (await bench.store.count("default")).states
        assert (states["running"], states["pending"]) == (3, 5)

        held.end.set()
        await until(lambda: held.running == 8)


async def test_two_queues_do_not_claim_the_same_room(working: Working, store: Store) -> None:
    held = Held()
    await store.route("other")
    async with working(held.task, concurrency="1", queues="default,other") as bench:
        await stands(bench, "default", "other")
        await bench.submit("held")
        await until(lambda: held.running == 1)
        waiting = await bench.submit("held", queue="other")
        await anyio.sleep(0.2)
        assert (await bench.see(waiting)).state is State.PENDING

        held.end.set()
        await bench.reaches(waiting, State.SUCCEEDED)


async def test_a_worker_that_is_told_to_be_quiet_takes_nothing(working: Working) -> None:
    async with working(echo) as bench:
        await stands(bench)
        bench.worker.dispatcher.hush(True)
        task_id = await bench.submit("echo")
        await anyio.sleep(0.2)
        assert (await bench.see(task_id)).state is State.PENDING

        bench.worker.dispatcher.hush(False)
        await bench.reaches(task_id, State.SUCCEEDED)


async def test_what_an_ended_lease_brings_is_not_run(
    working: Working, store: Store, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    @task
    async def note(text: str) -> None:
        ran.append(text)

    answered, go_on = anyio.Event(), anyio.Event()
    execute = DirectClient.execute_together

    async def delay(client: DirectClient, *commands: tuple[Any, ...]) -> list[Any]:
        answers = await execute(client, *commands)
        if commands[0][0] == "BLPOP" and answers[1][8] and not answered.is_set():
            answered.set()
            await go_on.wait()
        return answers

    monkeypatch.setattr(DirectClient, "execute_together", delay)
    async with working(note) as bench:
        await stands(bench)
        task_id = await bench.submit("note")
        await answered.wait()
        before = line_of(bench).lease
        await lose(store, metrics)
        await until(lambda: line_of(bench).lease != before)
        go_on.set()
        sight = await bench.reaches(task_id, State.SUCCEEDED)

        assert ran == ["hello"]
        assert sight.crashes == 1


async def test_a_stop_gives_back_what_is_on_its_way(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(echo) as bench:
        spoilt = Spoilt(monkeypatch, 1)
        monkeypatch.setattr(Line, "_pause", lambda line, pause_s: anyio.sleep_forever())
        await stands(bench)
        task_id = await bench.submit("echo")
        await until(lambda: not spoilt.left)
        await bench.stop()
        sight = await bench.see(task_id)

        assert (sight.state, sight.crashes) == (State.PENDING, 0)
        assert bench.worker.clean


async def test_what_nobody_knows_of_goes_back_when_the_counts_differ_for_long(
    working: Working, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_taskqueue.work.line.RECONCILE_S", RECONCILE_S / 10)
    async with working(echo) as bench:
        await stands(bench)
        line = line_of(bench)
        line._standing.cancel()
        async with line._place:
            task_id = await bench.submit("echo")
            await store.settle_and_claim("default", line.lease, Exchange(1, 1))
        assert (await bench.see(task_id)).state is State.RUNNING
        sight = await bench.reaches(task_id, State.SUCCEEDED)

        assert sight.crashes == 0


async def test_after_a_flush_of_the_scripts_the_claim_is_made_by_a_call(working: Working, store: Store) -> None:
    async with working(echo) as bench:
        await stands(bench)
        line_of(bench)._standing.cancel()
        await store.command("test", "SCRIPT", "FLUSH")
        assert (await bench.run("echo")).crashes == 0


async def test_where_no_claim_can_wait_one_is_told_to_make_it(metrics: Metrics) -> None:
    store = Store(Connector("memory://"), metrics, namespace="t")
    await store.route("default")
    await store.open_lease("default", "worker/1")
    client = store.connector.blocking_client()
    await client.execute_command("RPUSH", store.key("wake", "default"), 1)

    assert await store.wait_and_claim(client, "default", "worker/1", Exchange(1, 1)) is None
    await client.aclose()
    await store.aclose()
