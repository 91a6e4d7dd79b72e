"""The reaper: what becomes of tasks whose worker was lost."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from msgspec import structs

from _taskqueue.domain.beat import Beat, Block
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Ending
from _taskqueue.metrics import Metrics
from _taskqueue.store.answers import Exchange, Sight
from _taskqueue.store.calls import BeatStore
from _taskqueue.store.store import Store
from _taskqueue.upkeep import reaper
from tests.conftest import submission
from tests.roles.conftest import lose

pytestmark = pytest.mark.anyio

NewId = Callable[[], str]


async def claim(store: Store, lease: str, limit: int = 1, slots: int = 1, flag: str = "a") -> list[str]:
    """Open a lease and claim; suspects start with this flag. Gives the ids."""
    await store.open_lease("default", lease)
    answer = await store.settle_and_claim("default", lease, Exchange(limit, slots))
    assert answer is not None
    for one in answer.suspects:
        await store.settle_and_claim("default", lease, Exchange(0, 0, [], ["start", one.id, 0, flag, b"", ""]))
    return [one.id.decode() for one in answer.claims + answer.suspects]


async def see(store: Store, task_id: str) -> Sight:
    sight = await store.inspect("default", task_id)
    assert sight is not None
    return sight


async def lose_it(store: Store, metrics: Metrics, task_id: str, *, times: int, max_crashes: int, flag: str) -> list[State]:
    """Claim a task and lose its worker so many times; gives its state after each."""
    states = []
    for number in range(times):
        assert await claim(store, f"host:{number}:abc/x", flag=flag) == [task_id]
        assert await lose(store, metrics, max_crashes=max_crashes) == 1
        states.append((await see(store, task_id)).state)
    return states


async def test_a_task_that_loses_too_many_workers_is_dead_as_poison(
    store: Store, metrics: Metrics, new_id: NewId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "CRASH_DELAYS_MS", (0,))
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])

    states = await lose_it(store, metrics, task_id, times=3, max_crashes=3, flag="a")

    sight = await see(store, task_id)
    assert states == [State.PENDING, State.PENDING, State.DEAD]
    assert sight.outcome is not None
    assert (sight.outcome.reason, sight.crashes, sight.failed_attempts) == ("poison", 3, 0)
    assert [one.ending for one in sight.attempts] == [Ending.LOST] * 3
    assert {one.worker for one in sight.attempts} == {"host:0:abc", "host:1:abc", "host:2:abc"}


async def test_a_loss_beside_others_is_no_proof_but_three_times_as_many_are(
    store: Store, metrics: Metrics, new_id: NewId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "CRASH_DELAYS_MS", (0,))
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])

    states = await lose_it(store, metrics, task_id, times=6, max_crashes=2, flag="s")

    assert states == [State.PENDING] * 5 + [State.DEAD]


async def test_a_suspect_that_never_started_is_not_charged(
    store: Store, metrics: Metrics, new_id: NewId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "CRASH_DELAYS_MS", (0,))
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    for number in range(2):
        await claim(store, f"host:{number}:abc/x")
        await lose(store, metrics)
    await store.open_lease("default", "host:2:abc/x")
    answer = await store.settle_and_claim("default", "host:2:abc/x", Exchange(1, 1))

    await lose(store, metrics)

    sight = await see(store, task_id)
    assert answer is not None
    assert [one.id.decode() for one in answer.suspects] == [task_id]
    assert (sight.state, sight.crashes) == (State.PENDING, 2)


async def test_what_was_prefetched_by_a_lost_worker_counts_as_started_the_next_time(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])

    crashes = []
    for number in range(2):
        await claim(store, f"host:{number}:abc/x", slots=0)
        await lose(store, metrics)
        crashes.append((await see(store, task_id)).crashes)

    assert crashes == [0, 1]


BEAT = Beat("host:1:abc", slots=10, busy=7, memory_bytes=300 * 2**20)


@pytest.mark.parametrize(
    ("beat", "said", "stack"),
    [
        (None, "nobody knows why; it left no heartbeat", ""),
        (BEAT, r"it was killed, or cut off from the store; last heartbeat \d s before, with 7 tasks running and 300 MiB", ""),
        (structs.replace(BEAT, memory_max_bytes=310 * 2**20), "its memory was nearly used up.*300 of 310 MiB", ""),
        (structs.replace(BEAT, stalled=True, lag_seconds=61.0), "its event loop was blocked for more than 61 s", ""),
        (structs.replace(BEAT, stalled=True, lag_seconds=61.0, block=Block("ID", "here")), "this task blocked its event loop", "here"),
        (structs.replace(BEAT, stalled=True, lag_seconds=61.0, block=Block("x", "here")), "its event loop was blocked", ""),
    ],
)
async def test_a_lost_task_tells_what_is_known_of_its_worker(
    store: Store, metrics: Metrics, new_id: NewId, beat: Beat | None, said: str, stack: str
) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    await claim(store, "host:1:abc/x")
    if beat is not None:
        if beat.block is not None and beat.block.task_id == "ID":
            beat = structs.replace(beat, block=structs.replace(beat.block, task_id=task_id))
        beats = BeatStore(store)
        beats.beat(beat)
        beats.close()

    await lose(store, metrics)

    (attempt,) = (await see(store, task_id)).attempts
    assert attempt.failure is not None
    assert re.search(said, attempt.failure.message), attempt.failure.message
    assert attempt.failure.message.startswith("the worker that ran it was lost (crash 1 of 3)")
    assert attempt.failure.traceback == stack
    assert attempt.worker == "host:1:abc"


async def test_a_beat_of_another_release_is_no_beat(store: Store, metrics: Metrics, new_id: NewId) -> None:
    await store.command("odd", "HSET", store.key("workers"), "odd", "no json")
    await store.command("odd", "ZADD", store.key("beats"), 1, "odd")

    assert await store.last_beat("odd") is None


async def test_the_second_loss_waits_before_the_next_start(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])

    for number in range(2):
        await claim(store, f"host:{number}:abc/x")
        await lose(store, metrics)

    sight = await see(store, task_id)
    assert (sight.state, sight.crashes) == (State.RETRYING, 2)
    assert sight.score is not None
    assert 5_000 < sight.score - sight.now_ms <= 10_001


async def test_a_prefetched_task_does_not_count_the_loss(store: Store, metrics: Metrics, new_id: NewId) -> None:
    started, prefetched = new_id(), new_id()
    await store.submit("default", [(started, submission()), (prefetched, submission())])
    assert await claim(store, "host:1:abc/x", limit=2, slots=1) == [started, prefetched]

    taken = await lose(store, metrics, max_crashes=1)

    first, second = await see(store, started), await see(store, prefetched)
    assert taken == 2
    assert (first.state, first.crashes) == (State.DEAD, 1)
    assert (second.state, second.crashes, second.attempts) == (State.PENDING, 0, [])


async def test_a_lost_task_that_was_asked_to_stop_is_cancelled(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    await claim(store, "host:1:abc/x")
    assert await store.cancel("default", task_id) == [State.RUNNING]

    await lose(store, metrics)

    assert (await see(store, task_id)).state is State.CANCELLED


async def test_the_late_answer_of_a_lost_worker_is_refused(store: Store, metrics: Metrics, new_id: NewId) -> None:
    task_id = new_id()
    await store.submit("default", [(task_id, submission())])
    await claim(store, "host:1:abc/x")
    await lose(store, metrics)

    answer = await store.settle_and_claim("default", "host:1:abc/x", Exchange(0, 0, [task_id, b"late"]))

    assert answer is None
    assert (await see(store, task_id)).state is State.PENDING


async def test_losses_are_counted(store: Store, metrics: Metrics, new_id: NewId) -> None:
    await store.submit("default", [(new_id(), submission()), (new_id(), submission())])
    await claim(store, "host:1:abc/x", 2, 2)

    await lose(store, metrics)

    assert metrics.registry.get_sample_value("taskqueue_tasks_recovered_total", {"queue": "default"}) == 2
