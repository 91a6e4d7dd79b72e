"""How each fault of Redis is read: try again, full, refused, or a defect of ours."""

from __future__ import annotations

import pytest
import redis.exceptions as rx

from _taskqueue.domain.errors import StoreFull, StoreRefused, StoreUnavailable
from _taskqueue.store.faults import kind_of, translate


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (rx.ConnectionError("refused"), "connection"),
        (rx.TimeoutError("no answer"), "timeout"),
        (rx.BusyLoadingError("LOADING"), "loading"),
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


@pytest.mark.parametrize(
    ("error", "said", "remedy"),
    [
        (rx.ResponseError("WRONGTYPE"), "refuses a command: WRONGTYPE", "--namespace"),
        (rx.ResponseError("ERR script failed script: 3b, on @user_script:9."), "refuses a command: ERR script failed", "--namespace"),
        (rx.NoPermissionError("no permissions"), "lacks a permission: no permissions", "ACL SETUSER"),
        (rx.ResponseError("The user executing the script can't run this command"), "lacks a permission: The user", "ACL SETUSER"),
        (
            rx.ResponseError("ACL failure in script: me has no permissions to run the 'hset' command"),
            "lacks a permission",
            "ACL SETUSER",
        ),
        (rx.AuthenticationError("invalid username-password pair"), "refuses the login: invalid", "password"),
    ],
)
def test_what_redis_refuses_ends_that_call_and_no_loop(error: Exception, said: str, remedy: str) -> None:
    found = translate(error)

    assert isinstance(found, StoreRefused)
    assert said in str(found)
    assert "script:" not in str(found)
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("error", "said", "remedy"),
    [
        (rx.ConnectionError("refused"), "does not answer: refused", "start it"),
        (rx.BusyLoadingError("loading"), "is not ready: loading", "start it"),
        (rx.ResponseError("BUSY a script runs"), "is not ready: BUSY", "start it"),
        (rx.ReadOnlyError("a replica"), "takes no writes: a replica", "name its master"),
    ],
)
def test_what_passes_is_told_as_it_is(error: Exception, said: str, remedy: str) -> None:
    found = translate(error)

    assert isinstance(found, StoreUnavailable)
    assert not isinstance(found, StoreRefused)
    assert said in str(found)
    assert remedy in found.remedy


def test_what_the_server_said_counts_and_not_what_redis_py_made_of_it() -> None:
    error = rx.ConnectionError("invalid username-password pair")
    error.__cause__ = rx.AuthenticationError("invalid username-password pair")

    assert isinstance(translate(error), StoreRefused)
    assert kind_of(error) == "auth"


@pytest.mark.parametrize("error", [rx.DataError("x"), ValueError("ours")])
def test_a_defect_of_ours_is_not_hidden(error: Exception) -> None:
    assert translate(error) is None
