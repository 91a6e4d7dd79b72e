"""How the free slots of a worker are shared among its queues: starts in proportion to the weights of the hungry.

After start-time fair queueing (Goyal, Vin and Cheng, 1996): each claimant counts what it was served, divided by its weight;
who was served least comes first, and one that was idle joins where the others are, without credit for its absence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

PREFETCH_MAX = 300


class Claimant(Protocol):
    """One queue's claim on slots."""

    weight: float
    hungry: bool
    """the store may have more than it gave"""
    asking: int
    """how many tasks the call in flight may bring"""
    served: float
    """tasks it got, divided by its weight"""

    def wake(self) -> None: ...


class Shares:
    """Decides who may ask for how many tasks.

    Args:
        free: how many slots have neither a task nor one waiting; negative while some is prefetched.
        claimants: everybody there is.
    """

    def __init__(self, free: Callable[[], int], claimants: Callable[[], Collection[Claimant]]) -> None:
        self._free, self._claimants = free, claimants
        self._waiting: dict[Claimant, None] = {}
        self._paces = deque([0], maxlen=2)
        self._reached = 0.0
        """where the last to be served stood"""

    def note_pace(self, finished: int) -> None:
        """Tell how many tasks ended during a call."""
        self._paces.append(finished)

    @property
    def room(self) -> int:
        """Free slots, and what will be free when two calls have come and gone, so slow tasks are not held ready.

        With that the next call leaves as soon as one has come, and the store works on it while the slots run what came.
        """
        return self._free() + min(PREFETCH_MAX, 2 * max(self._paces))

    def room_for(self, one: Claimant) -> int:
        """How many tasks it may ask for. Whole numbers: the fraction that is left is for whoever was served least."""
        others = [other for other in self._claimants() if other is not one]
        room = self.room - sum(other.asking for other in others)
        if room <= 0:
            return 0
        rivals = [other for other in others if other.hungry or other.asking]
        share = room * one.weight / (one.weight + sum(rival.weight for rival in rivals))
        first = all(one.served <= rival.served for rival in rivals)
        return math.ceil(share) if first else math.floor(share)

    def join(self, one: Claimant) -> None:
        """It is hungry from now on."""
        if not one.hungry and not one.asking:
            one.served = max(one.served, self._reached)
        one.hungry = True

    def serve(self, one: Claimant, count: int) -> None:
        """It got so many tasks."""
        if count:
            self._reached = max(self._reached, one.served)
            one.served += count / one.weight

    def wait(self, one: Claimant) -> None:
        """It found no room; it is woken when there is some."""
        self._waiting[one] = None

    def spread(self) -> None:
        """Wake those who found no room, as many as there is room for: the hungry first, who was served least first."""
        if self._waiting and (room := self.room) > 0:
            for one in sorted(self._waiting, key=lambda one: (not one.hungry, one.served))[:room]:
                del self._waiting[one]
                one.wake()
