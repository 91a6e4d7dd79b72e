"""How each fault of Redis is read: try again, full, refused, or a defect of ours."""

from __future__ import annotations

import pytest
import redis.exceptions as rx

from _taskqueue.domain.errors import StoreFull, StoreUnavailable
from _taskqueue.store.faults import kind_of, translate


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (rx.ConnectionError("refused"), "connection"),
        (rx.TimeoutError("no answer"), "timeout"),
        (rx.BusyLoadingError("LOADING"), "loading"),
        (rx.AuthenticationError("WRONGPASS"), "auth"),
        (rx.ReadOnlyError("READONLY"), "reply"),
        (rx.ResponseError("MISCONF no disk"), "reply"),
        (rx.ResponseError("NOREPLICAS not enough"), "reply"),
        (rx.ResponseError("BUSY a script runs"), "reply"),
        (rx.ClusterDownError("CLUSTERDOWN"), "reply"),
        (rx.ClusterError("TTL exhausted."), "reply"),
        (rx.InvalidResponse("no RESP"), "reply"),
        (OSError("broken pipe"), "connection"),
    ],
)
def test_a_passing_fault_is_worth_another_try(error: Exception, kind: str) -> None:
    assert isinstance(translate(error), StoreUnavailable)
    assert kind_of(error) == kind


@pytest.mark.parametrize("error", [rx.OutOfMemoryError("OOM"), rx.ResponseError("OOM command not allowed")])
def test_a_full_store_is_full(error: Exception) -> None:
    assert isinstance(translate(error), StoreFull)


@pytest.mark.parametrize("error", [rx.ResponseError("WRONGTYPE"), rx.NoPermissionError("NOPERM"), rx.ResponseError("ERR script failed")])
def test_what_redis_refuses_ends_that_call_and_no_loop(error: Exception) -> None:
    said = translate(error)

    assert isinstance(said, StoreUnavailable)
    assert str(error) in str(said)


@pytest.mark.parametrize("error", [rx.DataError("x"), ValueError("ours")])
def test_a_defect_of_ours_is_not_hidden(error: Exception) -> None:
    assert translate(error) is None
