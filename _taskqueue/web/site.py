"""The API of one process: makes its parts, decides who may use it, runs what has to run beside the server."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus

from _taskqueue.domain.errors import UsageError
from _taskqueue.life import Life
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.settings import Loaded, Settings, TokenTerms, token_terms
from _taskqueue.store.browse import Browse
from _taskqueue.store.patience import until_answered
from _taskqueue.store.store import Store
from _taskqueue.web.access import Access, is_loopback, new_token
from _taskqueue.web.acts import ActsApi
from _taskqueue.web.app import create_app
from _taskqueue.web.audit import Audit
from _taskqueue.web.catalog import Catalog
from _taskqueue.web.connection import guard
from _taskqueue.web.cursors import Cursors
from _taskqueue.web.docs import DocsPages
from _taskqueue.web.events import EventsApi, Live
from _taskqueue.web.express import Express
from _taskqueue.web.health import Health, HealthApi
from _taskqueue.web.idempotency import Idempotency
from _taskqueue.web.openapi import OpenApi
from _taskqueue.web.operations import OperationsApi
from _taskqueue.web.pressure import Pressure
from _taskqueue.web.queues import QueuesApi
from _taskqueue.web.reading import body_bytes_max
from _taskqueue.web.routing import Mounted
from _taskqueue.web.session import SessionApi
from _taskqueue.web.stats import StatsApi
from _taskqueue.web.submit import SubmitApi
from _taskqueue.web.tasks import TasksApi
from _taskqueue.web.ui import UiPages
from _taskqueue.web.workers import WorkersApi

TOKEN_FILE = "token"  # noqa: S105 - the name of a file
GENERATED = "generated"

log = logging.getLogger("taskqueue.access")


class Site:
    """The API, ready to be served.

    Args:
        access: who may use it.
        secret: signs cursors and sessions.
    """

    def __init__(
        self, producer: Producer, metrics: Metrics, health: Health, life: Life, loaded: Loaded, access: Access, secret: bytes
    ) -> None:
        store, stopping = producer.store, life.stopping
        own = producer.own_tasks() if "worker" in loaded.settings.roles else {}
        browse, catalog = Browse(store), Catalog(store, own, strict=loaded.settings.strict_tasks)
        self.mounted, self.audit = Mounted(), Audit(store)
        self._live, self._pressure = Live(store, stopping), Pressure(store, stopping)
        submit = SubmitApi(producer, metrics, catalog, Idempotency(store), self._pressure, stopping)
        self.quart = create_app(
            [
                submit,
                TasksApi(producer, browse, catalog, Cursors(secret), stopping),
                ActsApi(producer, catalog, submit),
                StatsApi(store, browse),
                QueuesApi(producer, browse),
                WorkersApi(store, catalog),
                OperationsApi(producer, browse),
                EventsApi(self._live, stopping),
                SessionApi(access, self.audit, loaded),
                HealthApi(health, loaded.settings.roles),
                OpenApi(self.mounted),
                DocsPages(),
                UiPages(),
            ],
            access, self.audit, metrics, self.mounted, loaded.settings.cors_origins,
        )  # fmt: skip
        found = next(one for one in self.mounted.routes if (one.method, one.path) == ("POST", "/tasks"))
        self.app: Any = guard(Express(self.quart, submit, found, access, metrics, body_bytes_max(producer)))

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run what the API needs beside its server, until the process stops."""
        async with anyio.create_task_group() as group:
            await group.start(self._live.run)
            await group.start(self._pressure.run)
            task_status.started()


async def open_site(producer: Producer, metrics: Metrics, health: Health, life: Life, loaded: Loaded, urls: Iterable[str]) -> Site:
    """The API with the access that the settings ask for. Raises UsageError, StoreError."""
    secret = await until_answered(partial(read_secret, producer.store))
    access = open_access(loaded.settings, secret, next(iter(urls), ""))
    return Site(producer, metrics, health, life, loaded, access, secret)


async def read_secret(store: Store) -> bytes:
    """What signs cursors and sessions, the same in every replica; made at the first start. Raises StoreError."""
    found: bytes = await store.run("secret", "", secrets.token_bytes(32))
    return found


def open_access(settings: Settings, secret: bytes, url: str) -> Access:
    """Who may use this process' API. Raises UsageError."""
    tokens, loopback = settings.tokens, is_loopback(settings.host)
    guarded = not tokens and not loopback
    if guarded:
        tokens = _generated(settings, url)
    hosts = settings.allowed_hosts | {"localhost"} if (loopback and not tokens) or settings.allowed_hosts else None
    return Access(tokens, guarded=guarded, rate_s=settings.rate_limit_s, hosts=hosts, secret=secret)


def _generated(settings: Settings, url: str) -> tuple[TokenTerms, ...]:
    if settings.redis_url is not None:
        log.warning("open to %s without --tokens: only submitting and reading a task by its id is possible here", settings.host)
        return (token_terms("nobody", (), new_token()),)
    token = _keep_token(settings.data_dir / TOKEN_FILE)
    log.info("open to %s: submitting needs no token, all else does: %s/ui/#token=%s", settings.host, url, token)
    return (token_terms(GENERATED, ("admin",), token),)


def _keep_token(path: Path) -> str:
    """The token in this file, which only its owner can read; made when it is not there. Raises UsageError."""
    try:
        if path.exists():
            return path.read_text(encoding="utf-8").strip()
        token = new_token()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(token + "\n")
        return token
    except OSError as error:
        raise UsageError(f"cannot keep the token in {path}: {error.strerror}; set --tokens") from None
