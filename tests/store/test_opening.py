"""The store is opened, or the start ends: in one line after a while, at once when it is stopped."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from _taskqueue import opening
from _taskqueue.domain.errors import StoreRefused, StoreUnavailable, UsageError
from _taskqueue.metrics import Metrics
from _taskqueue.opening import open_store
from _taskqueue.settings import Settings, load_settings
from _taskqueue.store.patience import REACH_S
from _taskqueue.store.store import Store

pytestmark = pytest.mark.anyio


def settings_for(url: str) -> Settings:
    return load_settings({"role": "api", "redis-url": url}, {}).settings


@pytest.mark.parametrize("error", [StoreUnavailable("it is away"), StoreRefused("it wants another", "ask for it")])
async def test_a_store_that_cannot_be_used_ends_the_start_with_what_to_do(
    bundled_url: str, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, error: StoreUnavailable
) -> None:
    async def check(store: Store, level: object) -> None:
        raise error

    monkeypatch.setattr(Store, "check", check)
    monkeypatch.setattr(opening, "REACH_S", 0.05)
    monkeypatch.setattr(opening, "PAUSE_S", 0.01)

    with anyio.fail_after(5), pytest.raises(UsageError) as caught:
        async with open_store(settings_for(bundled_url), metrics):
            raise AssertionError("it was opened")

    assert str(caught.value) == f"cannot use the store at {bundled_url}: {error}; {error.remedy}"


async def test_a_start_that_waits_for_its_store_can_be_stopped_at_once(tmp_path: Path, metrics: Metrics) -> None:
    began = anyio.current_time()

    with anyio.move_on_after(0.05) as scope:
        async with open_store(settings_for(f"unix://{tmp_path}/nobody.sock"), metrics):
            raise AssertionError("it was opened")

    assert scope.cancelled_caught
    assert anyio.current_time() - began < REACH_S / 2


async def test_a_store_that_is_well_is_tried_out(bundled_url: str, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Store] = []

    async def try_out(store: Store) -> None:
        tried.append(store)

    monkeypatch.setattr(opening, "try_out", try_out)

    async with open_store(settings_for(bundled_url), metrics) as store:
        assert tried == [store]
