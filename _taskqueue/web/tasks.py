"""``/tasks``: list and read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import anyio
import msgspec
from quart import Response, request

from _taskqueue.domain.errors import StoreError
from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.filters import META, Filter, is_filter, read_filter
from _taskqueue.producer import Producer
from _taskqueue.store.answers import Sight
from _taskqueue.store.browse import Browse
from _taskqueue.terms import TermsError
from _taskqueue.web.catalog import Catalog
from _taskqueue.web.cursors import Cursors
from _taskqueue.web.explain import Explanation, explain
from _taskqueue.web.problems import ANSWER_S, Problem, from_terms, in_time, json_response
from _taskqueue.web.reading import Duration, StateText, TimeText, read_states, read_wait
from _taskqueue.web.routing import Media, Scope, route
from _taskqueue.web.shapes import AttemptView, TaskDetail, TaskPage, show_attempt, show_detail, show_task

LIST_S = 3.0
"""A list over many queues may take longer than one call to the store."""
FOLLOW_S, FOLLOW_MAX_S = 0.5, 3600.0
ABSENT_RETRY_S = 1


class ListQuery(msgspec.Struct):
    """Query of ``GET /tasks``; commas mean or, different filters mean and."""

    state: StateText = ""
    queue: str = ""
    task: str = ""
    tag: str = ""
    error: str = ""
    fingerprint: str = ""
    worker: str = ""
    batch_id: str = ""
    created_after: TimeText = ""
    created_before: TimeText = ""
    q: str = ""
    order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""
    fields: str = ""


class ReadQuery(msgspec.Struct):
    """Query of ``GET /tasks/{id}``."""

    wait: Duration = ""
    wait_for: StateText = ""
    fields: str = ""


class ResultQuery(msgspec.Struct):
    """Query of ``GET /tasks/{id}/result``."""

    wait: Duration = ""


MARK = "lines left out …"
"""Ends the line that stands for the middle of a long log."""


class LogQuery(msgspec.Struct):
    """Query of ``GET /tasks/{id}/logs``."""

    attempt: Annotated[int, msgspec.Meta(ge=0, le=100_000, description="0: the latest")] = 0
    follow: Literal["0", "1"] = "0"


class AttemptPage(msgspec.Struct):
    """The attempts that ended, oldest first."""

    items: list[AttemptView]


class TasksApi:
    """Reading tasks."""

    def __init__(self, producer: Producer, browse: Browse, catalog: Catalog, cursors: Cursors, stopping: anyio.Event) -> None:
        self._producer, self._browse, self._catalog, self._cursors, self._stopping = producer, browse, catalog, cursors, stopping

    @route("GET", "/tasks", scope=Scope.READ, query=ListQuery, open_query=(META,), answers={200: TaskPage}, problems=(400, 422))
    async def list_tasks(self, query: ListQuery) -> Response:
        """Tasks by state, queue, name, tag, error, …, the latest first."""
        wanted, descending = filter_of_request(), query.order == "desc"
        after = self._cursors.read(query.cursor, wanted, descending)
        with in_time(LIST_S):
            page = await self._browse.page(wanted, descending=descending, limit=query.limit, after=after)
        with_payload = "payload" in query.fields.split(",")
        items = [show_task(await self._masked(sight), payload=with_payload) for sight in page.sights]
        return json_response(TaskPage(items, self._cursors.write(wanted, descending, page.next), page.scanned, page.complete))

    @route(
        "GET", "/tasks/<task_id>", scope=Scope.READ, contract=True, query=ReadQuery, answers={200: TaskDetail}, problems=(404, 422)
    )  # fmt: skip
    async def read(self, task_id: str, query: ReadQuery) -> Response:
        """One task; ?wait= holds until it ended (or ?wait_for= a state), at most 60 s, and answers with what it is then."""
        states = read_states("wait_for", query.wait_for)
        sight = await self._wait(task_id, read_wait(query.wait) or 0.0, states)
        return json_response(show_detail(await self._masked(sight), payload="payload" in query.fields.split(",")))

    @route(
        "GET", "/tasks/<task_id>/result", scope=Scope.READ, contract=True, query=ResultQuery,
        answers={200: Any, 202: Any}, problems=(404, 409, 410, 422),
    )  # fmt: skip
    async def result(self, task_id: str, query: ResultQuery) -> Response:
        """The result alone, as JSON; 202 while there is none yet."""
        sight = await self._wait(task_id, read_wait(query.wait) or 0.0, frozenset())
        if sight.state is State.SUCCEEDED:
            kept = sight.outcome.result if sight.outcome else None
            return json_response(None if kept is None else msgspec.Raw(kept))
        if sight.state is State.EXPIRED:
            raise Problem(410, "expired", "the task was not started in time; it has no result", state=sight.state.value)
        if sight.state in TERMINAL:
            error = show_task(sight).error
            detail = f"the task is {sight.state.value} and has no result"
            raise Problem(409, "invalid_state", detail, state=sight.state.value, error=error)
        return json_response({"state": sight.state.value}, 202, {"Retry-After": str(ABSENT_RETRY_S)})

    @route("GET", "/tasks/<task_id>/attempts", scope=Scope.READ, answers={200: AttemptPage}, problems=(404,))
    async def attempts(self, task_id: str) -> Response:
        """The attempts that ended, with their errors and tracebacks, the last fifty."""
        sight = await self._look(task_id)
        return json_response(AttemptPage([show_attempt(one) for one in sight.attempts]))

    @route(
        "GET", "/tasks/<task_id>/logs", scope=Scope.READ, query=LogQuery,
        answers={200: Media("text/plain", "what the handler logged")}, problems=(404, 422),
    )  # fmt: skip
    async def logs(self, task_id: str, query: LogQuery) -> Response:
        """What one attempt logged (the latest by default); ?follow=1 goes on until the attempt ends."""
        sight = await self._look(task_id)
        number = query.attempt or number_of(sight)
        if query.follow == "0":
            with in_time():
                return _text(await self._browse.log(sight.queue, task_id, number))
        response = _text(self._follow(sight.queue, task_id, number))
        response.timeout = None
        return response

    @route("GET", "/tasks/<task_id>/explain", scope=Scope.READ, answers={200: Explanation}, problems=(404,))
    async def explain(self, task_id: str) -> Response:
        """Why the task is where it is: its place in the queue, what holds it, when it should start."""
        sight = await self._look(task_id)
        tasks = await self._catalog.tasks()
        with in_time():
            count = await self._producer.store.count(sight.queue)
            place = await self._producer.store.place(sight.queue, task_id) if sight.state is State.PENDING else None
            return json_response(explain(sight, count, place, tasks, self._producer.default_task))

    # -- steps ------------------------------------------------------------------------------------------------------

    async def _masked(self, sight: Sight) -> Sight:
        return await self._catalog.mask(sight, self._producer.default_task)

    async def _look(self, task_id: str) -> Sight:
        return await self._wait(task_id, 0.0, frozenset())

    async def _wait(self, task_id: str, wait_s: float, states: frozenset[State]) -> Sight:
        with in_time(wait_s + ANSWER_S):
            sight = await self._producer.wait(task_id, states, wait_s, self._stopping)
            if sight is None:
                raise unknown_task(task_id)
            return sight

    async def _follow(self, queue: str, task_id: str, number: int) -> AsyncIterator[bytes]:
        sent, give_up = "", anyio.current_time() + FOLLOW_MAX_S
        while True:
            try:
                sight = await self._producer.look(task_id)
                text = await self._browse.log(queue, task_id, number)
            except StoreError:
                sight, text = None, ""
            else:
                if new := news_of(sent, text):
                    yield new.encode()
                    sent = text
                if sight is None or sight.state in TERMINAL or number_of(sight) > number:
                    return
            if self._stopping.is_set() or anyio.current_time() > give_up:
                return
            with anyio.move_on_after(FOLLOW_S):
                await self._stopping.wait()


def news_of(before: str, now: str) -> str:
    """What a log says that it did not say before. A long one loses lines of its middle, which moves the rest."""
    if now.startswith(before):
        return now[len(before) :]
    last = before.rpartition("\n")[2]
    at = now.rfind(last)
    return now[at + len(last) :] if at >= 0 else f"\n… lines left out …\n{now.rpartition(MARK)[2].lstrip()}"


def number_of(sight: Sight) -> int:
    """Which attempt is the latest, crashes included."""
    if sight.held:
        return sight.held.attempt + sight.held.crashes
    if sight.outcome:
        return sight.outcome.attempt + sight.crashes
    return max(1, sight.failed_attempts + sight.crashes)


def filter_of_request() -> Filter:
    """The filters in the query. Raises Problem."""
    fields = [
        (name, text) for name, text in request.args.items(multi=True) if text and (name == "q" or name.startswith(META) or is_filter(name))
    ]
    try:
        return read_filter(fields)
    except TermsError as error:
        raise from_terms(error) from None


def unknown_task(task_id: str) -> Problem:
    """404 for a task."""
    return Problem(404, "not_found", f"there is no task {task_id[:64]!r}; it may have been forgotten after its retention")


def _text(body: Any) -> Response:
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(body, 200, headers, content_type="text/plain; charset=utf-8")
