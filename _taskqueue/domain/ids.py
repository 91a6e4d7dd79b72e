"""Task ids: ``task`` and 26 characters of Crockford base32 that hold 48 bits of milliseconds, 16 bits of route and
64 random bits.

An id alone therefore sorts by time and names its queue (the route is the number the queue got when it was first used).
Crockford's alphabet: https://www.crockford.com/base32.html. Ids of one millisecond grow by a random step of up to
2**32, as in monotonic ULIDs, so that ties stay first in, first out, and an id does not give its neighbour away.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from itertools import accumulate

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PREFIX = "task"
ROUTES_MAX = 1 << 16

_SHAPE = re.compile(PREFIX + "[0-7][" + ALPHABET + "]{25}", re.ASCII)
_VALUE = {letter: value for value, letter in enumerate(ALPHABET)}
_THREE = [a + b + c for a in ALPHABET for b in ALPHABET for c in ALPHABET]
_STEPS_BYTES = 4096
AHEAD_MAX_MS = 60_000
"""How far the ids may run ahead of a clock that stepped back, to go on growing: beyond that it was wrong and was put right."""


def route_of(task_id: str) -> int | None:
    """The route number inside a task id, or None when the text is no task id."""
    if not _SHAPE.fullmatch(task_id):
        return None
    number = 0
    for letter in task_id[len(PREFIX) :]:
        number = number << 5 | _VALUE[letter]
    return number >> 64 & 0xFFFF


def created_ms_of(task_id: str) -> int:
    """When a task id was made: wall time of its process, milliseconds since 1970; 0 when the text is no task id."""
    if not _SHAPE.fullmatch(task_id):
        return 0
    number = 0
    for letter in task_id[len(PREFIX) : len(PREFIX) + 10]:
        number = number << 5 | _VALUE[letter]
    return number


def _show(low: int) -> str:
    """The last 13 characters."""
    return ALPHABET[low >> 60] + _THREE[low >> 45 & 32767] + _THREE[low >> 30 & 32767] + _THREE[low >> 15 & 32767] + _THREE[low & 32767]


class IdMint:
    """Makes task ids, each larger than the one before unless the clock steps back by more than AHEAD_MAX_MS.

    Args:
        clock_ms: wall time in milliseconds since 1970.
        entropy: ``entropy(n)`` gives n unpredictable bytes (``os.urandom``).
    """

    def __init__(self, clock_ms: Callable[[], int], entropy: Callable[[int], bytes]) -> None:
        self._clock_ms = clock_ms
        self._entropy = entropy
        self._ms = 0
        self._tail = 0
        self._steps: list[int] = []
        self._heads: dict[int, str] = {}

    def mint(self, route: int) -> str:
        """A fresh id for the queue with this route number."""
        ms = self._clock_ms()
        if not self._ms - AHEAD_MAX_MS <= ms <= self._ms:
            self._ms = ms
            self._heads.clear()
            self._tail = int.from_bytes(self._entropy(8), "big") >> 2
        else:
            self._tail += self._step()
        head = self._heads.get(route)
        if head is None:
            head = self._heads[route] = self._head(route)
        return head + _show((route & 1) << 64 | self._tail)

    def mint_many(self, route: int, count: int) -> list[str]:
        """Fresh ids for the queue with this route number, in order, all of one moment."""
        ids = [self.mint(route)]
        head, low = self._heads[route], (route & 1) << 64 | self._tail
        steps = [self._step() for _ in range(count - 1)]
        ids += [head + _show(one) for one in accumulate(steps, initial=low)][1:]
        self._tail += sum(steps)
        return ids

    def _step(self) -> int:
        if not self._steps:
            self._steps = array("I", self._entropy(_STEPS_BYTES)).tolist()
        return 1 + self._steps.pop()

    def _head(self, route: int) -> str:
        """The first 13 characters: milliseconds and all of the route but its lowest bit."""
        bits = self._ms << 15 | route >> 1
        return PREFIX + "".join(ALPHABET[bits >> shift & 31] for shift in range(60, -1, -5))
