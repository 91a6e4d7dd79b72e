"""Tasks that lost workers before: they run alone, and nobody else pays for it longer than needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from _taskqueue.domain.states import State
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Exchange
from _taskqueue.store.store import Store
from _taskqueue.tasks.spec import task
from _taskqueue.upkeep import reaper
from _taskqueue.work import isolation
from tests.conftest import submission
from tests.roles.conftest import Bench, Working, lose, until

pytestmark = pytest.mark.anyio

NewId = Callable[[], str]
Suspects = Callable[..., Awaitable[list[str]]]
SUSPECT_AT = 2


class Scene:
    """What runs, and what was seen to run together."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.beside: dict[str, set[str]] = {}
        self.gates: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)

    async def act(self, name: str) -> None:
        """Run as this name until its gate opens."""
        self.running.add(name)
        for one in self.running:
            self.beside.setdefault(one, set()).update(self.running - {one})
        try:
            await self.gates[name].wait()
        finally:
            self.running.discard(name)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def suspects(store: Store, metrics: Metrics, new_id: NewId, monkeypatch: pytest.MonkeyPatch) -> Suspects:
    """Make tasks that lost so many workers that the next loss would be the last."""
    monkeypatch.setattr(reaper, "CRASH_DELAYS_MS", (0,))

    async def make(*names: str) -> list[str]:
        ids = [new_id() for _ in names]
        await store.submit("default", [(one, submission(name.encode(), "act")) for one, name in zip(ids, names, strict=True)])
        for number in range(SUSPECT_AT):
            await store.open_lease("default", f"host:{number}:abc/x")
            await store.settle_and_claim("default", f"host:{number}:abc/x", Exchange(len(ids), len(ids)))
            await lose(store, metrics)
        return ids

    return make


def serve(working: Working, scene: Scene) -> AbstractAsyncContextManager[Bench]:
    return working(task(name="act")(scene.act), queues="default,other")


async def flag_of(store: Store, task_id: str) -> str:
    sight = await store.inspect("default", task_id)
    assert sight is not None
    assert sight.held is not None
    return sight.held.value.decode().split("|")[1]


async def test_a_suspect_runs_alone_and_the_others_after_it(working: Working, store: Store, scene: Scene, suspects: Suspects) -> None:
    (suspect,) = await suspects("suspect")

    async with serve(working, scene) as bench:
        await until(lambda: scene.running == {"suspect"})
        others = [await bench.submit("act", b"other%d" % number) for number in range(3)]
        await anyio.sleep(0.3)
        assert scene.running == {"suspect"}
        assert await flag_of(store, suspect) == "a"
        scene.gates["suspect"].set()
        await until(lambda: len(scene.running) == 3)
        for number in range(3):
            scene.gates[f"other{number}"].set()
        for one in (suspect, *others):
            await bench.reaches(one, State.SUCCEEDED)

    assert scene.beside["suspect"] == set()


async def test_suspects_run_one_after_another(working: Working, scene: Scene, suspects: Suspects) -> None:
    names = ["one", "two", "three"]
    ids = await suspects(*names)
    for name in names:
        scene.gates[name].set()

    async with serve(working, scene) as bench:
        for one in ids:
            await bench.reaches(one, State.SUCCEEDED)

    assert scene.beside == {name: set() for name in names}


@asynccontextmanager
async def waiting(working: Working, store: Store, scene: Scene, suspects: Suspects) -> AsyncIterator[tuple[Bench, str]]:
    """A suspect that waits for the task ``other`` to end."""
    (suspect,) = await suspects("suspect")
    await store.configure("default", {"paused": " "})
    async with serve(working, scene) as bench:
        await bench.submit("act", b"other", queue="other")
        await until(lambda: scene.running == {"other"})
        await store.configure("default", {"paused": ""})
        await until(lambda: bench.worker.dispatcher.isolation.closed)
        yield bench, suspect
        scene.gates["other"].set()


async def test_a_suspect_waits_for_what_runs(working: Working, store: Store, scene: Scene, suspects: Suspects) -> None:
    async with waiting(working, store, scene, suspects) as (bench, suspect):
        assert await flag_of(store, suspect) == "p"
        scene.gates["other"].set()
        await until(lambda: scene.running == {"suspect"})
        scene.gates["suspect"].set()
        await bench.reaches(suspect, State.SUCCEEDED)

    assert scene.beside["suspect"] == set()


async def test_a_suspect_that_waited_long_runs_beside_the_others(
    working: Working, store: Store, scene: Scene, suspects: Suspects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "CLEAR_S", 0.1)
    async with waiting(working, store, scene, suspects) as (bench, suspect):
        await until(lambda: scene.running == {"other", "suspect"})
        assert await flag_of(store, suspect) == "s"
        scene.gates["suspect"].set()
        await bench.reaches(suspect, State.SUCCEEDED)


async def test_others_do_not_wait_for_a_suspect_for_ever(
    working: Working, store: Store, scene: Scene, suspects: Suspects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "ALONE_S", 0.1)
    (suspect,) = await suspects("suspect")

    async with serve(working, scene) as bench:
        other = await bench.submit("act", b"other")
        await until(lambda: scene.running == {"suspect", "other"})
        assert await flag_of(store, suspect) == "s"
        for name in ("suspect", "other"):
            scene.gates[name].set()
        await bench.reaches(other, State.SUCCEEDED)
        await bench.reaches(suspect, State.SUCCEEDED)


async def test_a_suspect_can_be_cancelled_while_it_waits(working: Working, store: Store, scene: Scene, suspects: Suspects) -> None:
    async with waiting(working, store, scene, suspects) as (bench, suspect):
        await bench.client.cancel(suspect)
        await bench.reaches(suspect, State.CANCELLED)
        third = await bench.submit("act", b"third")
        await until(lambda: scene.running == {"other", "third"})
        scene.gates["third"].set()
        await bench.reaches(third, State.SUCCEEDED)

    assert "suspect" not in scene.beside


async def test_a_worker_that_drains_gives_a_waiting_suspect_back_at_no_cost(
    working: Working, store: Store, scene: Scene, suspects: Suspects
) -> None:
    async with waiting(working, store, scene, suspects) as (bench, suspect):
        bench.life.stop()
        await bench.reaches(suspect, State.PENDING)
        scene.gates["other"].set()
        await bench.stop()

    sight = await store.inspect("default", suspect)
    assert sight is not None
    assert (sight.state, sight.crashes, sight.failed_attempts) == (State.PENDING, SUSPECT_AT, 0)


async def test_a_suspect_whose_lease_was_taken_does_not_start(
    working: Working, store: Store, metrics: Metrics, scene: Scene, suspects: Suspects
) -> None:
    async with waiting(working, store, scene, suspects) as (bench, suspect):
        await store.configure("default", {"paused": " "})
        await lose(store, metrics)
        await until(lambda: not bench.worker.dispatcher.isolation.closed)
        scene.gates["other"].set()
        await until(lambda: not scene.running)
        assert (await bench.see(suspect)).state is State.PENDING
        assert (await bench.see(suspect)).crashes == SUSPECT_AT
