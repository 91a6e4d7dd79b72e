"""Puts tasks back that are in no state: their record is there, but somebody deleted or replaced the index they stood in."""

from __future__ import annotations

import logging

from _taskqueue.domain.ids import route_of
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Outcome
from _taskqueue.store.store import Store

SHOWN_MAX = 5

log = logging.getLogger("taskqueue.mender")


class Mender:
    """Looks at one page of records a visit, and only while there are more records than tasks in states."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursors: dict[str, int] = {}

    async def mend(self, queue: str) -> int:
        """Put back what is found; gives how many. Raises StoreError."""
        cursor, found = await self._store.stateless(queue, self._cursors.get(queue, 0))
        self._cursors[queue] = cursor
        lost = [task_id for task_id in found if route_of(task_id.decode()) is not None]
        if not lost:
            return 0
        records, outcomes = await self._store.records(queue, lost), await self._store.outcomes(queue, lost)
        places = [
            (task_id, _state_after(outcome), record.priority)
            for task_id, record, outcome in zip(lost, records, outcomes, strict=True)
            if record is not None
        ]
        count = await self._store.mend(queue, places)
        shown = ", ".join(f"{task_id.decode()} ({state})" for task_id, state, _ in places[:SHOWN_MAX])
        more = f" and {len(places) - SHOWN_MAX} more" if len(places) > SHOWN_MAX else ""
        log.error(
            "queue %s: tasks were in no state, since something else changed its keys; they got one again, and those that wait "
            "may run a second time: %s%s",
            queue, shown, more, extra={"event": "task.mended"},
        )  # fmt: skip
        return count


def _state_after(outcome: Outcome | None) -> State:
    """An outcome is kept with the end of a task, so what has one has ended."""
    if outcome is None:
        return State.PENDING
    return State.DEAD if outcome.reason or outcome.failure else State.SUCCEEDED
