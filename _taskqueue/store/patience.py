"""Patience: what a process needs before it can start is asked for until the store answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from _taskqueue.domain.errors import StoreRefused, StoreUnavailable, UsageError

PAUSE_S = 0.25
REACH_S = 5.0
"""How long a store may refuse before a start gives up."""

Value = TypeVar("Value")

log = logging.getLogger("taskqueue.store")


async def until_answered(call: Callable[[], Awaitable[Value]]) -> Value:
    """Call until the store answers. Raises what is no matter of time: StoreFull, UsageError, a refusal that lasts."""
    complained, began = False, anyio.current_time()
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            if isinstance(error, StoreRefused) and anyio.current_time() - began > REACH_S:
                raise UsageError(f"{error}; {error.remedy}") from None
            if not complained:
                log.warning("the start waits: %s", error)
                complained = True
            await anyio.sleep(PAUSE_S)
