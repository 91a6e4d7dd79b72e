"""Workers of two releases side by side: a payload that does not fit here goes to where it may fit, and is dead when it fits nobody."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.answers import Sight
from _taskqueue.tasks.discovery import AnyTask
from _taskqueue.tasks.spec import task
from tests.roles.conftest import Bench, Working, until

pytestmark = pytest.mark.anyio


def old() -> AnyTask:
    @task(name="mail", max_attempts=1)
    async def mail(to: str, count: int) -> str:
        return f"old {to} {count}"

    return mail


def new() -> AnyTask:
    @task(name="mail", max_attempts=1)
    async def mail(to: str, subject: str) -> str:
        return f"new {to} {subject}"

    return mail


async def introduced(*benches: Bench) -> None:
    """Wait until each worker has told of itself."""
    store = benches[0].store

    async def told() -> bool:
        return len(await store.live_beats()) == len(benches)

    with anyio.fail_after(10):
        while not await told():
            await anyio.sleep(0.01)


def result_of(sight: Sight) -> Any:
    assert sight.outcome is not None
    assert sight.outcome.result is not None
    return msgspec.json.decode(sight.outcome.result)


async def test_a_payload_goes_to_the_worker_whose_signature_it_fits(working: Working) -> None:
    async with working(old(), lease="3s") as first, working(new(), lease="3s") as second:
        await introduced(first, second)
        olds = [await first.submit("mail", b'{"to": "a", "count": 1}') for _ in range(5)]
        news = [await first.submit("mail", b'{"to": "a", "subject": "b"}') for _ in range(5)]

        assert {result_of(await first.reaches(one, State.SUCCEEDED)) for one in olds} == {"old a 1"}
        assert {result_of(await first.reaches(one, State.SUCCEEDED)) for one in news} == {"new a b"}


async def test_a_payload_that_fits_nobody_alive_is_dead(working: Working) -> None:
    async with working(old(), lease="3s") as first, working(new(), lease="3s") as second:
        await introduced(first, second)
        sight = await first.run("mail", b'{"to": 7}', state=State.DEAD)

    assert sight.outcome is not None
    assert (sight.outcome.reason, sight.outcome.attempt, len(sight.attempts)) == ("invalid_payload", 1, 1)


async def test_a_payload_whose_last_hope_went_is_dead(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.work.rivals.ELSEWHERE_S", 0.2)
    async with working(old(), lease="3s") as first:
        async with working(new(), lease="3s") as second:
            await introduced(first, second)
            second.worker.dispatcher.hush(True)
            task_id = await first.submit("mail", b'{"to": "a", "subject": "b"}')
            await first.reaches(task_id, State.PENDING)
            with anyio.fail_after(5):
                while not (await first.store.count("default")).unroutable:
                    await anyio.sleep(0.01)
            second.worker._execution.start = lambda claim: None  # type: ignore[method-assign]
        sight = await first.reaches(task_id, State.DEAD)

    assert sight.outcome is not None
    assert sight.outcome.reason == "invalid_payload"


async def test_alone_a_worker_decides_at_once(working: Working) -> None:
    async with working(old(), lease="3s") as bench:
        await introduced(bench)
        sight = await bench.run("mail", b'{"to": 7}', state=State.DEAD)
        await until(lambda: bench.worker.busy == 0)

    assert sight.outcome is not None
    assert sight.outcome.reason == "invalid_payload"
