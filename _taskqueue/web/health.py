"""Whether the process lives and is ready: ``/livez``, ``/readyz`` on both ports, ``/version`` on the API's.

Liveness never asks the store: a restart cannot cure an outage of it. Readiness does, with a write, since PING is fine in
a store that is wedged.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from typing import Any

import anyio
from quart import Blueprint, Response

from _taskqueue import __version__
from _taskqueue.domain.errors import StoreError, StoreUnsuitable
from _taskqueue.life import Life
from _taskqueue.store.store import Store
from _taskqueue.web.problems import json_response

STORE_ANSWER_S = 2.0
CACHED_S = 1.0


class Health:
    """Answers for one process. The store is told once it is open."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._store: Store | None = None
        self._asked_at = 0.0
        self._store_is_well = False

    def use(self, store: Store) -> None:
        """Ask this store from now on."""
        self._store = store

    def live(self) -> tuple[int, dict[str, Any]]:
        """Status and document of ``/livez``."""
        stalled = self._life.stalled()
        return (503 if stalled else 200), {"status": "stalled" if stalled else "ok"}

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and document of ``/readyz``."""
        checks = {
            "started": self._life.ready or self._life.stopping.is_set(),
            "not_stopping": not self._life.stopping.is_set(),
            "store": await self._ask_store(),
        }
        well = all(checks.values())
        return (200 if well else 503), {"status": "ok" if well else "unready", "checks": checks}

    async def _ask_store(self) -> bool:
        if self._store is None:
            return False
        if time.monotonic() - self._asked_at < CACHED_S:
            return self._store_is_well
        well = False
        try:
            with anyio.move_on_after(STORE_ANSWER_S):
                await self._store.ping()
                well = True
        except (StoreError, StoreUnsuitable):
            pass
        self._asked_at, self._store_is_well = time.monotonic(), well
        return well


def health_blueprint(health: Health, roles: Iterable[str]) -> Blueprint:
    """The routes of this resource."""
    routes = Blueprint("health", __name__)
    about = {"version": __version__, "python": platform.python_version(), "roles": sorted(roles)}

    @routes.get("/livez")
    async def livez() -> Response:
        status, document = health.live()
        return json_response(document, status)

    @routes.get("/readyz")
    async def readyz() -> Response:
        status, document = await health.ready()
        return json_response(document, status)

    @routes.get("/version")
    async def version() -> Response:
        return json_response(about)

    return routes
