"""The ``@task`` decorator: bare, with its policy, and with one that cannot hold."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.errors import HandlerError, TaskqueueError
from _taskqueue.tasks.context import Context
from _taskqueue.tasks.spec import TaskSpec, current_submitter, lifespan, middleware, on_failure, task

pytestmark = pytest.mark.anyio


class Outbox:
    """A submitter that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    async def submit_task(self, task: str, payload: bytes, is_text: bool, queue: str, options: Any) -> str:
        self.sent.append((task, payload, is_text, queue, dict(options)))
        return "task1"


def test_a_bare_decorator_leaves_the_policy_to_the_defaults() -> None:
    @task
    async def greet(name: str) -> str:
        return name

    assert isinstance(greet, TaskSpec)
    assert (greet.name, greet.queue, greet.where) == ("greet", "default", "loop")
    assert (greet.timeout_s, greet.max_attempts, greet.backoff, greet.on_dead) == (None, None, None, None)
    assert (greet.retry_on, greet.no_retry_on, dict(greet.submit_options)) == ((), (), {})


def test_a_policy_is_kept() -> None:
    def died(ctx: Context, error: BaseException) -> None: ...

    @task(
        name="mail.send", queue="mails", timeout="2m", max_attempts=3, backoff={"type": "constant", "base": 5},
        retry_on=(OSError,), no_retry_on=(FileNotFoundError,), on_dead=died,
    )  # fmt: skip
    async def send(to: str) -> None: ...

    assert (send.name, send.queue, send.timeout_s, send.max_attempts) == ("mail.send", "mails", 120.0, 3)
    assert send.backoff == Backoff("constant", 5)
    assert (send.retry_on, send.no_retry_on, send.on_dead) == ((OSError,), (FileNotFoundError,), died)


def test_coroutines_run_on_the_loop_functions_in_threads_and_on_request_in_processes() -> None:
    @task
    async def on_loop(a: str) -> None: ...
    @task
    def in_thread(a: str) -> None: ...
    @task(threads=True)
    def in_thread_too(a: str) -> None: ...
    @task(process=True)
    def in_process(a: str) -> None: ...
    @task(process=True)
    async def coroutine_in_process(a: str) -> None: ...

    assert [one.where for one in (on_loop, in_thread, in_thread_too, in_process, coroutine_in_process)] == [
        "loop", "thread", "thread", "process", "process",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "policy",
    [
        {"name": "a b"}, {"name": "x" * 129}, {"queue": "Mails"}, {"queue": ""}, {"timeout": 0}, {"timeout": "soon"}, {"timeout": -1},
        {"max_attempts": 0}, {"max_attempts": 1001}, {"backoff": {"bse": 1}}, {"backoff": {"type": "linear"}}, {"threads": True},
        {"retries": 3}, {"max_attempts": "3"}, {"max_attempts": True}, {"timeout": True},
        {"threads": 1}, {"process": "yes"}, {"on_dead": 5}, {"redact": "password"}, {"redact": [""]},
        {"redact": {"a": 1}}, {"threads": True, "process": True}, {"timeout": timedelta(0)}, {"name": ""}, {"queue": None},
        {"retry_on": 5}, {"no_retry_on": ["ValueError"]}, {"timeout": []}, {"name": 5},
    ],
)  # fmt: skip
def test_a_policy_that_cannot_hold_is_refused_by_the_functions_name(policy: dict[str, Any]) -> None:
    async def resize(a: str) -> None: ...

    with pytest.raises(HandlerError, match=r"^task .*resize: "):
        task(**policy)(resize)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(HandlerError, match="unknown option 'retries'; choose from backoff, max_attempts, name"):
        task(retries=3)(lambda: None)  # type: ignore[call-overload]


def test_generators_are_refused_also_under_decorators() -> None:
    def yields(a: str) -> Iterator[int]:
        yield 1

    async def yields_too(a: str) -> AsyncIterator[int]:
        yield 1

    for function in (yields, yields_too, functools.partial(yields), plainly(yields_too)):
        with pytest.raises(HandlerError, match="a generator cannot be a task"):
            task(function)


