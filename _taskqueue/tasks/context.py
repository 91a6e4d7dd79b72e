"""What a handler sees of its own task, and what it can do for it.

The context holds no power of its own: everything it does, it does through the Desk that the execution hands in.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

import anyio.lowlevel
import msgspec

from _taskqueue.domain.errors import Cancel, TaskqueueError
from _taskqueue.domain.ids import created_ms_of
from _taskqueue.domain.task import Claim, clip
from _taskqueue.tasks.conversion import encode_json
from _taskqueue.tasks.failures import text_of

MESSAGE_CHARS_MAX = 500
WHOLE_MAX = 2**63 - 1
"""The largest whole number that is kept as one."""


class Desk(Protocol):
    """What the execution does on behalf of a handler."""

    @property
    def task_name(self) -> str: ...

    @property
    def max_attempts(self) -> int: ...

    @property
    def worker(self) -> str: ...

    @property
    def state(self) -> Mapping[str, Any]: ...

    @property
    def cancel_asked(self) -> bool: ...

    def deadline_at(self) -> datetime: ...

    def remaining_s(self) -> float: ...

    def report_progress(self, done: float, total: float | None, message: str | None) -> None: ...

    async def save(self, packed: bytes) -> None: ...

    async def submit(self, task: str, payload: Any, options: Mapping[str, Any]) -> str: ...

    def keep_line(self, line: str) -> None: ...


class _Checkpoint:
    """Lets one method serve coroutines, which await it, and threads, which do not."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return anyio.lowlevel.checkpoint().__await__()


_CHECKPOINT = _Checkpoint()


class Context:
    """The running task, as its handler sees it."""

    __slots__ = ("_claim", "_desk", "_log")

    def __init__(self, claim: Claim, desk: Desk) -> None:
        self._claim = claim
        self._desk = desk
        self._log: AttemptLog | None = None

    @property
    def id(self) -> str:
        """The task's id."""
        return self._claim.id.decode()

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task: hand it to services that can drop repeats."""
        return self.id

    @property
    def task(self) -> str:
        """The handler's name."""
        return self._desk.task_name

    @property
    def queue(self) -> str:
        return self._claim.queue

    @property
    def attempt(self) -> int:
        """1 for the first; counts against ``max_attempts``."""
        return self._claim.attempt

    @property
    def max_attempts(self) -> int:
        return self._desk.max_attempts

    @property
    def is_last_attempt(self) -> bool:
        """A failure now makes the task dead."""
        return self._claim.attempt >= self._desk.max_attempts

    @property
    def created_at(self) -> datetime:
        """When the task was submitted, UTC."""
        return datetime.fromtimestamp(created_ms_of(self.id) / 1000, UTC)

    @property
    def deadline(self) -> datetime:
        """When this attempt times out, UTC."""
        return self._desk.deadline_at()

    def remaining(self) -> float:
        """Seconds until this attempt times out."""
        return self._desk.remaining_s()

    @property
    def tags(self) -> tuple[str, ...]:
        return self._claim.record.tags

    @property
    def meta(self) -> Mapping[str, str]:
        return self._claim.record.meta

    @property
    def worker(self) -> str:
        """The name of this worker process."""
        return self._desk.worker

    @property
    def payload_raw(self) -> bytes:
        """The payload as it was submitted: a JSON string's own characters, or JSON."""
        return self._claim.record.payload

    @property
    def state(self) -> Mapping[str, Any]:
        """What the ``@lifespan`` functions set up for this worker."""
        return self._desk.state

    @property
    def log(self) -> AttemptLog:
        """A logger whose lines carry the task's id and are kept with the attempt."""
        if self._log is None:
            self._log = AttemptLog({"task_id": self.id, "task": self.task, "attempt": self.attempt}, self._desk.keep_line)
        return self._log

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> Awaitable[None]:
        """Say how far the task is. Await it in a coroutine; in a thread just call it. The last word wins.

        Args:
            done: any finite number: int, float, Decimal, Fraction, or of a numeric library.

        Raises:
            TypeError: ``done`` or ``total`` is no number.
            ValueError: it is not finite.
        """
        self._desk.report_progress(_number("done", done), None if total is None else _number("total", total), _said(message))
        return _CHECKPOINT

    @property
    def cancelled(self) -> bool:
        """Somebody asked this task to stop, or its time is up. For handlers in threads, which nobody can interrupt."""
        return self._desk.cancel_asked

    def check_cancelled(self) -> None:
        """Raise Cancel when the task was asked to stop."""
        if self._desk.cancel_asked:
            raise Cancel("stopped on request")

    async def save(self, value: Any) -> None:
        """Keep a JSON value for the next attempts; returns when it is stored.

        Raises:
            TypeError: it has no JSON form.
            ValueError: it is larger than ``--max-result``, or holds a number that is not finite.
        """
        packed = encode_json(value)
        await self._desk.save(packed)
        self._claim.checkpoint = packed

    @property
    def saved(self) -> Any:
        """What ``save`` kept last, in this attempt or one before; None when there is nothing."""
        kept = self._claim.checkpoint
        return None if kept is None else msgspec.json.decode(kept)

    async def submit(self, task: str, payload: Any = None, **options: Any) -> str:
        """Submit another task; gives its id. Options as in ``POST /tasks``."""
        return await self._desk.submit(task, payload, options)


