"""Patience: a start outlives a store that blinks, and nothing else."""

from __future__ import annotations

import pytest

from _taskqueue.domain.errors import StoreFull, StoreUnavailable
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


async def test_what_time_does_not_cure_is_raised() -> None:
    async def call() -> None:
        raise StoreFull("full")

    with pytest.raises(StoreFull):
        await patience.until_answered(call)
