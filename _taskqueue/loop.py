"""Runs the event loop to the end of the program's own coroutine, whoever else tries to end it.

asyncio lets SystemExit and KeyboardInterrupt of any task or callback stop the loop, and so does ``loop.stop()``: the program
would be gone in the middle of its tasks, with a status that somebody else chose. Here the loop runs on until all is given back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, NoReturn

from _taskqueue.forks import connected_alike, epolls, keep_from_children, watched_by
from _taskqueue.life import Life
from _taskqueue.watchdog import Watchdog

EXIT_FAILED = 1
CLOSE_S = 1.0
"""What tasks that nobody owns get to end when the program has ended."""
VITAL_THREADS = frozenset({"heartbeat"})

log = logging.getLogger("taskqueue")

Main = Callable[[Life], Coroutine[Any, Any, int]]


def run(main: Main, watchdog: Watchdog) -> int:
    """Run a coroutine function on a new event loop, uvloop's where it is installed; gives the exit status.

    Args:
        main: gets the life of the process. What it raises is raised here.
    """
    loop = _new_loop()
    try:
        life = loop.run_until_complete(_begin(watchdog))
        threading.excepthook = partial(_report_thread, life)
        return _run_on(loop, loop.create_task(main(life)), life, watchdog)
    finally:
        with suppress(Exception):
            loop.run_until_complete(_close(loop))
        loop.close()


async def _begin(watchdog: Watchdog) -> Life:
    return Life(watchdog)


def _new_loop() -> asyncio.AbstractEventLoop:
    before = epolls()
    if find_spec("uvloop") is not None:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    loop.set_exception_handler(_report)
    asyncio.set_event_loop(loop)
    for epoll in epolls() - before:
        keep_from_children(partial(_all_of, epoll))
    return loop


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Errors that nobody caught; but clients that are still connected after the grace are cut off, which asyncio's streams
    report as a cancellation, and what stopped the loop was told then.
    """
    if not isinstance(context.get("exception"), (asyncio.CancelledError, SystemExit, KeyboardInterrupt)):
        loop.default_exception_handler(context)


def _all_of(epoll: int) -> list[int]:
    """What an event loop watches is of no use without it: listeners, connections, the store's among them."""
    watched = watched_by(epoll)
    return [*watched, *connected_alike(watched), epoll]


def _run_on(loop: asyncio.AbstractEventLoop, task: asyncio.Task[int], life: Life, watchdog: Watchdog) -> int:
    process = os.getpid()
    while True:
        try:
            status = loop.run_until_complete(task)
            return status or (EXIT_FAILED if life.failed else 0)
        except (SystemExit, KeyboardInterrupt) as error:
            if os.getpid() != process:
                _leave_copy(error)
            fail = partial(life.fail, f"{_shown(error)} was raised on the event loop", error)
            if task.done():
                fail()
            else:
                loop.call_soon(fail)
        except asyncio.CancelledError as error:
            if life.opening and life.stopping.is_set() and not life.failed:
                log.info("stopped before the store was open", extra={"event": "process.stopped"})
                return 0
            life.fail("the program was cancelled", error)
        except RuntimeError:
            if task.done():
                raise
            log.error("somebody stopped the event loop (loop.stop()); it runs on", extra={"event": "process.resumed"})
        finally:
            watchdog.forget_loop()
        if task.done():
            return EXIT_FAILED


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}({', '.join(map(repr, error.args))})"


def _leave_copy(error: BaseException) -> NoReturn:
    """A handler forked, and the copy ends as it was asked to: it is no second worker."""
    code = getattr(error, "code", EXIT_FAILED)
    os._exit(code if isinstance(code, int) else EXIT_FAILED if code else 0)


async def _close(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLOSE_S)
    await loop.shutdown_asyncgens()


def _report_thread(life: Life, died: threading.ExceptHookArgs) -> None:
    """The end of a thread by an error, as one record."""
    name = died.thread.name if died.thread is not None else "?"
    if name in VITAL_THREADS:
        life.thread_died(f"the {name} thread", died)
    elif died.exc_type is not SystemExit:
        log.error("the thread %s ended", name, exc_info=died.exc_value)
