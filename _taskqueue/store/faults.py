"""One reading of everything that can go wrong with Redis, used by every loop and by the API."""

from __future__ import annotations

import redis.exceptions as rx

from _taskqueue.domain.errors import StoreError, StoreFull, StoreUnavailable

PASSING_FAULTS = (
    rx.ConnectionError,  # refused, reset, LOADING, wrong password, too many clients
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


def translate(error: Exception) -> StoreError | None:
    """The product's own error for an exception of redis-py; None for what is none of it.

    What Redis refuses for a reason unknown (a key of the wrong type, a script that fails) is an error of that call too:
    other queues go on, and the loop that met it says so and tries again.
    """
    if _is_full(error):
        return StoreFull("the store has reached its memory limit and accepts no more data")
    if isinstance(error, PASSING_FAULTS):
        return StoreUnavailable(f"the store does not answer: {_first_line(error)}")
    if isinstance(error, rx.NoPermissionError):
        return StoreUnavailable(f"the store's user lacks a permission: {_first_line(error)}")
    if isinstance(error, rx.ResponseError):
        ready = "is not ready" if str(error).startswith(_PASSING_PREFIXES) else "refuses a command"
        return StoreUnavailable(f"the store {ready}: {_first_line(error)}")
    return None


def kind_of(error: Exception) -> str:
    """A short, bounded name of the fault for a metric label."""
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


def _is_full(error: Exception) -> bool:
    return isinstance(error, rx.OutOfMemoryError) or str(error).startswith("OOM")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
