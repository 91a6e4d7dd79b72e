"""What is known of a worker that was lost: its last heartbeat, told with each task it held."""

from __future__ import annotations

from _taskqueue.domain.beat import Beat
from _taskqueue.domain.task import Failure
from _taskqueue.store.answers import Held

FULL = 0.9
"""From this part of its memory on, a process was probably killed for it."""
MIB = 1024 * 1024


class Witness:
    """The last beat of one worker.

    Args:
        last: the beat and how many seconds before it came; None when it is not known.
    """

    def __init__(self, last: tuple[Beat, float] | None) -> None:
        self._last = last

    def tell(self, held: Held, max_crashes: int) -> Failure:
        """How a task lost its worker."""
        beat = self._last[0] if self._last else None
        block = beat.block if beat else None
        stack = block.stack if block and block.task_id in ("", held.id.decode()) else ""
        said = f"the worker that ran it was lost (crash {held.crashes + 1} of {max_crashes}): {self._reason(held)}; {self._traces()}"
        return Failure("WorkerLost", said, stack)

    def _reason(self, held: Held) -> str:
        if self._last is None:
            return "nobody knows why"
        beat = self._last[0]
        if beat.stalled and beat.block and beat.block.task_id == held.id.decode():
            return f"this task blocked its event loop for more than {beat.lag_seconds:.0f} s"
        if beat.stalled:
            return f"its event loop was blocked for more than {beat.lag_seconds:.0f} s"
        if 0 < beat.memory_max_bytes * FULL < beat.memory_bytes:
            return "its memory was nearly used up, so it was probably killed for that"
        return "it was killed, or cut off from the store"

    def _traces(self) -> str:
        if self._last is None:
            return "it left no heartbeat"
        beat, silent_s = self._last
        limit = f" of {beat.memory_max_bytes // MIB}" if beat.memory_max_bytes else ""
        return f"last heartbeat {silent_s:.0f} s before, with {beat.busy} tasks running and {beat.memory_bytes // MIB}{limit} MiB of memory"
