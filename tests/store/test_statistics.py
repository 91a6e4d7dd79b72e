"""Statistics: counts by minute, rolled up into hours, with nothing lost on the way."""

from __future__ import annotations

import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.answers import pack_number
from _taskqueue.store.browse import Browse
from _taskqueue.store.store import HOURS_KEPT, MINUTES_KEPT
from tests.conftest import submission
from tests.store.desk import ATTEMPT, QUEUE, Desk

pytestmark = pytest.mark.anyio

SERIES = ("submitted", "claimed", "succeeded", "retried", "dead", "cancelled", "expired", "lost")


async def minute_of(desk: Desk) -> int:
    """The minute of the store's clock."""
    return (await desk.store.count(QUEUE)).now_ms // 60_000


async def totals(desk: Desk, queue: str = QUEUE) -> dict[str, int]:
    """What was counted in this minute and the one before, without what is 0."""
    minute = await minute_of(desk)
    found = await Browse(desk.store).series([queue], SERIES, [[f"m{minute}", f"m{minute - 1}"]])
    return {name: values[0] for name, values in found[queue].items() if values[0]}


async def put(desk: Desk, **counts: int) -> None:
    """Counts as if they came from other times."""
    flat = [part for pair in counts.items() for part in pair]
    await desk.store.command("test", "HSET", desk.store.key("stats", QUEUE), *[str(part).replace("_", ":") for part in flat])


async def fields(desk: Desk) -> dict[str, int]:
    """All that is counted."""
    found = await desk.store.command("test", "HGETALL", desk.store.key("stats", QUEUE))
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {name.decode(): int(count) for name, count in pairs}


@pytest.mark.parametrize(
    ("state", "counted"),
    [
        (State.PENDING, {"submitted": 1}),
        (State.SCHEDULED, {"submitted": 1}),
        (State.RUNNING, {"submitted": 1, "claimed": 1}),
        (State.SUCCEEDED, {"submitted": 1, "claimed": 1, "succeeded": 1}),
        (State.RETRYING, {"submitted": 1, "claimed": 1, "retried": 1}),
        (State.DEAD, {"submitted": 1, "claimed": 1, "dead": 1}),
        (State.CANCELLED, {"submitted": 1, "cancelled": 1}),
        (State.EXPIRED, {"submitted": 1, "expired": 1}),
    ],
)
async def test_each_move_is_counted_once(desk: Desk, state: State, counted: dict[str, int]) -> None:
    await desk.in_state(state)

    assert await totals(desk) == counted


async def test_what_comes_twice_is_counted_once(desk: Desk) -> None:
    batch = [(desk.mint(), submission())]
    for _ in range(2):
        await desk.store.submit(QUEUE, batch)
    (task_id,) = await desk.claim()
    for _ in range(2):
        await desk.report("retry", task_id, pack_number(60_000, 5), ATTEMPT)
    for _ in range(2):
        await desk.store.cancel(QUEUE, task_id)

    assert await totals(desk) == {"submitted": 1, "claimed": 1, "retried": 1, "cancelled": 1}


async def test_queues_count_apart(desk: Desk) -> None:
    route = await desk.store.route("other")
    await desk.submit(2)
    await desk.submit_to("other", route)

    assert await totals(desk) == {"submitted": 2}
    assert await totals(desk, "other") == {"submitted": 1}


async def test_old_minutes_roll_up_into_hours(desk: Desk) -> None:
    oldest = await minute_of(desk) - MINUTES_KEPT
    old = {f"m{oldest - back}_{name}": back for back in range(1, 50) for name in ("dead", "succeeded")}
    await put(desk, **old, **{f"m{oldest}_dead": 1_000, f"m{oldest + 5}_dead": 10_000})

    rolled = await desk.store.trim(QUEUE)

    after = await fields(desk)
    assert rolled > 0
    assert {name for name in after if name.startswith("m") and name.endswith(":dead")} <= {
        f"m{minute}:dead" for minute in range(oldest, oldest + 7)
    }
    for name in ("dead", "succeeded"):
        hours: dict[str, int] = {}
        for back in range(1, 50):
            hour = f"h{(oldest - back) // 60}:{name}"
            hours[hour] = hours.get(hour, 0) + back
        assert {field: after[field] for field in hours} == hours
    assert sum(count for field, count in after.items() if field.endswith(":dead")) == sum(range(50)) + 11_000


