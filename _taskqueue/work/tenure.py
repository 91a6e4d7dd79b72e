"""How long a lease is sure to be held here: a worker that slept must start nothing that may be another's by now."""

from __future__ import annotations

import math
import time

from _taskqueue.store.store import Store

SURE_PART = 0.75
"""Of a lease that is sure to be left when a call was answered (settle_and_claim.lua renews it below that)."""


class Tenure:
    """One lease, by ``time.monotonic()``; and the store's clock, as the answers of its line tell it."""

    def __init__(self, store: Store) -> None:
        self.until = -math.inf
        """until then the lease is sure to be held"""
        self._sure_s = store.lease_ms / 1000 * SURE_PART
        self._clock = store.clock
        self._ahead_s = self._ahead_at_most_s = store.clock.ahead_s
        """how far the store's clock is ahead of the monotonic one"""

    @property
    def lasts(self) -> bool:
        """Whether the lease is sure to be held now."""
        return time.monotonic() < self.until

    @property
    def renewed_at(self) -> float:
        """When the last call that kept the lease alive was sent, or later."""
        return self.until - self._sure_s

    def begin(self, sent_at: float) -> None:
        """A new lease was opened by a call that was sent then."""
        self.until = sent_at + self._sure_s

    def renew(self, sent_at: float) -> None:
        """A call that was sent then kept the lease alive. Callable from the heartbeat's thread."""
        self.until = max(self.until, sent_at + self._sure_s)

    def answer(self, now_ms: int, sent_at: float) -> None:
        """A call that was sent then was answered."""
        self.renew(sent_at)
        self._ahead_at_most_s = now_ms / 1000 - sent_at
        self._ahead_s = self._clock.ahead_s

    def late_answer(self, now_ms: int) -> None:
        """A call was answered that waited at the store, and may have been carried out long ago, if this process slept since."""
        self.renew(min(time.monotonic(), now_ms / 1000 - self._ahead_at_most_s))

    def store_ms(self, now: float) -> int:
        """The store's clock at a time of the monotonic one: all times that people see are told by it."""
        return int((now + self._ahead_s) * 1000)
