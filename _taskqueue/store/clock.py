"""The store's clock, as its answers tell it: the one that all times shown to people are read from."""

from __future__ import annotations

import time
from collections.abc import Callable

TRUSTED_S = 10.0
"""An answer that took longer to come tells a time that is past, so the promptest counts, for this long: then the store's
clock may have been set.
"""


class StoreClock:
    """Tells the store's time between its answers. Callable from any thread.

    Args:
        monotonic: seconds that only grow, to count on from an answer.
        wall: seconds since 1970 by this machine's own clock, which stands in before the first answer.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic, self._wall = monotonic, wall
        self._base_ms: float | None = None
        """the store's time when the monotonic one was 0"""
        self._noted_s = 0.0

    def note(self, now_ms: int) -> None:
        """An answer came, given at this time of the store."""
        at_s = self._monotonic()
        base_ms = now_ms - at_s * 1000
        if self._base_ms is None or base_ms >= self._base_ms or at_s - self._noted_s > TRUSTED_S:
            self._base_ms, self._noted_s = base_ms, at_s

    @property
    def ahead_s(self) -> float:
        """How far it is ahead of the monotonic clock."""
        return self._wall() - self._monotonic() if self._base_ms is None else self._base_ms / 1000

    def now_ms(self) -> int:
        """The store's time, milliseconds since 1970: behind it by what the promptest answer took to come."""
        if self._base_ms is None:
            return int(self._wall() * 1000)
        return int(self._base_ms + self._monotonic() * 1000)
