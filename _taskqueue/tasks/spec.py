"""``@task`` and its values."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from types import FunctionType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

import msgspec

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.durations import duration_s
from _taskqueue.domain.errors import HandlerError, TaskqueueError
from _taskqueue.domain.task import (
    MAX_ATTEMPTS_DEFAULT,
    MAX_ATTEMPTS_MAX,
    QUEUE_DEFAULT,
    QUEUE_NAME,
    TASK_NAME,
    TIMEOUT_DEFAULT_S,
    TaskInfo,
    message_of,
)
from _taskqueue.tasks.binding import Signature, read_signature
from _taskqueue.tasks.callables import is_coroutine_function, is_generator_function, label_of, name_of, place_of, plain_function
from _taskqueue.tasks.context import Context

Call = ParamSpec("Call")
Payload = ParamSpec("Payload")
Result = TypeVar("Result")
Errors = tuple[type[BaseException], ...]
Where = Literal["loop", "thread", "process"]


class Submitter(Protocol):
    """What ``enqueue`` needs of the producer side."""

    async def submit_task(self, task: str, payload: bytes, is_text: bool, queue: str, options: Mapping[str, Any]) -> str: ...


current_submitter: ContextVar[Submitter] = ContextVar("taskqueue_submitter")


DOC_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class TaskSpec(Generic[Call, Payload, Result]):
    """A declared task. Calling it calls the plain function."""

    function: Callable[Call, Result]
    name: str
    queue: str
    where: Where
    signature: Signature
    timeout_s: float | None
    max_attempts: int | None
    backoff: Backoff | None
    retry_on: Errors
    no_retry_on: Errors
    on_dead: Callable[..., Any] | None
    redact: bool | tuple[str, ...]
    submit_options: Mapping[str, Any]

    def __call__(self, *args: Call.args, **kwargs: Call.kwargs) -> Result:
        return self.function(*args, **kwargs)

    async def enqueue(self, *args: Payload.args, **kwargs: Payload.kwargs) -> str:
        """Submit this task with these arguments (without the context); gives its id.

        Raises:
            TypeError: the arguments do not fit.
            TaskqueueError: called where no queue is open (it works inside handlers).
        """
        submitter = current_submitter.get(None)
        if submitter is None:
            raise TaskqueueError(f"{self.name}.enqueue() works inside handlers; from elsewhere, POST /tasks")
        payload, is_text = self.signature.payload_of(args, kwargs)
        return await submitter.submit_task(self.name, payload, is_text, self.queue, self.submit_options)

    def options(self, **options: Any) -> TaskSpec[Call, Payload, Result]:
        """The same task with other terms of submission: ``delay``, ``priority``, ``tags``, … as in ``POST /tasks``."""
        return replace(self, submit_options={**self.submit_options, **options})

    @property
    def file(self) -> str:
        """Where the function stands, for messages."""
        return place_of(self.function)

    def describe(self) -> TaskInfo:
        """What others may know of this task: no code, only what a submission needs."""
        return TaskInfo(
            name=self.name,
            doc=(inspect.getdoc(plain_function(self.function)) or "").partition("\n")[0][:DOC_CHARS_MAX],
            queue=self.queue,
            where=self.where,
            timeout_s=self.timeout_s or TIMEOUT_DEFAULT_S,
            max_attempts=self.max_attempts or MAX_ATTEMPTS_DEFAULT,
            parameters=tuple(one.name for one in self.signature.parameters),
            schema=self.signature.schema,
            redact=self.redact,
        )

    def retries(self, error: BaseException) -> bool:
        """Whether this error is worth another attempt, by ``retry_on`` and ``no_retry_on``."""
        if isinstance(error, self.no_retry_on):
            return False
        return not self.retry_on or isinstance(error, (*self.retry_on, TimeoutError))


@dataclass(frozen=True, slots=True)
class Hook:
    """A function that runs around every task of a worker."""

    kind: Literal["lifespan", "on_failure", "middleware"]
    function: Callable[..., Any]


@overload
def task(function: Callable[Concatenate[Context, Payload], Result], /) -> TaskSpec[Concatenate[Context, Payload], Payload, Result]: ...
@overload
def task(function: Callable[Payload, Result], /) -> TaskSpec[Payload, Payload, Result]: ...
@overload
def task(
    *,
    name: str | None = None,
    queue: str = QUEUE_DEFAULT,
    timeout: float | str | timedelta | None = None,
    max_attempts: int | None = None,
    backoff: Backoff | Mapping[str, Any] | None = None,
    retry_on: Errors | type[BaseException] = (),
    no_retry_on: Errors | type[BaseException] = (),
    threads: bool = False,
    process: bool = False,
    on_dead: Callable[..., Any] | None = None,
    redact: bool | Sequence[str] = False,
) -> Declare: ...
def task(function: Any = None, /, **policy: Any) -> Any:
    """Declare a function as a task: bare, or with its policy.

    Args:
        name: the task's name; default the function's own.
        queue: where ``enqueue`` and submissions that name no queue put it.
        timeout: seconds, a duration such as "5m", or a timedelta, per attempt; default 60 s.
        max_attempts: 1 = never retried; default 5.
        backoff: a Backoff or its fields; default exponential from 1 s to 1 h with full jitter.
        retry_on: only these errors (and timeouts) are retried; default all.
        no_retry_on: these are not.
        threads: run in a thread; plain functions always do.
        process: run in a process of its own, which is killed on timeout or cancellation.
        on_dead: called with (context, error) when the task goes dead.
        redact: names of payload fields that nobody sees through the API, or True for the whole payload.

    Raises:
        HandlerError: a policy that cannot hold; names the function.
    """
    if function is None:
        return Declare(policy)
    return _declare(function, {})


class Declare:
    """``@task(...)`` waiting for its function."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        self._policy = policy

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, Payload], Result], /
    ) -> TaskSpec[Concatenate[Context, Payload], Payload, Result]: ...
    @overload
    def __call__(self, function: Callable[Payload, Result], /) -> TaskSpec[Payload, Payload, Result]: ...
    def __call__(self, function: Any, /) -> Any:
        return _declare(function, self._policy)