def _number(name: str, value: Any) -> float:
    """A number as JSON has it: whole ones stay whole as far as a float is not more exact."""
    if isinstance(value, (bool, str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"progress: {name} must be a number, not {type(value).__name__}")
    try:
        if isinstance(value, int) and abs(value) <= WHOLE_MAX:
            return int(value)
        number = float(value)
    except OverflowError:
        raise ValueError(f"progress: {name} is too large") from None
    if not math.isfinite(number):
        raise ValueError(f"progress: {name} must be finite, not {number}")
    return number


def _said(message: Any) -> str | None:
    """A message as it can be stored, whatever it is."""
    if message is None:
        return None
    return clip((message if isinstance(message, str) else repr(message)).encode(errors="replace").decode(), MESSAGE_CHARS_MAX)


current_context: ContextVar[Context] = ContextVar("taskqueue_context")


def desk_of(context: Context) -> Desk:
    """Who stands behind a context, for the worker."""
    return context._desk  # noqa: SLF001 - its own module


def current() -> Context:
    """The context of the task that runs here, for code deep in a call stack.

    Raises:
        TaskqueueError: no task runs here.
    """
    try:
        return current_context.get()
    except LookupError:
        raise TaskqueueError("no task runs here; current() works inside handlers") from None


class AttemptLog(logging.LoggerAdapter[logging.Logger]):
    """A standard logger with the task's fields on each record; every line is also kept with the attempt. Never raises."""

    def __init__(self, fields: Mapping[str, object], keep_line: Callable[[str], None]) -> None:
        super().__init__(logging.getLogger("taskqueue.handler"), fields)
        self._keep_line = keep_line

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log and keep a line, as the standard library's; what cannot be formatted or logged is said in the kept line."""
        try:
            if not self.isEnabledFor(level):
                return
            self._keep_line(_line(level, msg, args, kwargs.get("exc_info")))
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})
        except BaseException as error:  # noqa: BLE001 - a filter, a record factory or an argument of the handler's
            self._keep_line(f"{_stamp()} ERROR (the line above did not reach the log: {type(error).__name__})")


def _line(level: int, msg: object, args: tuple[object, ...], exc_info: Any) -> str:
    if len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
        args = args[0]  # type: ignore[assignment]  # %(name)s takes a mapping, as in logging.LogRecord
    try:
        said = str(msg) % args if args else str(msg)
    except BaseException as error:  # noqa: BLE001 - whatever a __str__ or __repr__ does
        said = f"(a line that cannot be formatted: {type(error).__name__})"
    said = f"{_stamp()} {logging.getLevelName(level)} {said}"
    return f"{said}\n{_traceback(exc_info)}" if exc_info else said


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _traceback(exc_info: Any) -> str:
    error = exc_info if isinstance(exc_info, BaseException) else exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1]
    return "" if error is None else text_of(error, error.__traceback__)
