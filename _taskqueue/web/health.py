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
import msgspec
from quart import Response

from _taskqueue import __version__
from _taskqueue.domain.errors import StoreError
from _taskqueue.life import Life
from _taskqueue.store.store import Store
from _taskqueue.web.problems import json_response
from _taskqueue.web.routing import Scope, route

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
        status = "failed" if self._life.failed else "stalled" if self._life.stalled() else "ok"
        return (200 if status == "ok" else 503), {"status": status}

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and document of ``/readyz``."""
        checks = {
            "started": self._life.ready or self._life.stopping.is_set(),
            "not_stopping": not self._life.stopping.is_set(),
            "store": await self._ask_store(),
            "resources": not self._life.lacking(),
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
        except StoreError:
            pass
        self._asked_at, self._store_is_well = time.monotonic(), well
        return well


class HealthView(msgspec.Struct):
    """Whether the process lives, or is ready."""

    status: str
    checks: dict[str, bool] = {}


class HealthQuery(msgspec.Struct):
    """Query of the probes; the checks are always listed."""

    verbose: str = ""


class VersionView(msgspec.Struct):
    """What runs here."""

    version: str
    python: str
    roles: list[str]


class HealthApi:
    """The probes on the port of the API."""

    def __init__(self, health: Health, roles: Iterable[str]) -> None:
        self._health = health
        self._about = VersionView(__version__, platform.python_version(), sorted(roles))

    @route("GET", "/livez", scope=Scope.NONE, answers={200: HealthView, 503: HealthView})
    async def livez(self) -> Response:
        """Whether the process is not wedged; never asks the store."""
        status, document = self._health.live()
        return json_response(document, status)

    @route("GET", "/readyz", scope=Scope.NONE, query=HealthQuery, answers={200: HealthView, 503: HealthView})
    async def readyz(self, query: HealthQuery) -> Response:
        """Whether the process can work: started, not stopping, the store takes writes, threads can be had."""
        status, document = await self._health.ready()
        return json_response(document, status)

    @route("GET", "/healthz", scope=Scope.NONE, query=HealthQuery, answers={200: HealthView, 503: HealthView})
    async def healthz(self, query: HealthQuery) -> Response:
        """The same as /readyz."""
        return await self.readyz(query)

    @route("GET", "/version", scope=Scope.NONE, answers={200: VersionView})
    async def version(self) -> Response:
        """What runs here."""
        return json_response(self._about)
