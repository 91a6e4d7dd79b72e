"""The desk on each kind of server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _taskqueue.store.store import Store
from tests.store.desk import Desk


@pytest.fixture
def desk(any_store: Store, new_id: Callable[[], str]) -> Desk:
    """A queue on each kind of server in turn."""
    return Desk(any_store, new_id)
