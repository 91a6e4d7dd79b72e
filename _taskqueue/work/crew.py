"""What the parts of a worker know of each other: as little as they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from _taskqueue.domain.task import Claim
from _taskqueue.work.rivals import Rivals
from _taskqueue.work.shares import Shares

if TYPE_CHECKING:
    from _taskqueue.work.line import Line


class Stoppable(Protocol):
    """A running attempt, as the line sees it."""

    def stop(self, cause: str) -> None: ...


class Crew(Protocol):
    """What a line needs to know of the whole worker."""

    @property
    def draining(self) -> bool: ...

    @property
    def closing(self) -> bool: ...

    @property
    def shares(self) -> Shares: ...

    @property
    def rivals(self) -> Rivals: ...

    def room_for(self, line: Line) -> int: ...

    def knows(self, task: str) -> bool: ...

    def admit(self, claims: list[Claim], suspects: list[Claim]) -> list[Claim]: ...
