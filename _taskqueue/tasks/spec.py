"""``@task`` and its values."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

import msgspec

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.durations import parse_duration
from _taskqueue.domain.errors import HandlerError, TaskqueueError
from _taskqueue.domain.task import (
    MAX_ATTEMPTS_DEFAULT,
    MAX_ATTEMPTS_MAX,
    QUEUE_DEFAULT,
    QUEUE_NAME,
    TASK_NAME,
    TIMEOUT_DEFAULT_S,
    TaskInfo,
)
from _taskqueue.tasks.binding import Signature, read_signature
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
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def describe(self) -> TaskInfo:
        """What others may know of this task: no code, only what a submission needs."""
        return TaskInfo(
            name=self.name,
            doc=(inspect.getdoc(self.function) or "").partition("\n")[0][:DOC_CHARS_MAX],
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
    timeout: float | str | None = None,
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
        timeout: seconds or a duration, per attempt; default 60 s.
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


def _declare(function: Callable[..., Any], policy: Mapping[str, Any]) -> TaskSpec[Any, Any, Any]:
    where = f"task {getattr(function, '__qualname__', function)!s}"
    known = {"name", "queue", "timeout", "max_attempts", "backoff", "retry_on", "no_retry_on", "threads", "process", "on_dead", "redact"}
    for option in policy:
        if option not in known:
            raise HandlerError(f"{where}: unknown option {option!r}; choose from {', '.join(sorted(known))}")
    signature = read_signature(function, where)
    return TaskSpec(
        function=function,
        name=_checked(policy.get("name") or function.__name__, TASK_NAME, "name", where),
        queue=_checked(policy.get("queue", QUEUE_DEFAULT), QUEUE_NAME, "queue", where),
        where=_where(function, policy, signature, where),
        signature=signature,
        timeout_s=_timeout(policy.get("timeout"), where),
        max_attempts=_max_attempts(policy.get("max_attempts"), where),
        backoff=_backoff(policy.get("backoff"), where),
        retry_on=_errors(policy.get("retry_on", ()), "retry_on", where),
        no_retry_on=_errors(policy.get("no_retry_on", ()), "no_retry_on", where),
        on_dead=policy.get("on_dead"),
        redact=_redact(policy.get("redact", False), where),
        submit_options={},
    )


def _checked(text: str, shape: Any, what: str, where: str) -> str:
    if not isinstance(text, str) or not shape.fullmatch(text):
        raise HandlerError(f"{where}: {text!r} is no {what}; it must match {shape.pattern}")
    return text


def _redact(value: Any, where: str) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
        raise HandlerError(f"{where}: redact takes True or a list of field names")
    return tuple(value)


def _where(function: Callable[..., Any], policy: Mapping[str, Any], signature: Signature, where: str) -> Where:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerError(f"{where}: a generator cannot be a task; return a value instead of yielding")
    if policy.get("process"):
        if signature.context:
            raise HandlerError(f"{where}: process=True cannot take a Context, which lives in the worker; drop the parameter")
        return "process"
    is_async = inspect.iscoroutinefunction(function)
    if is_async and policy.get("threads"):
        raise HandlerError(f"{where}: threads=True is for plain functions; drop it, or write def instead of async def")
    return "loop" if is_async else "thread"


def _timeout(value: float | str | None, where: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except (ValueError, TypeError) as error:
        raise HandlerError(f"{where}: timeout: {error}") from None
    if seconds <= 0:
        raise HandlerError(f"{where}: timeout must be longer than zero")
    return seconds


def _max_attempts(value: int | None, where: str) -> int | None:
    if value is not None and not (isinstance(value, int) and 1 <= value <= MAX_ATTEMPTS_MAX):
        raise HandlerError(f"{where}: max_attempts must be from 1 to {MAX_ATTEMPTS_MAX}")
    return value


def _errors(value: Any, what: str, where: str) -> Errors:
    found = value if isinstance(value, (tuple, list)) else (value,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise HandlerError(f"{where}: {what}: {one!r} is no exception class")
    return tuple(found)


def _backoff(value: Backoff | Mapping[str, Any] | None, where: str) -> Backoff | None:
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
