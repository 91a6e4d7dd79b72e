"""operate: one process at a time has a bulk operation in hand. reserve: one request at a time has an idempotency key."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.filters import Filter
from _taskqueue.store import operations as keeping
from _taskqueue.store.browse import Position
from _taskqueue.store.operations import HOLD_MS, Operation, Operations
from _taskqueue.store.store import Store
from tests.store.desk import WAIT_S

pytestmark = pytest.mark.anyio


def operation(name: str = "op_1", **terms: Any) -> Operation:
    """One that has just begun, but for these terms."""
    return msgspec.structs.replace(Operation(name, "retry", Filter(), "running", 5, 1, "me"), **terms)


async def test_an_operation_reads_back(any_store: Store) -> None:
    operations = Operations(any_store)
    one = operation(filter=Filter(tags=("a",), meta=(("k", ("v",)),), created_before_ms=7), rate_s=2.5, key=1.5, last_id="task1")

    await operations.create(one)

    assert await operations.read("op_1") == one
    assert one.position == Position(1.5, "task1")
    assert await operations.read("op_2") is None
    assert await operations.all() == [one]


async def test_one_process_at_a_time_has_it_in_hand(any_store: Store) -> None:
    operations = Operations(any_store)
    await operations.create(operation())

    mine = await operations.take("op_1", "me")
    theirs = await operations.take("op_1", "they")
    again = await operations.take("op_1", "me")

    assert mine is not None
    assert theirs is None
    assert again is not None


async def test_what_somebody_let_go_of_is_taken_over(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    operations = Operations(any_store)
    await operations.create(operation(done=2))
    monkeypatch.setattr(keeping, "HOLD_MS", 1)
    await operations.take("op_1", "gone")
    monkeypatch.setattr(keeping, "HOLD_MS", HOLD_MS)

    with anyio.fail_after(WAIT_S):
        while (found := await operations.take("op_1", "me")) is None:
            await anyio.sleep(0.002)

    assert found.done == 2
    assert await operations.take("op_1", "gone") is None


async def test_what_is_gone_cannot_be_taken(any_store: Store) -> None:
    assert await Operations(any_store).take("op_1", "me") is None
    assert await any_store.command("test", "HLEN", any_store.key("operators")) == 0


async def test_a_request_to_stop_is_not_lost_to_a_step_under_way(any_store: Store) -> None:
    operations = Operations(any_store)
    await operations.create(operation())
    found = await operations.take("op_1", "me")
    assert found is not None

    await operations.stop("op_1")
    await operations.save(found)

    assert await operations.is_stopped("op_1")
    assert not await operations.is_stopped("op_2")


@pytest.mark.parametrize("state", ["stopped", "finished"])
async def test_nothing_but_the_operation_is_kept_of_one_that_ended(any_store: Store, state: str) -> None:
    operations = Operations(any_store)
    await operations.create(operation())
    await operations.take("op_1", "me")
    await operations.stop("op_1")

    await operations.save(operation(state=state))

    assert await any_store.command("test", "HLEN", any_store.key("operators")) == 0
    assert (await operations.all())[0].ended


async def test_the_oldest_that_ended_are_forgotten(any_store: Store) -> None:
    operations = Operations(any_store)
    await operations.create(operation("running", created_ms=0))
    for number in range(205):
        await operations.create(operation(f"op_{number}", state="finished", created_ms=1 + number))

    kept = await operations.all()

    assert len(kept) <= keeping.OPERATIONS_MAX + 1
    assert [one.id for one in kept][:3] == ["op_204", "op_203", "op_202"]
    assert kept[-1].id == "running"


# -- reserve ----------------------------------------------------------------------------------------------------------


async def reserve(store: Store, text: bytes, name: str = "idempotency:a", life_ms: int = 60_000) -> bytes:
    found: bytes = await store.run("reserve", "", text, life_ms, index=name)
    return found


async def test_the_first_takes_the_key_and_the_others_learn_of_it(any_store: Store) -> None:
    assert [await reserve(any_store, text) for text in (b"one", b"two", b"\0\xff")] == [b"", b"one", b"one"]


async def test_keys_are_apart(any_store: Store) -> None:
    assert [await reserve(any_store, b"one", f"idempotency:{name}") for name in ("a", "b")] == [b"", b""]
    assert await reserve(any_store, b"two", "idempotency:b") == b"one"


async def test_of_many_at_once_one_takes_the_key(any_store: Store) -> None:
    answers: list[bytes] = []

    async def take(text: bytes) -> None:
        answers.append(await reserve(any_store, text))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(take, b"%d" % number)

    (winner,) = {answer for answer in answers if answer}
    assert answers.count(b"") == 1
    assert winner in {b"%d" % number for number in range(20)}


async def test_a_key_is_free_after_its_life(any_store: Store) -> None:
    await reserve(any_store, b"one", life_ms=1)

    with anyio.fail_after(WAIT_S):
        while await reserve(any_store, b"two"):
            await anyio.sleep(0.002)

    assert await reserve(any_store, b"three") == b"two"
