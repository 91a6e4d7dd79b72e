"""A coroutine function on an event loop of its own, for a thread: there it may block without holding up anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from _taskqueue.tasks.spec import Submitter, current_submitter

END_S = 1.0

Value = TypeVar("Value")


class Aside:
    """Callable in a thread as the plain function that it stands for. Made on the worker's loop."""

    def __init__(self, function: Callable[..., Awaitable[Any]], submitter: Submitter) -> None:
        self._function = function
        self._submitter = _Ferry(submitter, asyncio.get_running_loop())
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def __call__(self, **arguments: Any) -> Any:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(self._main(arguments))
        finally:
            with suppress(Exception):
                loop.run_until_complete(_end_others())
            asyncio.set_event_loop(None)
            loop.close()

    async def _main(self, arguments: Mapping[str, Any]) -> Any:
        self._task = asyncio.current_task()
        current_submitter.set(self._submitter)
        if self._cancelled:
            raise asyncio.CancelledError
        return await self._function(**arguments)

    def cancel(self) -> None:
        """Cancel the function from the worker's loop; it may have ended."""
        self._cancelled = True
        if self._task is not None:
            with suppress(RuntimeError):  # its loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)


async def _end_others() -> None:
    """What the function left running gets a moment to end, and is no part of it."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=END_S)


class _Ferry:
    """Submits on the worker's loop what a handler submits on its own."""

    def __init__(self, submitter: Submitter, home: asyncio.AbstractEventLoop) -> None:
        self._submitter, self._home = submitter, home

    async def submit_task(self, task: str, payload: bytes, is_text: bool, queue: str, options: Mapping[str, Any]) -> str:
        """As Submitter."""
        return await ferry(self._submitter.submit_task(task, payload, is_text, queue, options), self._home)


async def ferry(call: Coroutine[Any, Any, Value], home: asyncio.AbstractEventLoop) -> Value:
    """Await a coroutine on the loop it belongs to, whatever loop runs here."""
    if asyncio.get_running_loop() is home:
        return await call
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, home))
