"""Who owns what a handler starts: every asyncio task that is created while a handler runs belongs to its attempt.

The event loop asks :class:`Ownership` to make its tasks. One that a handler makes (seen by the context variable that tells
the running task) is noted with its attempt, so that it can be ended with it, and cannot end the process: a SystemExit or
KeyboardInterrupt of an asyncio task leaves the event loop (docs.python.org, asyncio.Task), so it becomes an error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context as Variables
from typing import Any

from _taskqueue.domain.task import message_of
from _taskqueue.tasks.context import current_context, desk_of
from _taskqueue.work.calls import FORKED, HandlerQuit
from _taskqueue.work.run import REMIND_FIRST_S, REMIND_MAX_S, Run

NAMES_SHOWN_MAX = 5

log = logging.getLogger("taskqueue.worker")

AnyTask = asyncio.Task[Any]
Factory = Callable[..., Any]


class Ownership:
    """Makes the tasks of one event loop, and ends what handlers leave behind."""

    def __init__(self) -> None:
        self._before: Factory | None = None
        self._made_by: Factory = self._make
        self._left: dict[AnyTask, tuple[float, float]] = {}
        """what was left behind → when it is cancelled again, and how long after that"""

    def begin(self) -> None:
        """Make the tasks of the running loop from now on."""
        loop = asyncio.get_running_loop()
        self._before = loop.get_task_factory()
        loop.set_task_factory(self._made_by)

    def keep(self) -> None:
        """Make them again when somebody has set another factory."""
        loop = asyncio.get_running_loop()
        if loop.get_task_factory() != self._made_by:
            log.warning("somebody set the task factory of the worker's event loop; it is set back")
            loop.set_task_factory(self._made_by)

    def end(self) -> None:
        """Leave it to whoever did before."""
        asyncio.get_running_loop().set_task_factory(self._before)

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        variables: Variables | None = options.get("context")
        context = current_context.get(None) if variables is None else variables.get(current_context)
        run = None if context is None else desk_of(context)
        if not isinstance(run, Run) or not asyncio.iscoroutine(coroutine):
            return self._made(loop, coroutine, options)
        children = run.children
        if children is None:
            children = run.children = set()
        task = self._made(loop, _contained(coroutine), options)
        children.add(task)

        def ended(task: AnyTask) -> None:
            children.discard(task)
            coroutine.close()  # cancelled before it began, it would complain that nobody awaited it

        task.add_done_callback(ended)
        if run.over:
            self._put_off(run, task)
        return task

    def _put_off(self, run: Run, task: AnyTask) -> None:
        """What was left behind starts more: each of them lives longer than the one before, or they would keep the loop busy."""
        task.add_done_callback(_note_end)
        run.late_tasks += 1
        if run.late_tasks == 1:
            log.warning(
                "what task %s (%s) left running starts asyncio tasks again, which are cancelled: %s", run.id, run.spec.name, _name_of(task)
            )
        pause_s = min(REMIND_FIRST_S * 2 ** min(run.late_tasks, 16), REMIND_MAX_S)
        self._left[task] = (time.monotonic() + pause_s, pause_s)

    def _made(self, loop: asyncio.AbstractEventLoop, coroutine: Any, options: dict[str, Any]) -> Any:
        return asyncio.Task(coroutine, loop=loop, **options) if self._before is None else self._before(loop, coroutine, **options)

    def disown(self, run: Run) -> None:
        """An attempt has ended: cancel what it left running, and say so."""
        left = [task for task in run.children or () if not task.done()]
        if not left:
            return
        names = ", ".join(sorted(_name_of(task) for task in left)[:NAMES_SHOWN_MAX])
        log.warning("task %s (%s) left %d asyncio tasks running, which are cancelled: %s", run.id, run.task_name, len(left), names)
        for task in left:
            self.end_task(task)

    def end_task(self, task: AnyTask) -> None:
        """Cancel a task that nobody waits for any more, again and again until it ends."""
        task.add_done_callback(_note_end)
        task.get_loop().call_soon(task.cancel)  # once it has begun: what it is to await complains if nobody ever does
        self._left[task] = (time.monotonic() + REMIND_FIRST_S, 2 * REMIND_FIRST_S)

    def remind(self, now: float) -> None:
        """Cancel once more what goes on all the same."""
        for task, (again_at, pause_s) in list(self._left.items()):
            if task.done():
                del self._left[task]
            elif again_at <= now:
                task.cancel()
                self._left[task] = (now + pause_s, min(2 * pause_s, REMIND_MAX_S))

    def abandon(self, runs: Iterable[Run]) -> None:
        """The worker ends: ask all of it once more."""
        for task in [*self._left, *(task for run in runs for task in run.children or ())]:
            task.cancel()


def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    wrapped: Any = _run(coroutine)
    wrapped.__qualname__ = getattr(coroutine, "__qualname__", wrapped.__qualname__)
    return wrapped


async def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise HandlerQuit(f"{type(error).__name__}: {message_of(error)}") from error
    finally:
        if FORKED:
            os._exit(0)  # the copy of a fork


def _note_end(task: AnyTask) -> None:
    """Nobody else asks how a task ended that was left behind."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("what a handler left running ended with %s: %s", type(error).__name__, message_of(error))


def _name_of(task: AnyTask) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))
