"""``/tasks/{id}/…``: retry, run, cancel, rerun, edit, delete."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from quart import Response

from _taskqueue.domain.states import State
from _taskqueue.domain.task import UNREADABLE, Record, Submission
from _taskqueue.producer import Producer
from _taskqueue.store.answers import Sight
from _taskqueue.store.wire import decode_record
from _taskqueue.terms import READERS, FieldError, TermsError
from _taskqueue.web.bodies import EditBody, RerunBody, RetryBody
from _taskqueue.web.catalog import Catalog
from _taskqueue.web.problems import ANSWER_S, Problem, from_terms, in_time, json_response
from _taskqueue.web.reading import body_bytes_max, read_durability, read_payload
from _taskqueue.web.routing import Scope, body_bytes, read_body, route
from _taskqueue.web.shapes import Accepted, TaskDetail, show_detail
from _taskqueue.web.submit import SubmitApi, accepted, headers_of
from _taskqueue.web.tasks import unknown_task

RETRYABLE = (State.RETRYING, State.DEAD, State.CANCELLED, State.EXPIRED)
RUNNABLE = (State.SCHEDULED, State.RETRYING)
CANCELLABLE = (State.SCHEDULED, State.PENDING, State.RUNNING, State.RETRYING)
WAITING = (State.SCHEDULED, State.PENDING, State.RETRYING)
EDIT_TRIES = 5
CANCEL_WAIT_S = 5.0


class DeleteQuery(msgspec.Struct):
    """Query of ``DELETE /tasks/{id}``."""

    cancel: str = ""


class ActsApi:
    """Steering one task."""

    def __init__(self, producer: Producer, catalog: Catalog, submit: SubmitApi) -> None:
        self._producer, self._catalog, self._submit, self._store = producer, catalog, submit, producer.store

    @route("POST", "/tasks/<task_id>/retry", scope=Scope.OPERATE, body=RetryBody, answers={200: TaskDetail}, problems=(400, 404, 409, 422))
    async def retry(self, task_id: str, body: RetryBody) -> Response:
        """Give a task that failed, was cancelled or expired another try now; its attempts count on unless they are reset."""
        return await self._again(task_id, RETRYABLE, "retried", reset=body.reset_attempts)

    @route("POST", "/tasks/<task_id>/run", scope=Scope.OPERATE, answers={200: TaskDetail}, problems=(404, 409))
    async def run(self, task_id: str) -> Response:
        """Start a task now that waits for its time."""
        return await self._again(task_id, RUNNABLE, "started early", reset=False)

    @route("POST", "/tasks/<task_id>/cancel", scope=Scope.OPERATE, answers={200: TaskDetail, 202: TaskDetail}, problems=(404, 409))
    async def cancel(self, task_id: str) -> Response:
        """Cancel a task: at once while it waits (200), by request while it runs (202)."""
        with in_time():
            was = await self._producer.cancel(task_id)
            if was is None:
                raise unknown_task(task_id)
            if was in (State.SUCCEEDED, State.DEAD, State.EXPIRED):
                raise _wrong_state(was, CANCELLABLE, "cancelled")
            sight = await self._sight(task_id)
            return await self._show(sight, 202 if sight.state is State.RUNNING else 200)

    @route(
        "POST", "/tasks/<task_id>/rerun", scope=Scope.SUBMIT, body=RerunBody, audited=True, answers={202: Accepted},
        problems=(400, 404, 409, 413, 422),
    )  # fmt: skip
    async def rerun(self, task_id: str) -> Response:
        """Submit a new task like this one, or with another payload."""
        body = await body_bytes(body_bytes_max(self._producer))
        read_body(body, RerunBody)
        with in_time():
            sight = await self._sight(task_id)
            submission = await self._like(sight, _read_raw(body).get("payload"))
            self._catalog.check(submission, self._producer.default_task, await self._catalog.tasks())
        level = read_durability() or self._submit.durability
        new_id, replayed = await self._submit.accept(submission, body, level)
        return json_response(accepted(new_id), 202, headers_of(new_id, [], level) | replayed)

    @route("PATCH", "/tasks/<task_id>", scope=Scope.OPERATE, body=EditBody, answers={200: TaskDetail}, problems=(400, 404, 409, 422))
    async def edit(self, task_id: str, body: EditBody) -> Response:
        """Change the priority, time, attempts or tags of a task that waits."""
        changes = _read_changes(body)
        run_at_ms: int | None = changes.pop("run_at", None)
        with in_time():
            for _ in range(EDIT_TRIES):
                queue = await self._queue_of(task_id)
                seen = await self._store.raw_record(queue, task_id)
                if seen is None:
                    raise unknown_task(task_id)
                record = msgspec.structs.replace(_readable(decode_record(seen)), **changes)
                state, done = await self._store.edit(queue, task_id, seen, record, run_at_ms)
                if state is None:
                    raise unknown_task(task_id)
                if done == 0:
                    raise _wrong_state(state, WAITING, "changed")
                if done == 1:
                    self._producer.on_news(queue)
                    return await self._show(await self._sight(task_id))
        raise Problem(409, "conflict", "others change this task at the same time; try again")

    @route("DELETE", "/tasks/<task_id>", scope=Scope.ADMIN, query=DeleteQuery, answers={204: None}, problems=(404, 409))
    async def delete(self, task_id: str, query: DeleteQuery) -> Response:
        """Delete a task with all there is about it; a running one only with ?cancel=1, once it has stopped."""
        with in_time():
            queue = await self._queue_of(task_id)
            (was,) = await self._store.remove(queue, task_id)
        if was is State.RUNNING and query.cancel == "1":
            with in_time(CANCEL_WAIT_S + ANSWER_S):
                was = await self._cancel_and_remove(queue, task_id)
        if was is None:
            raise unknown_task(task_id)
        if was is State.RUNNING:
            raise _wrong_state(was, tuple(set(State) - {State.RUNNING, State.BLOCKED}), "deleted")
        return Response(b"", 204, {})

    # -- steps ------------------------------------------------------------------------------------------------------

    async def _cancel_and_remove(self, queue: str, task_id: str) -> State | None:
        await self._producer.cancel(task_id)
        was: State | None = State.RUNNING
        with anyio.move_on_after(CANCEL_WAIT_S):
            while was is State.RUNNING:
                await anyio.sleep(0.05)
                (was,) = await self._store.remove(queue, task_id)
        return was

    async def _again(self, task_id: str, sources: tuple[State, ...], done: str, *, reset: bool) -> Response:
        with in_time():
            sight = await self._sight(task_id)
            ((was, moved),) = await self._store.retry(sight.queue, [(task_id, sight.record.priority)], sources, reset=reset)
            if was is None:
                raise unknown_task(task_id)
            if was not in sources:
                raise _wrong_state(was, sources, done)
            if not moved:
                key = sight.record.unique_key
                raise Problem(409, "duplicate_task", f"another task holds its unique key {key!r}; wait for that one, or cancel it")
            self._producer.on_news(sight.queue)
            return await self._show(await self._sight(task_id))

    async def _queue_of(self, task_id: str) -> str:
        queue = await self._store.queue_of(task_id)
        if queue is None:
            raise unknown_task(task_id)
        return queue

    async def _sight(self, task_id: str) -> Sight:
        sight = await self._producer.look(task_id)
        if sight is None:
            raise unknown_task(task_id)
        return sight

    async def _show(self, sight: Sight, status: int = 200) -> Response:
        return json_response(show_detail(await self._catalog.mask(sight, self._producer.default_task)), status)

    async def _like(self, sight: Sight, instead: msgspec.Raw | None) -> Submission:
        old = _readable(sight.record)
        payload, is_text = old.payload, old.is_text
        if instead is not None:
            payload, is_text = read_payload(bytes(instead))
        if len(payload) > self._producer.payload_bytes_max:
            raise Problem(413, "payload_too_large", f"the payload has {len(payload)} bytes, more than {self._producer.payload_bytes_max}")
        record = msgspec.structs.replace(old, payload=payload, is_text=is_text, rerun_of=sight.id, batch="", unique_key="")
        retain_ms = await self._store.retain_ms(sight.queue, sight.id)
        return Submission(record, sight.queue, expires_in_ms=old.expires_in_ms, retain_ms=retain_ms)


def _readable(record: Record) -> Record:
    if record is UNREADABLE:
        raise Problem(409, "unreadable", "this release cannot read the task's record; a newer one may have written it")
    return record


def _read_raw(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a body as they were sent: a payload keeps its every digit."""
    return msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])


def _read_changes(body: EditBody) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    errors = []
    for name in ("priority", "run_at", "max_attempts", "tags"):
        value = getattr(body, name)
        if value is msgspec.UNSET:
            continue
        try:
            changes[name] = READERS[name](value)
        except (ValueError, TypeError) as error:
            errors.append(FieldError(name, f"invalid_{name}", str(error)))
    if errors:
        raise from_terms(TermsError(errors))
    return changes


def _wrong_state(was: State, allowed: tuple[State, ...], done: str) -> Problem:
    names = sorted(state.value for state in allowed)
    detail = f"the task is {was.value} and cannot be {done}; only {', '.join(names)} tasks can"
    return Problem(409, "invalid_state", detail, state=was.value, allowed=names)
