"""The calls about tasks: submit, read, wait, steer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

import msgspec

from _taskqueue.domain.errors import TaskqueueError
from _taskqueue.remote.answers import Accepted, Attempt, BatchResults, Explanation, Task, TaskPage
from _taskqueue.remote.asking import Asking, given, path
from _taskqueue.remote.errors import ApiError, ClientError, InvalidState, ResultNotReady, TaskFailed, Unavailable, api_error
from _taskqueue.remote.flows import Flow, Pause, Request, Tries, convert, decode, exchange
from _taskqueue.remote.submission import Results, Terms, Time, batch_body, batches, new_key, task_body

OK = 200
HOUR_S = 3600.0
HOLD_S = 60.0
"""The server holds an answer back for at most so long."""
AGAIN_S = 1.0
"""Before asking again a server that answered too early, as one that stops does."""
PAGE_TASKS = 500
Words = str | Iterable[str]


class Filters(TypedDict, total=False):
    """Which tasks are meant; several values of one filter mean or, different filters mean and."""

    state: Words
    """a state, or ``failing``"""
    queue: Words
    task: Words
    tag: Words
    meta: Mapping[str, Words]
    error: Words
    fingerprint: Words
    worker: Words
    batch_id: Words
    created_after: Time
    created_before: Time
    q: str
    """as people type it: ``state:dead queue:images "no such bucket"``"""


def filter_params(filters: Filters) -> dict[str, str]:
    """Filters as the API reads them.

    Raises:
        TypeError: something is no filter.
        ValueError: a filter is empty. To the API it would mean everything, which is not what an empty list of ids says.
    """
    found: dict[str, str] = {}
    for name, value in filters.items():
        if name not in Filters.__annotations__:
            raise TypeError(f"{name!r} is no filter; known are {', '.join(Filters.__annotations__)}")
        if isinstance(value, Mapping):
            found.update({f"{name}.{key}": _words(words) for key, words in value.items()})
        elif value is not None:
            found[name] = _words(value)
    if empty := [name for name, text in found.items() if not text]:
        raise ValueError(f"the filter {empty[0]} is empty")
    return found


def _words(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else ",".join(value)


class TaskCalls(Asking):
    """Every call on tasks. Each may raise ClientError."""

    # -- submit -----------------------------------------------------------------------------------------------------

    def submit(self, payload: Any, **terms: Unpack[Terms]) -> Flow[str]:
        """Submit one task; gives its id.

        Args:
            payload: anything that has a JSON. A text reaches the handler as it is.
            terms: as the fields of ``POST /tasks``; durations may be timedeltas, times datetimes, ``unique`` a key alone.

        Raises:
            TypeError: the payload has no JSON.
            Invalid: a term or the payload is wrong; ``errors`` names each.
            QueueFull: the queue has as many tasks as it may.
            Duplicate: another task holds the unique key, and it says reject.
        """
        return (yield from self._ask(Accepted, self._submission(payload, terms))).task_id

    def submit_and_wait(self, payload: Any, *, wait: float = HOLD_S, **terms: Unpack[Terms]) -> Flow[Task]:
        """Submit one task and wait until it has ended; gives it as it is then, or as it is when the time is over.

        Args:
            wait: seconds.
        """
        until = self.patience.clock() + wait
        reply = yield from exchange(self.patience, self._submission(payload, terms, min(wait, HOLD_S)))
        if b'"state"' in reply.body:  # a replayed answer has the id alone
            task = decode(reply.body, Task)
            if task.done or self.patience.clock() >= until:
                return task
        task_id = decode(reply.body, Accepted).task_id
        return (yield from self.wait(task_id, max(0.0, until - self.patience.clock())))

    def submit_batch(self, bodies: Sequence[bytes], key: str = "") -> Flow[Results]:
        """Submit some tasks at once; gives for each its id or its error, in order.

        Args:
            bodies: the JSON of each, at most 1,000.
            key: the Idempotency-Key, when the batch may have been sent before.
        """
        headers = {"Idempotency-Key": key or new_key()}
        request = Request("POST", "/tasks/batch", {}, batch_body(bodies), headers, repeatable=True)
        tries = Tries(self.patience, repeatable=True)
        while True:
            results = yield from self._batch_results(request)
            passing = next((one for one in results if isinstance(one, Unavailable)), None)
            if passing is None:
                return results
            try:
                pause_s = tries.pause_s(passing)
            except Unavailable:
                return results
            yield Pause(pause_s)  # the store was away for some; under the same key none is stored twice

    def submit_many(self, tasks: Iterable[Any], **terms: Unpack[Terms]) -> Flow[Results]:
        """Submit any number of tasks; gives for each its id or its error, in order.

        A batch that cannot be sent at all gives its error to all tasks in it and after it, which are not tried any more.

        Args:
            tasks: payloads, or NewTasks that have terms of their own.
            terms: of those that are a payload alone.

        Raises:
            TypeError: a payload has no JSON; what came before it may be submitted.
        """
        results: Results = []
        broken: ClientError | None = None
        for bodies in batches(tasks, terms):
            if broken is None:
                try:
                    results += yield from self.submit_batch(bodies)
                    continue
                except ClientError as error:
                    broken = error
            results += [broken] * len(bodies)
        return results

    # -- read -------------------------------------------------------------------------------------------------------

    def get(self, task_id: str, *, payload: bool = False) -> Flow[Task]:
        """One task with its result and attempts.

        Args:
            payload: with its payload.
        """
        return (yield from self._get(Task, path("tasks", task_id), fields="payload" if payload else None))

    def wait(self, task_id: str, timeout: float | None = None) -> Flow[Task]:
        """Wait until a task has ended; gives it as it is then, or as it is when the time is over.

        Args:
            timeout: seconds; None waits for as long as it takes.
        """
        until = self.patience.until(timeout)
        while True:
            asked_at = self.patience.clock()
            request = self._holding(path("tasks", task_id), asked_at, until)
            task = yield from self._ask(Task, request)
            if task.done or self.patience.clock() >= until:
                return task
            yield from self._not_too_soon(asked_at, request.hold_s)

    def result(self, task_id: str, *, wait: float = 0.0) -> Flow[Any]:
        """What a task returned.

        Args:
            wait: seconds to wait for it; ``math.inf`` for as long as it takes.

        Raises:
            TaskFailed: it ended without a result.
            ResultNotReady: it has not ended.
        """
        until = self.patience.clock() + wait
        while True:
            asked_at = self.patience.clock()
            request = self._holding(path("tasks", task_id, "result"), asked_at, until)
            try:
                reply = yield from exchange(self.patience, request)
            except ApiError as error:
                raise _without_result(task_id, error) from None
            if reply.status == OK:
                return decode(reply.body, Any)
            if self.patience.clock() >= until:
                raise ResultNotReady(task_id, str(decode(reply.body, dict[str, Any]).get("state", "")))
            yield from self._not_too_soon(asked_at, request.hold_s)

    def page(
        self, filters: Filters, *, order: Literal["asc", "desc"], limit: int, cursor: str | None = None, payload: bool = False
    ) -> Flow[TaskPage]:
        """Some tasks of a list."""
        fields = "payload" if payload else None
        params = {**filter_params(filters), "order": order, "limit": str(limit), "cursor": cursor, "fields": fields}
        return (yield from self._get(TaskPage, "/tasks", **params))

    def attempts(self, task_id: str) -> Flow[list[Attempt]]:
        """The attempts that ended, with their errors and tracebacks, the last fifty."""
        return (yield from self._items(Attempt, path("tasks", task_id, "attempts")))

    def log(self, task_id: str, *, attempt: int | None = None) -> Flow[str]:
        """What one attempt logged, the latest by default."""
        request = Request("GET", path("tasks", task_id, "logs"), given({"attempt": _number(attempt)}), repeatable=True)
        return (yield from exchange(self.patience, request)).body.decode(errors="replace")

    def explain(self, task_id: str) -> Flow[Explanation]:
        """Why a task is where it is: its place in the queue, what holds it, when it should start."""
        return (yield from self._get(Explanation, path("tasks", task_id, "explain")))

    # -- steer ------------------------------------------------------------------------------------------------------

    def retry(self, task_id: str, *, reset_attempts: bool = False) -> Flow[Task]:
        """Give a task that failed, was cancelled or expired another try now. Raises InvalidState."""
        return (yield from self._act(Task, "POST", path("tasks", task_id, "retry"), {"reset_attempts": reset_attempts}))

    def run(self, task_id: str) -> Flow[Task]:
        """Start a task now that waits for its time. Raises InvalidState."""
        return (yield from self._act(Task, "POST", path("tasks", task_id, "run")))

    def cancel(self, task_id: str) -> Flow[Task]:
        """Cancel a task: at once while it waits, by request while it runs. Raises InvalidState."""
        return (yield from self._act(Task, "POST", path("tasks", task_id, "cancel")))

    def rerun(self, task_id: str, payload: Any = msgspec.UNSET) -> Flow[str]:
        """Submit a new task like this one, or with another payload; gives its id."""
        body = {} if payload is msgspec.UNSET else {"payload": payload}
        return (yield from self._act(Accepted, "POST", path("tasks", task_id, "rerun"), body)).task_id

    def edit(
        self,
        task_id: str,
        *,
        priority: int | None = None,
        run_at: Time | None = None,
        max_attempts: int | None = None,
        tags: Sequence[str] | None = None,
    ) -> Flow[Task]:
        """Change a task that waits; what is None stays. Raises InvalidState."""
        changes = {"priority": priority, "run_at": run_at, "max_attempts": max_attempts, "tags": tags}
        body = {name: value for name, value in changes.items() if value is not None}
        return (yield from self._act(Task, "PATCH", path("tasks", task_id), body))

    def delete(self, task_id: str, *, cancel: bool = False) -> Flow[None]:
        """Delete a task with all there is about it. Raises InvalidState.

        Args:
            cancel: a running one too, once it has stopped.
        """
        request = Request("DELETE", path("tasks", task_id), {"cancel": "1"} if cancel else {})
        yield from exchange(self.patience, request)

    # -- steps ------------------------------------------------------------------------------------------------------

    def _submission(self, payload: Any, terms: Terms, wait_s: float | None = None) -> Request:
        params = {"strict": "1"} if wait_s is None else {"strict": "1", "wait": f"{wait_s:.3f}"}
        key = {"Idempotency-Key": new_key()}
        return Request("POST", "/tasks", params, task_body(payload, terms), key, repeatable=True, hold_s=wait_s or 0.0)

    def _batch_results(self, request: Request) -> Flow[Results]:
        try:
            answer = yield from self._ask(BatchResults, request)
        except ApiError as error:
            if error.code != "all_refused":
                raise
            answer = convert(error.problem, BatchResults)
        return [one.task_id or _item_error(one.error or {}) for one in answer.results]

    def _holding(self, where: str, now: float, until: float) -> Request:
        hold_s = max(0.0, min(HOLD_S, until - now))
        return Request("GET", where, {"wait": f"{hold_s:.3f}"}, repeatable=True, hold_s=hold_s)

    def _not_too_soon(self, asked_at: float, hold_s: float) -> Flow[None]:
        early_s = hold_s - (self.patience.clock() - asked_at)
        if early_s > 0:
            yield Pause(min(AGAIN_S, early_s))


class Listing:
    """A list, page after page.

    Args:
        limit: how many tasks at most; None: all.
    """

    def __init__(self, calls: TaskCalls, filters: Filters, *, order: Literal["asc", "desc"], limit: int | None, payload: bool) -> None:
        self._calls, self._filters, self._order, self._payload = calls, filters, order, payload
        self._left = limit
        self._cursor: str | None = None
        self.more = limit != 0

    def read(self) -> Flow[list[Task]]:
        """The next page, which may be empty though more follow."""
        size = PAGE_TASKS if self._left is None else min(PAGE_TASKS, self._left)
        page = yield from self._calls.page(self._filters, order=self._order, limit=size, cursor=self._cursor, payload=self._payload)
        self._cursor = page.next_cursor
        if self._left is not None:
            self._left -= len(page.items)
        self.more = self._cursor is not None and self._left != 0
        return page.items


def log_request(task_id: str, attempt: int | None) -> Request:
    """What follows a log."""
    return Request("GET", path("tasks", task_id, "logs"), given({"follow": "1", "attempt": _number(attempt)}), hold_s=HOUR_S)


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _item_error(problem: Mapping[str, Any]) -> ClientError:
    return api_error(int(problem.get("status", 0)), problem)


def _without_result(task_id: str, error: ApiError) -> TaskqueueError:
    """The server tells the end of a task that has no result as an error of its own."""
    if isinstance(error, InvalidState) or error.code == "expired":
        return TaskFailed(task_id, str(error.problem.get("state", "")), error.problem.get("error"))
    return error
