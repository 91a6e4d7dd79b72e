"""The client for code that awaits.

async with AsyncClient("http://127.0.0.1:8080") as client:
    task = await client.submit_and_wait({"name": "Ada"}, task="greet")
"""

from __future__ import annotations

import random as chance
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, Unpack, cast

import anyio
import httpx

from _taskqueue.remote.answers import Event, Task
from _taskqueue.remote.calls import Calls
from _taskqueue.remote.errors import ClientError, Limited
from _taskqueue.remote.flows import Flow, Patience, Pause, Reply, Request, check, described
from _taskqueue.remote.gathering import Gathering
from _taskqueue.remote.submission import Durability, Results, Terms, task_body
from _taskqueue.remote.tail import INTERNAL, LOST, OPEN, Lines, Tail, Watch
from _taskqueue.remote.task_calls import Filters, Listing, log_request
from _taskqueue.remote.transport import arguments, options, reply_of, stream_arguments, unreachable

P = ParamSpec("P")
T = TypeVar("T")

LINGER_S = 0.005
REQUESTS_MAX = 16
"""At once; the others wait here. httpx looks at every connection for each request: more of them make it slower."""
HOLDS_MAX = 1_000
"""Requests that the server was asked to hold. They are counted apart, so that what they wait for can still be submitted."""