async def test_trimming_again_changes_nothing(desk: Desk) -> None:
    oldest = await minute_of(desk) - MINUTES_KEPT
    await put(desk, **{f"m{oldest - 3}_dead": 7})
    await desk.store.trim(QUEUE)
    first = await fields(desk)

    await desk.store.trim(QUEUE)

    second = await fields(desk)
    assert {name: count for name, count in second.items() if name != "rolled"} == {k: v for k, v in first.items() if k != "rolled"}


async def test_after_a_long_pause_what_was_left_is_rolled_up(desk: Desk) -> None:
    oldest = await minute_of(desk) - MINUTES_KEPT
    await put(desk, rolled=oldest - 600, **{f"m{oldest - 600}_dead": 1, f"m{oldest - 300}_dead": 2, f"m{oldest - 1}_dead": 4})

    assert await desk.store.trim(QUEUE) == pytest.approx(600, abs=1)

    after = await fields(desk)
    assert sum(count for name, count in after.items() if name.startswith("h")) == 7
    assert not [name for name in after if name.startswith("m")]


async def test_after_a_pause_of_weeks_nothing_is_left_behind(desk: Desk) -> None:
    oldest = await minute_of(desk) - MINUTES_KEPT
    long_ago = oldest - 20 * 1440
    await put(desk, rolled=long_ago, **{f"m{long_ago}_dead": 1, f"m{oldest - 1}_dead": 2, f"h{long_ago // 60 - 24}_dead": 4})

    calls = 1
    while await desk.store.trim(QUEUE) > 1:
        calls += 1

    after = {name: count for name, count in (await fields(desk)).items() if name != "rolled"}
    assert calls == pytest.approx(21, abs=1)
    assert after == {f"h{(oldest - 1) // 60}:dead": 2}


async def test_a_clock_that_stepped_back_does_not_stop_the_trimming(desk: Desk) -> None:
    minute = await minute_of(desk)
    await put(desk, rolled=minute + 10_000, **{f"m{minute - MINUTES_KEPT - 2}_dead": 3})

    await desk.store.trim(QUEUE)

    after = {name: count for name, count in (await fields(desk)).items() if name != "rolled"}
    assert list(after.values()) == [3]
    assert next(iter(after)).startswith("h")


async def test_hours_are_dropped_after_a_week(desk: Desk) -> None:
    minute = await minute_of(desk)
    last = minute // 60 - HOURS_KEPT
    await put(desk, **{f"h{last - 1}_dead": 1, f"h{last}_dead": 2, f"h{last + 2}_dead": 4})

    await desk.store.trim(QUEUE)

    assert {name: count for name, count in (await fields(desk)).items() if name.startswith("h")} == {f"h{last + 2}:dead": 4}


async def test_the_rate_is_that_of_the_last_minute(desk: Desk) -> None:
    minute = await minute_of(desk)
    await put(desk, **{f"m{minute - 1}_succeeded": 300, f"m{minute}_succeeded": 300, f"m{minute + 1}_succeeded": 300})

    count = await desk.store.count(QUEUE)

    assert 4.9 <= count.rate_s <= 10.1


async def test_nothing_asked_is_nothing_answered(desk: Desk) -> None:
    browse = Browse(desk.store)

    assert await browse.series([], SERIES, [["m1"]]) == {}
    assert await browse.series([QUEUE], [], [["m1"]]) == {QUEUE: {}}
    assert await browse.series([QUEUE], ["dead"], [[], ["m1", "m2"]]) == {QUEUE: {"dead": [0, 0]}}
