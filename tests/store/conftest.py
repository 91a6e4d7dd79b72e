"""The desk on each kind of server, and each kind as the only one of this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _taskqueue.store import embedded
from _taskqueue.store.engines import ServerBinary
from _taskqueue.store.store import Store
from tests.store.desk import Desk
from tests.store.folders import server_of


@pytest.fixture
def desk(any_store: Store, new_id: Callable[[], str]) -> Desk:
    """A queue on each kind of server in turn."""
    return Desk(any_store, new_id)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ServerBinary]:
    """Makes one kind of server the only one of this machine."""

    def choose(kind: str) -> ServerBinary:
        server = server_of(kind)
        monkeypatch.setattr(embedded, "find_servers", lambda: [server])
        return server

    return choose


@pytest.fixture(params=["valkey", "redis"])
def each_kind(request: pytest.FixtureRequest, only: Callable[[str], ServerBinary]) -> ServerBinary:
    """Each kind of server in turn is the only one."""
    return only(str(request.param))
