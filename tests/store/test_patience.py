"""Patience: a start outlives a store that blinks, and nothing else."""

from __future__ import annotations

import anyio
import pytest

from _taskqueue.domain.errors import StoreFull, StoreRefused, StoreUnavailable, UsageError
from _taskqueue.store import patience

pytestmark = pytest.mark.anyio


async def test_a_call_is_made_until_the_store_answers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    ends: list[object] = [StoreUnavailable("away"), StoreUnavailable("away"), "found"]

    async def call() -> object:
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    assert await patience.until_answered(call) == "found"
    assert caplog.messages == ["the start waits: away"]


async def test_a_refusal_that_lasts_ends_the_start_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "REACH_S", 0.02)
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise StoreRefused("no permission", "allow it")

    with anyio.fail_after(5), pytest.raises(UsageError, match="no permission; allow it"):
        await patience.until_answered(call)
    assert calls > 1


async def test_a_refusal_that_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    ends: list[object] = [StoreRefused("no permission"), "found"]

    async def call() -> object:
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    assert await patience.until_answered(call) == "found"


async def test_who_waits_can_be_stopped_at_once() -> None:
    waits = anyio.Event()

    async def call() -> None:
        waits.set()
        raise StoreUnavailable("away")

    with anyio.fail_after(patience.PAUSE_S / 2):
        async with anyio.create_task_group() as group:
            group.start_soon(patience.until_answered, call)
            await waits.wait()
            group.cancel_scope.cancel()


async def test_what_time_does_not_cure_is_raised() -> None:
    async def call() -> None:
        raise StoreFull("full")

    with pytest.raises(StoreFull):
        await patience.until_answered(call)
