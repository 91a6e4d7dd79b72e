"""Forgets finished tasks beyond their age or count, so that the store's memory has a bound."""

from __future__ import annotations

from itertools import cycle

from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.store.store import PAGE, Store

PAGES_MAX = 40
"""Pages a turn, so that one queue does not keep the others waiting."""


class Retention:
    """Prunes one state a turn, in rotation."""

    def __init__(self, store: Store, metrics: Metrics, settings: Settings) -> None:
        self._store, self._metrics = store, metrics
        self._keep = settings.retain_max
        self._ages_s = dict.fromkeys(TERMINAL, settings.retain_failed_s) | {State.SUCCEEDED: settings.retain_succeeded_s}
        self._turns = cycle([State.SUCCEEDED, State.DEAD, State.SUCCEEDED, State.CANCELLED, State.SUCCEEDED, State.EXPIRED])

    def next_state(self) -> State:
        """Whose turn it is. Succeeded tasks are the many, so theirs comes every second time."""
        return next(self._turns)

    async def prune(self, queue: str, state: State) -> int:
        """Forget what is over the bounds; gives how many. Raises StoreError."""
        total = 0
        for _ in range(PAGES_MAX):
            count = await self._store.prune(queue, state, age_s=self._ages_s[state], keep=self._keep)
            total += count
            if count < PAGE:
                break
        if total:
            self._metrics.trimmed.labels(self._metrics.queue_label(queue), state.value).inc(total)
        return total