_OPTIONS = {
    "name", "queue", "timeout", "max_attempts", "backoff", "retry_on", "no_retry_on", "threads", "process", "on_dead", "redact",
}  # fmt: skip


def _declare(function: Callable[..., Any], policy: Mapping[str, Any]) -> TaskSpec[Any, Any, Any]:
    try:
        _check_function(function)
        return _spec(function, policy, f"task {label_of(function)}")
    except HandlerError:
        raise
    except Exception as error:  # noqa: BLE001 - a value of the user's that fails when it is looked at
        raise HandlerError(f"@task cannot use what it is given: {type(error).__name__}: {message_of(error)}") from None


def _spec(function: Callable[..., Any], policy: Mapping[str, Any], where: str) -> TaskSpec[Any, Any, Any]:
    for option in policy:
        if option not in _OPTIONS:
            raise HandlerError(f"{where}: unknown option {option!r}; choose from {', '.join(sorted(_OPTIONS))}")
    kind = _where(function, policy, where)
    return TaskSpec(
        function=_awaiting(function) if kind == "loop" and not inspect.iscoroutinefunction(function) else function,
        name=_name(function, policy.get("name"), where),
        queue=_checked(policy.get("queue", QUEUE_DEFAULT), QUEUE_NAME, "queue", where),
        where=kind,
        signature=read_signature(function, where),
        timeout_s=_timeout(policy.get("timeout"), where),
        max_attempts=_max_attempts(policy.get("max_attempts"), where),
        backoff=_backoff(policy.get("backoff"), where),
        retry_on=_errors(policy.get("retry_on", ()), "retry_on", where),
        no_retry_on=_errors(policy.get("no_retry_on", ()), "no_retry_on", where),
        on_dead=_on_dead(policy.get("on_dead"), where),
        redact=_redact(policy.get("redact", False), where),
        submit_options={},
    )


def _awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function of one that a plain decorator hides, and that may give its result without a coroutine."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return call


