"""Opens the store that the settings name: embedded, shared, or in memory; ready to use, or a clear error."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import StoreUnavailable, UsageError
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.store.connect import Connector
from _taskqueue.store.embedded import run_embedded
from _taskqueue.store.patience import REACH_S
from _taskqueue.store.store import Store
from _taskqueue.store.trial import try_out

LOAD_S = 600.0
PAUSE_S = 0.25

log = logging.getLogger("taskqueue.store")


@asynccontextmanager
async def open_store(settings: Settings, metrics: Metrics) -> AsyncIterator[Store]:
    """The store, for the length of the block.

    Raises:
        UsageError: it cannot be reached, must not be used as it is, or the embedded one cannot run here.
    """
    async with AsyncExitStack() as stack:
        url = settings.redis_url
        if url is None:
            embedded = await stack.enter_async_context(run_embedded(settings.data_dir, settings.fsync))
            url = embedded.url
            log.info(embedded.describe())
        connector = Connector(url)
        store = Store(
            connector, metrics, namespace=settings.namespace, lease_ms=int(settings.lease_s * 1000),
            head_start_ms=settings.head_start_ms, max_crashes=settings.max_crashes,
        )  # fmt: skip
        try:
            warnings = await _until_ready(store, connector, settings.durability)
            if settings.redis_url is not None:
                log.info("store %s", connector.shown)
            for warning in warnings:
                log.warning(warning)
            yield store
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await store.aclose()


async def _until_ready(store: Store, connector: Connector, level: Durability) -> list[str]:
    began = anyio.current_time()
    while True:
        try:
            warnings = await store.check(level)
            await try_out(store)
            return warnings
        except StoreUnavailable as error:
            loading = "loading" in str(error).lower()
            if anyio.current_time() - began > (LOAD_S if loading else REACH_S):
                raise UsageError(f"cannot use the store at {connector.shown}: {error}; {error.remedy}") from None
            await anyio.sleep(PAUSE_S)
