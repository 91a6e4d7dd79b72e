"""submit: new → pending, new → scheduled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.store import Exchange, Store
from tests.conftest import submission

pytestmark = pytest.mark.anyio


async def test_a_new_task_is_pending(any_store: Store, new_id: Callable[[], str]) -> None:
    task_id = new_id()

    fresh = await any_store.submit("default", [(task_id, submission())])

    sight = await any_store.inspect("default", task_id)
    assert fresh == 1
    assert sight is not None
    assert sight.state is State.PENDING
    assert sight.record.payload == b"hello"


async def test_a_delayed_task_is_scheduled(any_store: Store, new_id: Callable[[], str]) -> None:
    task_id = new_id()

    await any_store.submit("default", [(task_id, submission(delay_ms=60_000))])

    sight = await any_store.inspect("default", task_id)
    assert sight is not None
    assert sight.state is State.SCHEDULED


async def test_sending_the_same_ids_again_changes_nothing(any_store: Store, new_id: Callable[[], str]) -> None:
    first, second = new_id(), new_id()
    await any_store.submit("default", [(first, submission(b"one"))])
    await any_store.open_lease("default", "w/1")
    answer = await any_store.settle_and_claim("default", "w/1", Exchange(1, 1))
    assert answer is not None

    fresh = await any_store.submit("default", [(first, submission(b"other")), (second, submission(b"two"))])

    sight = await any_store.inspect("default", first)
    assert fresh == 1
    assert sight is not None
    assert sight.state is State.RUNNING
    assert sight.record.payload == b"one"