def _check_function(function: Any) -> None:
    if isinstance(function, TaskSpec):
        raise HandlerError(f"task {function.name}: it is a task already; decorate it once")
    if isinstance(function, str):
        raise HandlerError(f"@task takes its options by keyword; write @task(name={function!r})")
    if isinstance(function, (classmethod, property)):
        raise HandlerError(f"@task stands over a {type(function).__name__}; a task is a function of the module")
    if not callable(function):
        raise HandlerError(f"@task needs a function, not a value of type {type(function).__name__}")
    where = f"task {label_of(function)}"
    if isinstance(function, type):
        raise HandlerError(f"{where}: a class cannot be a task; decorate a function")
    if isinstance(function, FunctionType) and _is_method(function):
        raise HandlerError(f"{where}: a method cannot be a task, as nobody makes its object; decorate a function of the module")


def _is_method(function: FunctionType) -> bool:
    owner = function.__qualname__.rpartition(".")[0]
    return bool(owner) and not owner.endswith("<locals>") and function.__code__.co_varnames[:1] in {("self",), ("cls",)}


def _name(function: Callable[..., Any], name: Any, where: str) -> str:
    if name is not None:
        return _checked(name, TASK_NAME, "name", where)
    own = name_of(function)
    if own in {"", "<lambda>", "__call__"}:
        raise HandlerError(f"{where}: it has no name of its own; give it one with @task(name=…)")
    return _checked(own, TASK_NAME, "name", where)


def _checked(text: Any, shape: Any, what: str, where: str) -> str:
    if not isinstance(text, str):
        raise HandlerError(f"{where}: {what} must be a text, not a value of type {type(text).__name__}")
    if not shape.fullmatch(text):
        raise HandlerError(f"{where}: {text!r} is no {what}; it must match {shape.pattern}")
    return text


def _redact(value: Any, where: str) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(name, str) and name for name in value):
        raise HandlerError(f"{where}: redact takes True or a list of field names")
    return tuple(value)


def _on_dead(value: Any, where: str) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise HandlerError(f"{where}: on_dead takes a function, not a value of type {type(value).__name__}")
    found: Callable[..., Any] | None = value
    return found


def _where(function: Callable[..., Any], policy: Mapping[str, Any], where: str) -> Where:
    if is_generator_function(function):
        raise HandlerError(f"{where}: a generator cannot be a task; return a value instead of yielding")
    threads, process = policy.get("threads", False), policy.get("process", False)
    for option, value in (("threads", threads), ("process", process)):
        if not isinstance(value, bool):
            raise HandlerError(f"{where}: {option} takes True or False, not a value of type {type(value).__name__}")
    if threads and process:
        raise HandlerError(f"{where}: threads=True and process=True exclude each other")
    if process:
        return "process"
    is_async = is_coroutine_function(function)
    if is_async and threads:
        raise HandlerError(f"{where}: threads=True is for plain functions; drop it, or write def instead of async def")
    return "loop" if is_async else "thread"


def _timeout(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = duration_s(value)
    except (ValueError, TypeError) as error:
        raise HandlerError(f"{where}: timeout: {error}") from None
    if seconds <= 0:
        raise HandlerError(f"{where}: timeout must be longer than zero")
    return seconds


def _max_attempts(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ATTEMPTS_MAX:
        raise HandlerError(f"{where}: max_attempts must be a whole number from 1 to {MAX_ATTEMPTS_MAX}")
    return int(value)


def _errors(value: Any, what: str, where: str) -> Errors:
    found = value if isinstance(value, (tuple, list)) else (value,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise HandlerError(f"{where}: {what}: {_shown(one)} is no exception class")
    return tuple(found)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float, type)) else f"a value of type {type(value).__name__}"


def _backoff(value: Any, where: str) -> Backoff | None:
    try:
        return value if value is None or isinstance(value, Backoff) else msgspec.convert(value, Backoff)
    except msgspec.ValidationError as error:
        raise HandlerError(f"{where}: backoff: {error}") from None


def lifespan(function: Callable[[], AsyncIterator[Mapping[str, Any]]]) -> Hook:
    """Set up what all tasks of a worker share: an async generator that yields one mapping, seen as ``ctx.state``."""
    return Hook("lifespan", function)


def on_failure(function: Callable[[Context, BaseException], Awaitable[None]]) -> Hook:
    """Run this after every failed attempt of any task."""
    return Hook("on_failure", function)


def middleware(function: Callable[[Context, Callable[[], Coroutine[Any, Any, Any]]], Awaitable[Any]]) -> Hook:
    """Run this around every attempt: ``async def around(ctx, call_next)``; returns the result."""
    return Hook("middleware", function)