def test_a_context_goes_to_processes_too() -> None:
    @task(process=True)
    def crunch(ctx: Context, a: str) -> None: ...

    assert (crunch.where, crunch.signature.context) == ("process", "ctx")


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that knows nothing of coroutines."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def in_its_own_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that makes a coroutine function plain."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return inner


async def fetch(ctx: Context, url: str, times: int = 1) -> str:
    """Fetch it."""
    return url * times


class Fetcher:
    """Called as a function, and gives a coroutine."""

    async def __call__(self, url: str) -> str:
        return url

    async def fetch(self, url: str) -> str:
        return url

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@pytest.mark.parametrize(
    ("function", "where", "parameters"),
    [
        (plainly(fetch), "loop", ("url", "times")),
        (plainly(plainly(fetch)), "loop", ("url", "times")),
        (functools.partial(fetch, times=2), "loop", ("url", "times")),
        (functools.partial(plainly(fetch)), "loop", ("url", "times")),
        (functools.lru_cache(fetch), "loop", ("url", "times")),
        (Fetcher().fetch, "loop", ("url",)),
        (in_its_own_loop(fetch), "thread", ("url", "times")),
        (functools.partial(in_its_own_loop(fetch)), "thread", ("url", "times")),
        (plainly(in_its_own_loop(fetch)), "thread", ("url", "times")),
    ],
)
def test_decorators_are_looked_through(function: Callable[..., Any], where: str, parameters: tuple[str, ...]) -> None:
    spec = task(function)

    info = spec.describe()
    assert (info.name, info.where, info.parameters) == ("fetch", where, parameters)
    assert info.doc == ("" if "times" not in parameters else "Fetch it.")
    assert spec.file.startswith(f"{__file__}:")


async def test_a_plain_decorator_may_give_the_coroutine_or_the_result_itself() -> None:
    def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(url: str) -> Any:
            return "known" if url == "old" else function(url)

        return inner

    @task
    @remembered
    async def load(url: str) -> str:
        return f"loaded {url}"

    assert (await load("new"), await load("old")) == ("loaded new", "known")


def test_an_object_that_is_called_needs_a_name() -> None:
    with pytest.raises(HandlerError, match=r"task Fetcher\.__call__: .*@task\(name=…\)"):
        task(Fetcher())

    assert task(name="fetch")(Fetcher()).where == "loop"


class Owner:
    """With a function that belongs to it."""

    @classmethod
    def made(cls) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: Fetcher.fetch, "a method cannot be a task"),
        (lambda: Fetcher, "task Fetcher: a class cannot be a task"),
        (lambda: int, "task int: a class cannot be a task"),
        (lambda: lambda x: x, "it has no name of its own"),
        (lambda: len, "task len: parameter obj cannot be filled"),
        (lambda: print, r"task print: parameter \*args cannot be filled"),
        (lambda: max, "task max: "),
        (lambda: task(fetch), "task fetch: it is a task already"),
        (lambda: "fetch", r"write @task\(name='fetch'\)"),
        (lambda: 5, "@task needs a function, not a value of type int"),
        (lambda: property(lambda self: 1), "a task is a function of the module"),
        (lambda: vars(Owner)["made"], "a task is a function of the module"),
    ],
)
def test_what_is_no_function_of_a_module_is_refused_in_one_line(function: Callable[[], Any], words: str) -> None:
    with pytest.raises(HandlerError, match=words) as caught:
        task(function())

    assert "\n" not in str(caught.value)


class Hostile:
    """Raises whatever is asked of it."""

    def _no(self, *args: object) -> Any:
        raise RuntimeError("no")

    __bool__ = __eq__ = __str__ = __repr__ = __len__ = __iter__ = __float__ = __call__ = __hash__ = __getattr__ = _no


