"""The heartbeat: an OS thread that renews leases even while a handler blocks the event loop.

Under ``time.sleep`` or a long computation a coroutine would be silent for the whole block; a thread is for 0.06 s at
most. It renews only while the loop still ticks within the stall limit: after that the tasks are better off elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import FrameType

from _taskqueue.domain.beat import Beat, Block
from _taskqueue.domain.errors import StoreError
from _taskqueue.metrics import Metrics
from _taskqueue.store.calls import BeatStore
from _taskqueue.store.store import Store
from _taskqueue.work.execution import run_on
from _taskqueue.work.line import Line

LOOK_S = 0.5
ANNOUNCE_S = 60.0
LAG_WORTH_A_WORD_S = 1.0
STACK_FRAMES = 6

log = logging.getLogger("taskqueue.heartbeat")


class Heartbeat:
    """Keeps the leases of one worker process alive.

    Args:
        lines: gives the lines whose leases to renew.
        describe: gives what others should know about this worker.
        tasks: the tasks it knows, name to JSON, told now and then.
        obey: called on the event loop with what this worker is told to do.
        lease_s: length of a lease; it is renewed after a sixth of it.
        stall_limit_s: how long the loop may be blocked before its tasks are given up.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        lines: Callable[[], Iterable[Line]],
        describe: Callable[[], Beat],
        tasks: Mapping[str, bytes],
        obey: Callable[[str], None],
        *,
        lease_s: float,
        stall_limit_s: float,
    ) -> None:
        self._store, self._metrics, self._lines, self._describe = store, metrics, lines, describe
        self._tasks, self._obey = tasks, obey
        self._announced_at = -ANNOUNCE_S
        self._every_s = lease_s / 6
        self._stall_limit_s = stall_limit_s
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._ticked_at = time.monotonic()
        self._asked_at = 0.0
        self._beat_at = 0.0
        self._last_words_said = False
        self.block: Block | None = None
        """the handler that blocks the loop now"""

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more. Returns at once; a call in flight ends by itself."""
        self._stop.set()

    @property
    def lag_s(self) -> float:
        """How long the event loop has not answered."""
        return max(0.0, time.monotonic() - self._asked_at) if self._asked_at > self._ticked_at else 0.0

    @property
    def stalled(self) -> bool:
        """The loop is blocked beyond the limit; this process should be restarted."""
        return self.lag_s > self._stall_limit_s

    def _run(self) -> None:
        beats = BeatStore(self._store)
        while not self._stop.wait(min(LOOK_S, self._every_s / 2)):
            self._look_at_the_loop()
            if self.stalled:
                self._say_last_words(beats)
            elif time.monotonic() - self._beat_at >= self._every_s:
                self._last_words_said = False
                self._beat(beats)
        beats.close()

    def _say_last_words(self, beats: BeatStore) -> None:
        if not self._last_words_said:
            self._last_words_said = True
            with suppress(StoreError):
                self._tell(beats)

    def _tell(self, beats: BeatStore) -> None:
        if order := beats.beat(self._describe()):
            self._call_loop(partial(self._obey, order))

    def _beat(self, beats: BeatStore) -> None:
        self._beat_at = time.monotonic()
        try:
            for line in list(self._lines()):
                if line.lease and time.monotonic() - line.tenure.renewed_at >= self._every_s:
                    self._renew(line, beats)
            self._tell(beats)
            if time.monotonic() - self._announced_at >= ANNOUNCE_S:
                beats.announce(self._tasks)
                self._announced_at = time.monotonic()
        except StoreError as error:
            log.debug("no heartbeat: %s", error)

    def _renew(self, line: Line, beats: BeatStore) -> None:
        lease, sent_at = line.lease, time.monotonic()
        if not beats.renew(line.queue, lease):
            self._call_loop(line.poke)
        elif line.lease == lease:
            line.tenure.renew(sent_at)

    def _look_at_the_loop(self) -> None:
        if self._asked_at <= self._ticked_at:
            self._asked_at = time.monotonic()
            self._call_loop(self._tick)
            return
        self._metrics.loop_lag_seconds.set(self.lag_s)
        if self.lag_s > LAG_WORTH_A_WORD_S and self.block is None:
            self._find_the_culprit(self.lag_s)

    def _find_the_culprit(self, lag_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way, odd name or not
        stack = _stack_of(frame) if frame else "(unknown)"
        run = run_on(frame)
        who = f"task {run.id} ({run.task_name})" if run else "a handler"
        self.block = run.blocks(lag_s, stack) if run else Block("", stack)
        log.warning("%s blocks the event loop for %.1f s now, at:\n%s", who, lag_s, stack)

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        lag_s = self._ticked_at - self._asked_at
        self._metrics.loop_lag_seconds.set(lag_s)
        if self.block is not None:
            log.warning("the event loop runs again after %.1f s; use a plain def for handlers that block", lag_s)
            self.block = None

    def _call_loop(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: the process is ending
            self._stop.set()


def _stack_of(frame: FrameType) -> str:
    """The last frames of a stack, those of a handler without ours around it."""
    frames = traceback.extract_stack(frame)
    ours = max((at for at, one in enumerate(frames) if "_taskqueue" in one.filename), default=-1)
    return "".join(traceback.format_list((frames[ours + 1 :] or frames)[-STACK_FRAMES:]))
