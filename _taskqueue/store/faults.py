"""One reading of everything that can go wrong with Redis, used by every loop and by the API."""

from __future__ import annotations

import re

import redis.exceptions as rx

from _taskqueue.domain.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable

PASSING_FAULTS = (
    rx.ConnectionError,  # refused, reset, LOADING, too many clients
    rx.TimeoutError,
    rx.ReadOnlyError,  # talking to a replica after a failover
    rx.ClusterError,  # down, or "TTL exhausted": a slot that is being moved answers TRYAGAIN for longer than redis-py asks
    rx.InvalidResponse,  # what came is no answer: the connection is useless, not the store
    rx.TryAgainError,
    rx.MasterDownError,
    rx.MovedError,
    rx.AskError,
    rx.RedisClusterException,
    OSError,
)
_PASSING_PREFIXES = ("BUSY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "TRYAGAIN", "UNBLOCKED")
_PERMISSION = re.compile(r"NOPERM|has no permissions|ACL failure|The user executing the script can't")


def rights(namespace: str) -> str:
    """The advice that gives a user of the store what the queue needs, and little more."""
    return f"allow it: ACL SETUSER <user> ~{namespace}:* ~{{{namespace}}}:* +@all -@dangerous +info"


def translate(error: Exception, namespace: str = "taskqueue") -> StoreError | None:
    """The product's own error for an exception of redis-py; None for what is none of it.

    What Redis refuses for a reason unknown (a key of the wrong type, a script that fails) is an error of that call too:
    other queues go on, and the loop that met it says so and tries again.
    """
    error = _as_told(error)
    if _is_full(error):
        return StoreFull("the store has reached its memory limit and accepts no more data")
    said = _first_line(error)
    if isinstance(error, rx.AuthenticationError):
        return StoreRefused(f"the store refuses the login: {said}", "see the user and the password in --redis-url")
    if isinstance(error, rx.NoPermissionError) or (isinstance(error, rx.ResponseError) and _PERMISSION.search(said)):
        return StoreRefused(f"the store's user lacks a permission: {said}", rights(namespace))
    if isinstance(error, PASSING_FAULTS) or (isinstance(error, rx.ResponseError) and said.startswith(_PASSING_PREFIXES)):
        return _passing(error, said)
    if isinstance(error, rx.ResponseError):
        return StoreRefused(f"the store refuses a command: {said}", "see --redis-url and --namespace")
    return None


def _passing(error: Exception, said: str) -> StoreUnavailable:
    if isinstance(error, rx.ReadOnlyError):
        return StoreUnavailable(f"the store takes no writes: {said}", "name its master with --redis-url")
    answers = isinstance(error, (rx.BusyLoadingError, rx.ResponseError))
    return StoreUnavailable(f"the store {'is not ready' if answers else 'does not answer'}: {said}")


def kind_of(error: Exception) -> str:
    """A short, bounded name of the fault for a metric label."""
    error = _as_told(error)
    if _is_full(error):
        return "full"
    if isinstance(error, (rx.TimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(error, rx.BusyLoadingError):
        return "loading"
    if isinstance(error, rx.AuthenticationError):
        return "auth"
    if isinstance(error, (rx.ConnectionError, OSError)):
        return "connection"
    return "reply"


def _as_told(error: Exception) -> Exception:
    """On a unix socket redis-py wraps what the server answers while a connection is made, so that a refused login looks like
    a refused connection.
    """
    cause = error.__cause__
    return cause if isinstance(error, rx.ConnectionError) and isinstance(cause, rx.RedisError) else error


def _is_full(error: Exception) -> bool:
    return isinstance(error, rx.OutOfMemoryError) or str(error).startswith("OOM")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].partition(" script: ")[0].rstrip(".")
