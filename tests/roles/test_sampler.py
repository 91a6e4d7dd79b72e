"""The sampler: gauges of every queue, and an eye on the store."""

from __future__ import annotations

import anyio
import pytest

from _taskqueue.domain.durability import Durability
from _taskqueue.metrics import Metrics
from _taskqueue.store.store import Store
from _taskqueue.upkeep import sampler
from tests.conftest import submission

pytestmark = pytest.mark.anyio


async def test_a_store_that_was_made_unfit_is_told_of(
    store: Store, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sampler, "CHECK_S", 0.0)
    monkeypatch.setattr(sampler, "SAMPLE_S", 0.01)
    stopping = anyio.Event()
    async with anyio.create_task_group() as group:
        await group.start(sampler.Sampler(store, metrics, Durability.PRIMARY, stopping).run)
        await anyio.sleep(0.1)
        before = caplog.text
        await store.command("spoil", "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            with anyio.fail_after(5):
                while "may evict keys (maxmemory-policy allkeys-lru)" not in caplog.text:
                    await anyio.sleep(0.01)
        finally:
            await store.command("mend", "CONFIG", "SET", "maxmemory-policy", "noeviction")
            stopping.set()

    assert "evict" not in before


async def test_the_gauges_show_every_queue(store: Store, metrics: Metrics, new_id: object) -> None:
    await store.submit("default", [(new_id(), submission())])  # type: ignore[operator]

    await sampler.Sampler(store, metrics, Durability.PRIMARY, anyio.Event()).sample()

    labels = {"queue": "default", "state": "pending"}
    assert metrics.registry.get_sample_value("taskqueue_queue_tasks", labels) == 1
