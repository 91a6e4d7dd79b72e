"""The client for code that blocks.

with Client("http://127.0.0.1:8080") as client:
    task = client.submit_and_wait({"name": "Ada"}, task="greet")
"""

from __future__ import annotations

import random as chance
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Concatenate, Literal, ParamSpec, Self, TypeVar, Unpack, cast

import httpx

from _taskqueue.remote.answers import Event, Task
from _taskqueue.remote.buffer import Buffer
from _taskqueue.remote.calls import Calls
from _taskqueue.remote.errors import ClientError
from _taskqueue.remote.flows import Flow, Patience, Pause, Reply, Request, check, described
from _taskqueue.remote.submission import Durability, Terms
from _taskqueue.remote.tail import INTERNAL, LOST, OPEN, Lines, Tail, Watch
from _taskqueue.remote.task_calls import Filters, Listing, log_request
from _taskqueue.remote.transport import arguments, options, reply_of, stream_arguments, unreachable

P = ParamSpec("P")
T = TypeVar("T")


def blocking(call: Callable[Concatenate[Calls, P], Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    """A call of the API as a method that blocks until it is done."""

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.perform(call(client.calls, *args, **kwargs))

    return described(method, call)


class Client:
    """Talks to a server; may be shared by threads.

    Args:
        url: of the server; by default that of TASKQUEUE_API_URL, else http://127.0.0.1:8080.
        token: by default that of TASKQUEUE_API_TOKEN, if any.
        durability: what submissions wait for, ``disk`` or ``replica``; by default what the server waits for.
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
        retry_for: float = 30.0,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._http = httpx.Client(**options(url, token, durability), transport=transport)
        self._timeout_s, self._sleep = timeout, sleep
        self.calls = Calls(Patience(retry_for, clock, random))

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    submit = blocking(Calls.submit)
    submit_and_wait = blocking(Calls.submit_and_wait)
    submit_many = blocking(Calls.submit_many)
    get = blocking(Calls.get)
    wait = blocking(Calls.wait)
    result = blocking(Calls.result)
    attempts = blocking(Calls.attempts)
    log = blocking(Calls.log)
    explain = blocking(Calls.explain)
    retry = blocking(Calls.retry)
    run = blocking(Calls.run)
    cancel = blocking(Calls.cancel)
    rerun = blocking(Calls.rerun)
    edit = blocking(Calls.edit)
    delete = blocking(Calls.delete)
    queues = blocking(Calls.queues)
    queue = blocking(Calls.queue)
    pause = blocking(Calls.pause)
    resume = blocking(Calls.resume)
    set_max_length = blocking(Calls.set_max_length)
    purge = blocking(Calls.purge)
    autoscale = blocking(Calls.autoscale)
    workers = blocking(Calls.workers)
    quiet_worker = blocking(Calls.quiet_worker)
    resume_worker = blocking(Calls.resume_worker)
    stop_worker = blocking(Calls.stop_worker)
    handlers = blocking(Calls.handlers)
    operate = blocking(Calls.operate)
    operations = blocking(Calls.operations)
    operation = blocking(Calls.operation)
    stop_operation = blocking(Calls.stop_operation)
    wait_operation = blocking(Calls.wait_operation)
    failures = blocking(Calls.failures)
    failure = blocking(Calls.failure)
    batch = blocking(Calls.batch)
    wait_batch = blocking(Calls.wait_batch)
    stats = blocking(Calls.stats)
    health = blocking(Calls.health)
    version = blocking(Calls.version)
    session = blocking(Calls.session)
    config = blocking(Calls.config)
    audit = blocking(Calls.audit)

    def buffer(self, **terms: Unpack[Terms]) -> Buffer:
        """Collects submissions and sends them in batches.

            with client.buffer(task="resize") as buffer:
                for picture in pictures:
                    buffer.submit(picture)

        Args:
            terms: of all tasks that do not say otherwise.
        """
        return Buffer(self.submit_many, terms)

    def list(
        self, *, order: Literal["asc", "desc"] = "desc", limit: int | None = None, payload: bool = False, **filters: Unpack[Filters]
    ) -> Iterator[Task]:
        """The tasks that the filters mean, read page by page.

        Args:
            order: desc begins with the latest.
            limit: stop after so many.
            payload: with their payloads, those aside that are long.
        """
        listing = Listing(self.calls, filters, order=order, limit=limit, payload=payload)
        while listing.more:
            yield from self.perform(listing.read())

    def wait_many(self, task_ids: Iterable[str], timeout: float | None = None) -> Iterator[Task]:
        """Each task as it ends; the iteration stops when all have ended or the time is over.

        For hundreds of tasks that belong together ``wait_batch`` asks far less.

        Args:
            timeout: seconds; None waits for as long as it takes.

        Raises:
            NotFound: one of them does not exist any more.
        """
        watch = Watch(self.calls.patience, task_ids, timeout)
        if watch.over():
            return
        for event in self._follow(watch.tail):
            for task_id in watch.due(event):
                task = self.get(task_id)
                if watch.ended(task):
                    yield task
            if watch.over():
                return

    def events(self, *topics: str, queue: str | None = None, task_id: str | None = None) -> Iterator[Event]:
        """Everything that happens, for as long as one listens; a connection that breaks is made again.

        After an event ``reset`` some may be missing: look again at what matters.

        Args:
            topics: of stats, queues, tasks, workers, ops; all by default.
        """
        for event in self._follow(Tail(self.calls.patience, topics=topics, queue=queue, task_id=task_id)):
            if event.name not in INTERNAL:
                yield event

    def follow_log(self, task_id: str, *, attempt: int | None = None) -> Iterator[str]:
        """What an attempt logs, line by line until it ends; the latest attempt by default."""
        lines = Lines()
        with self._stream(log_request(task_id, attempt)) as chunks:
            for chunk in chunks:
                for line in lines.feed(chunk):
                    yield line.decode(errors="replace")
        if lines.rest:
            yield lines.rest.decode(errors="replace")

    # -- carrying out -----------------------------------------------------------------------------------------------

    def perform(self, flow: Flow[T]) -> T:
        """Carry out a call. Raises what the call raises."""
        try:
            step = next(flow)
            while True:
                try:
                    reply = self._carry_out(step)
                except ClientError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(reply)
        except StopIteration as end:
            return cast(T, end.value)

    def _carry_out(self, step: Request | Pause) -> Reply | None:
        if isinstance(step, Pause):
            self._sleep(step.seconds)
            return None
        try:
            return reply_of(self._http.request(**arguments(step, self._timeout_s)))
        except httpx.HTTPError as error:
            raise unreachable(error) from error

    @contextmanager
    def _stream(self, request: Request) -> Iterator[Iterator[bytes]]:
        try:
            with self._http.stream(**stream_arguments(request, self._timeout_s)) as response:
                if not response.is_success:
                    response.read()
                    check(reply_of(response))
                yield response.iter_bytes()
        except httpx.HTTPError as error:
            raise unreachable(error) from error

    def _follow(self, tail: Tail) -> Iterator[Event]:
        while True:
            try:
                with self._stream(tail.request()) as chunks:
                    yield OPEN
                    for chunk in chunks:
                        yield from tail.feed(chunk)
                pause_s = tail.lost(None)
            except ClientError as error:
                pause_s = tail.lost(error)
            yield LOST
            self._sleep(pause_s)
