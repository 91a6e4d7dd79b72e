"""The ``@task`` decorator: bare, with its policy, and with one that cannot hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
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
        {"retries": 3}, {"max_attempts": "3"}, {"retry_on": 5}, {"no_retry_on": ["ValueError"]}, {"timeout": []}, {"name": 5},
    ],
)  # fmt: skip
def test_a_policy_that_cannot_hold_is_refused_by_the_functions_name(policy: dict[str, Any]) -> None:
    async def resize(a: str) -> None: ...

    with pytest.raises(HandlerError, match=r"^task .*resize: "):
        task(**policy)(resize)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(HandlerError, match="unknown option 'retries'; choose from backoff, max_attempts, name"):
        task(retries=3)(lambda: None)  # type: ignore[call-overload]


def test_generators_and_contexts_in_processes_are_refused() -> None:
    def yields(a: str) -> Iterator[int]:
        yield 1

    async def yields_too(a: str) -> AsyncIterator[int]:
        yield 1

    def with_context(ctx: Context, a: str) -> None: ...

    for function in (yields, yields_too):
        with pytest.raises(HandlerError, match="a generator cannot be a task"):
            task(function)
    with pytest.raises(HandlerError, match="process=True cannot take a Context"):
        task(process=True)(with_context)


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