@pytest.mark.parametrize(
    "option",
    ["name", "queue", "timeout", "max_attempts", "backoff", "retry_on", "no_retry_on", "threads", "process", "redact"],
)
def test_a_value_that_fails_when_it_is_looked_at_is_one_clear_error(option: str) -> None:
    async def resize(a: str) -> None: ...

    policy: dict[str, Any] = {option: Hostile()}
    with pytest.raises(HandlerError, match="task") as caught:
        task(**policy)(resize)

    assert "\n" not in str(caught.value)
    with pytest.raises(HandlerError):
        task(Hostile())


class BadNumber(int):
    """Cannot be compared."""

    def __ge__(self, other: object) -> bool:
        raise RuntimeError("never")


def test_a_number_that_cannot_be_compared_is_one_clear_error() -> None:
    async def resize(a: str) -> None: ...

    with pytest.raises(HandlerError, match=r"^@task cannot use what it is given: RuntimeError: never$"):
        task(max_attempts=BadNumber(3))(resize)


def test_a_timeout_may_be_a_timedelta() -> None:
    @task(timeout=timedelta(minutes=2))
    async def slow(a: str) -> None: ...

    assert slow.timeout_s == 120


async def test_calling_the_spec_calls_the_function() -> None:
    @task
    async def double(n: int) -> int:
        return n * 2

    @task
    def join(a: str, b: str) -> str:
        return a + b

    assert await double(4) == 8
    assert join("x", b="y") == "xy"


async def test_options_give_another_spec_and_leave_the_first_alone() -> None:
    @task(queue="mails")
    async def send(to: str) -> None: ...

    outbox = Outbox()
    token = current_submitter.set(outbox)

    await send.options(priority=9).options(delay=5).enqueue("me")
    await send.enqueue("you")

    current_submitter.reset(token)
    assert outbox.sent == [("send", b"me", True, "mails", {"priority": 9, "delay": 5}), ("send", b"you", True, "mails", {})]


async def test_enqueue_leaves_the_context_out() -> None:
    @task
    async def add(ctx: Context, a: int, b: int) -> None: ...

    outbox = Outbox()
    token = current_submitter.set(outbox)

    task_id = await add.enqueue(1, b=2)

    current_submitter.reset(token)
    assert task_id == "task1"
    assert outbox.sent == [("add", b'{"a":1,"b":2}', False, "default", {})]


async def test_enqueue_outside_of_handlers_says_what_to_do() -> None:
    @task
    async def send(to: str) -> None: ...

    with pytest.raises(TaskqueueError, match=r"send\.enqueue\(\) works inside handlers"):
        await send.enqueue("me")


@pytest.mark.parametrize(
    ("retry_on", "no_retry_on", "error", "again"),
    [
        ((), (), ValueError(), True),
        ((OSError,), (), ValueError(), False),
        ((OSError,), (), FileNotFoundError(), True),
        ((ValueError,), (), TimeoutError(), True),
        ((OSError,), (FileNotFoundError,), FileNotFoundError(), False),
        ((OSError,), (FileNotFoundError,), PermissionError(), True),
        ((), (ValueError,), ValueError(), False),
        ((), (ValueError,), KeyError(), True),
        ((), (TimeoutError,), TimeoutError(), False),
    ],
)
def test_errors_are_retried_by_the_policy(
    retry_on: tuple[type[BaseException], ...], no_retry_on: tuple[type[BaseException], ...], error: BaseException, again: bool
) -> None:
    @task(retry_on=retry_on, no_retry_on=no_retry_on)
    async def f(a: str) -> None: ...

    assert f.retries(error) is again


def test_the_file_of_a_spec_is_where_its_function_stands() -> None:
    @task
    async def here(a: str) -> None: ...

    file, _, line = here.file.rpartition(":")
    assert file == __file__
    assert int(line) > 1


def test_hooks_know_their_kind() -> None:
    async def around(ctx: Context, call_next: Any) -> None: ...
    async def failed(ctx: Context, error: BaseException) -> None: ...
    async def life() -> AsyncIterator[dict[str, int]]:
        yield {}

    assert [hook.kind for hook in (middleware(around), on_failure(failed), lifespan(life))] == ["middleware", "on_failure", "lifespan"]
