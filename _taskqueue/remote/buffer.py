"""Submissions that are collected and sent together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, cast

from _taskqueue.remote.errors import ClientError, NotAllAccepted
from _taskqueue.remote.submission import BATCH_TASKS, NewTask, Result, Terms


class Buffer:
    """Sends what it was given in batches; at its end it raises when any task was not accepted.

    Args:
        send: submits many; gives for each its id or its error.
        terms: of all tasks that do not say otherwise.
    """

    def __init__(self, send: Callable[[Sequence[NewTask]], list[Result]], terms: Terms) -> None:
        self._send, self._terms = send, terms
        self._waiting: list[NewTask] = []
        self.results: list[Result] = []
        """of what was sent so far, in order"""

    def submit(self, payload: Any, **terms: Unpack[Terms]) -> None:
        """Take one task. Raises TypeError when its payload has no JSON."""
        self._waiting.append(NewTask(payload, **cast(Terms, {**self._terms, **terms})))
        if len(self._waiting) == BATCH_TASKS:
            self.flush()

    def flush(self) -> None:
        """Send what waits; errors stand in the results."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.results += self._send(waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Send the rest, after an error too: it was submitted. Raises NotAllAccepted, unless there is an error already."""
        self.flush()
        failed = [(place, result) for place, result in enumerate(self.results) if isinstance(result, ClientError)]
        if failed and error is None:
            raise NotAllAccepted(len(self.results), failed)