def awaiting(call: Callable[Concatenate[Calls, P], Flow[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A call of the API as a method to be awaited."""

    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client.perform(call(client.calls, *args, **kwargs))

    return described(method, call)


class AsyncClient:
    """Talks to a server; belongs to one event loop.

    Args:
        url: of the server; by default that of TASKQUEUE_API_URL, else http://127.0.0.1:8080.
        token: by default that of TASKQUEUE_API_TOKEN, if any.
        durability: what submissions wait for, ``disk`` or ``replica``; by default what the server waits for.
        linger: seconds that a submission waits for others to go with, while another is under way; one that is alone goes
            at once. None sends each for itself.
        retry_for: seconds to go on trying what can be tried again; 0 tries once.
        timeout: seconds that the server may be silent.
        transport: of httpx, for tests and for unusual networks.

    Raises:
        UsageError: the URL is none.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        durability: Durability | None = None,
        linger: float | None = LINGER_S,
        retry_for: float = 30.0,
        timeout: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=REQUESTS_MAX)
        self._http = httpx.AsyncClient(**options(url, token, durability), transport=transport, limits=limits)
        self._requests, self._holds = anyio.CapacityLimiter(REQUESTS_MAX), anyio.CapacityLimiter(HOLDS_MAX)
        self._timeout_s, self._sleep = timeout, sleep
        self.calls = Calls(Patience(retry_for, clock, random))
        self._submitting = 0
        self._gathering = None if linger is None else Gathering(self._submit_batch, linger, sleep)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    async def submit(self, payload: Any, **terms: Unpack[Terms]) -> str:
        """Submit one task; gives its id. What is submitted at the same time goes together.

        Args and errors are those of ``Client.submit``.
        """
        gathering = self._gathering if self._submitting else None
        self._submitting += 1
        try:
            if gathering is not None:
                with suppress(Limited):  # nothing was stored; alone it is tried again for a while
                    return await gathering.submit(task_body(payload, terms))
            return await self.perform(self.calls.submit(payload, **terms))
        finally:
            self._submitting -= 1

    submit_and_wait = awaiting(Calls.submit_and_wait)
    submit_many = awaiting(Calls.submit_many)
    get = awaiting(Calls.get)
    wait = awaiting(Calls.wait)
    result = awaiting(Calls.result)
    attempts = awaiting(Calls.attempts)
    log = awaiting(Calls.log)
    explain = awaiting(Calls.explain)
    retry = awaiting(Calls.retry)
    run = awaiting(Calls.run)
    cancel = awaiting(Calls.cancel)
    rerun = awaiting(Calls.rerun)
    edit = awaiting(Calls.edit)
    delete = awaiting(Calls.delete)
    queues = awaiting(Calls.queues)
    queue = awaiting(Calls.queue)
    pause = awaiting(Calls.pause)
    resume = awaiting(Calls.resume)
    set_max_length = awaiting(Calls.set_max_length)
    purge = awaiting(Calls.purge)
    autoscale = awaiting(Calls.autoscale)
    workers = awaiting(Calls.workers)
    quiet_worker = awaiting(Calls.quiet_worker)
    resume_worker = awaiting(Calls.resume_worker)
    stop_worker = awaiting(Calls.stop_worker)
    handlers = awaiting(Calls.handlers)
    operate = awaiting(Calls.operate)
    operations = awaiting(Calls.operations)
    operation = awaiting(Calls.operation)
    stop_operation = awaiting(Calls.stop_operation)
    wait_operation = awaiting(Calls.wait_operation)
    failures = awaiting(Calls.failures)
    failure = awaiting(Calls.failure)
    batch = awaiting(Calls.batch)
    wait_batch = awaiting(Calls.wait_batch)
    stats = awaiting(Calls.stats)
    health = awaiting(Calls.health)
    version = awaiting(Calls.version)
    session = awaiting(Calls.session)
    config = awaiting(Calls.config)
    audit = awaiting(Calls.audit)

    async def list(
        self, *, order: Literal["asc", "desc"] = "desc", limit: int | None = None, payload: bool = False, **filters: Unpack[Filters]
    ) -> AsyncIterator[Task]:
        """The tasks that the filters mean, read page by page.

        Args:
            order: desc begins with the latest.
            limit: stop after so many.
            payload: with their payloads, those aside that are long.
        """
        listing = Listing(self.calls, filters, order=order, limit=limit, payload=payload)
        while listing.more:
            for task in await self.perform(listing.read()):
                yield task

    async def wait_many(self, task_ids: Iterable[str], timeout: float | None = None) -> AsyncGenerator[Task, None]:  # noqa: ASYNC109  # ends the iteration; no error
        """Each task as it ends; the iteration stops when all have ended or the time is over.

        Who leaves it early closes it with ``contextlib.aclosing``, as with any asynchronous generator. For hundreds of
        tasks that belong together ``wait_batch`` asks far less.

        Args:
            timeout: seconds; None waits for as long as it takes.

        Raises:
            NotFound: one of them does not exist any more.
        """
        watch = Watch(self.calls.patience, task_ids, timeout)
        if watch.over():
            return
        async with aclosing(self._follow(watch.tail)) as events:
            async for event in events:
                for task_id in watch.due(event):
                    task = await self.get(task_id)
                    if watch.ended(task):
                        yield task
                if watch.over():
                    return

    async def events(self, *topics: str, queue: str | None = None, task_id: str | None = None) -> AsyncGenerator[Event, None]:
        """Everything that happens, for as long as one listens; a connection that breaks is made again.

        After an event ``reset`` some may be missing: look again at what matters. Who leaves it early closes it with
        ``contextlib.aclosing``, as with any asynchronous generator.

        Args:
            topics: of stats, queues, tasks, workers, ops; all by default.
        """
        async with aclosing(self._follow(Tail(self.calls.patience, topics=topics, queue=queue, task_id=task_id))) as events:
            async for event in events:
                if event.name not in INTERNAL:
                    yield event

    async def follow_log(self, task_id: str, *, attempt: int | None = None) -> AsyncGenerator[str, None]:
        """What an attempt logs, line by line until it ends; the latest attempt by default."""
        lines = Lines()
        async with self._stream(log_request(task_id, attempt)) as chunks:
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    yield line.decode(errors="replace")
        if lines.rest:
            yield lines.rest.decode(errors="replace")

    # -- carrying out -----------------------------------------------------------------------------------------------

    async def perform(self, flow: Flow[T]) -> T:
        """Carry out a call. Raises what the call raises."""
        try:
            step = next(flow)
            while True:
                try:
                    reply = await self._carry_out(step)
                except ClientError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(reply)
        except StopIteration as end:
            return cast(T, end.value)

    async def _submit_batch(self, bodies: Sequence[bytes], key: str) -> Results:
        return await self.perform(self.calls.submit_batch(bodies, key))

    async def _carry_out(self, step: Request | Pause) -> Reply | None:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        try:
            async with self._holds if step.hold_s else self._requests:
                return reply_of(await self._http.request(**arguments(step, self._timeout_s)))
        except httpx.HTTPError as error:
            raise unreachable(error) from error

    @asynccontextmanager
    async def _stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            async with self._http.stream(**stream_arguments(request, self._timeout_s)) as response:
                if not response.is_success:
                    await response.aread()
                    check(reply_of(response))
                yield response.aiter_bytes()
        except httpx.HTTPError as error:
            raise unreachable(error) from error

    async def _follow(self, tail: Tail) -> AsyncGenerator[Event, None]:
        while True:
            try:
                async with self._stream(tail.request()) as chunks:
                    yield OPEN
                    async for chunk in chunks:
                        for event in tail.feed(chunk):
                            yield event
                pause_s = tail.lost(None)
            except ClientError as error:
                pause_s = tail.lost(error)
            yield LOST
            await self._sleep(pause_s)
