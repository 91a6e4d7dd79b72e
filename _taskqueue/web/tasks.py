"""``/tasks``: submit, read, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import anyio
import msgspec
from quart import Blueprint, Response, request

from _taskqueue.domain.durations import parse_duration
from _taskqueue.domain.errors import Refusal, StoreError
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Submission
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.store.answers import Sight
from _taskqueue.terms import READERS, TermsError, unknown_fields
from _taskqueue.web.problems import ANSWER_S, Problem, from_refusal, from_store, from_terms, in_time, json_response
from _taskqueue.web.shapes import show_task

BATCH_MAX = 1_000
IGNORED_CHARS_MAX = 1_000
WAIT_MAX_S = 60.0
ESCAPING = 6
"""JSON may write one byte of payload as six: \\u0041."""
OTHER_FIELDS_BYTES = 65_536
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_text = msgspec.json.Decoder(str).decode


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /tasks/batch``."""

    tasks: list[msgspec.Raw]


def tasks_blueprint(producer: Producer, metrics: Metrics, stopping: anyio.Event) -> Blueprint:
    """The routes of this resource."""
    routes = Blueprint("tasks", __name__)
    api = TasksApi(producer, metrics, stopping)
    routes.post("/tasks")(api.submit)
    routes.post("/tasks/batch")(api.submit_batch)
    routes.get("/tasks/<task_id>")(api.read)
    routes.post("/tasks/<task_id>/cancel")(api.cancel)
    return routes


class TasksApi:
    """The views: each parses, calls the producer, renders."""

    def __init__(self, producer: Producer, metrics: Metrics, stopping: anyio.Event) -> None:
        self._producer, self._metrics, self._stopping = producer, metrics, stopping
        self._body_bytes_max = producer.payload_bytes_max * ESCAPING + OTHER_FIELDS_BYTES

    async def submit(self) -> Response:
        """``POST /tasks``: accept one task; 202, the body exactly ``{"task_id": …}``."""
        wait_s = _wait_s()
        body = await _body()
        if len(body) > self._body_bytes_max:
            raise self._rejected(Problem(413, "payload_too_large", f"the body has {len(body)} bytes, more than {self._body_bytes_max}"))
        try:
            submission, ignored = self._read(body, strict="strict" in request.args)
        except TermsError as error:
            raise self._rejected(from_terms(error)) from None
        except Problem as problem:
            raise self._rejected(problem) from None
        try:
            task_id = await self._producer.submit(submission)
        except (StoreError, Refusal) as error:
            raise self._rejected(from_refusal(error)) from None
        headers = {"Location": f"/tasks/{task_id}"}
        if ignored:
            headers["X-Ignored-Fields"] = quote(", ".join(ignored), safe=", ")[:IGNORED_CHARS_MAX]
        if wait_s is None and "return=representation" not in request.headers.get("Prefer", ""):
            return json_response({"task_id": task_id}, 202, headers)
        return json_response(show_task(await self._wait(task_id, wait_s or 0.0, frozenset())), 202, headers)

    async def submit_batch(self) -> Response:
        """``POST /tasks/batch``: up to 1,000 tasks; each item gets its own result, in order."""
        items = _read_batch(await _body())
        accepted: list[Submission] = []
        results: list[dict[str, Any] | None] = []
        for item in items:
            try:
                submission, _ = self._read(item, strict=True)
            except (TermsError, Problem) as error:
                problem = from_terms(error) if isinstance(error, TermsError) else error
                results.append({"error": self._rejected(problem).document()})
            else:
                accepted.append(submission)
                results.append(None)
        stored = iter(await self._store_all(accepted))
        filled = [next(stored) if result is None else result for result in results]
        count = sum("task_id" in result for result in filled)
        return json_response({"accepted": count, "rejected": len(filled) - count, "results": filled}, 202 if count or not items else 422)

    async def read(self, task_id: str) -> Response:
        """``GET /tasks/{id}``: the task; ``?wait=`` holds until it ended (or ``?wait_for=`` a state), at most 60 s."""
        wait_s = _wait_s() or 0.0
        return json_response(show_task(await self._wait(task_id, wait_s, _wait_for())))

    async def cancel(self, task_id: str) -> Response:
        """``POST /tasks/{id}/cancel``: at once while it waits (200), by request while it runs (202)."""
        with in_time():
            was = await self._producer.cancel(task_id)
            sight = await self._producer.look(task_id) if was else None
            if was is None or sight is None:
                raise _unknown(task_id)
            if was in (State.SUCCEEDED, State.DEAD, State.EXPIRED):
                allowed = ["scheduled", "pending", "running", "retrying"]
                raise Problem(
                    409, "invalid_state", f"the task is {was.value} already and cannot be cancelled", state=was.value, allowed=allowed
                )
            return json_response(show_task(sight), 202 if sight.state is State.RUNNING else 200)

    # -- steps ------------------------------------------------------------------------------------------------------

    def _read(self, body: bytes | msgspec.Raw, *, strict: bool) -> tuple[Submission, list[str]]:
        """A submission and the names of ignored fields. Raises TermsError, Problem."""
        try:
            fields = _read_object(body)
        except msgspec.ValidationError:
            raise Problem(400, "invalid_json", 'the body must be a JSON object, such as {"payload": "hello"}') from None
        except UNREADABLE as error:
            raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from None
        raw = fields.pop("payload", None)
        if raw is None:
            missing = [{"pointer": "/payload", "code": "missing_field", "detail": "is required"}]
            raise Problem(422, "invalid_field", "payload: is required; any JSON value will do", errors=missing)
        ignored = unknown_fields(fields)
        if ignored and strict:
            raise TermsError(ignored)
        try:
            payload, is_text = _read_payload(bytes(raw))
            plain = {name: msgspec.json.decode(value) for name, value in fields.items() if name in READERS}
        except UNREADABLE as error:
            raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from None
        return self._producer.read(plain, payload, is_text), [one.field for one in ignored]

    async def _store_all(self, accepted: Sequence[Submission]) -> list[dict[str, Any]]:
        try:
            ends = await self._producer.submit_many(accepted)
        except StoreError as error:
            raise self._rejected(from_store(error)) from None
        return [{"task_id": end} if isinstance(end, str) else {"error": self._rejected(from_refusal(end)).document()} for end in ends]

    async def _wait(self, task_id: str, wait_s: float, states: frozenset[State]) -> Sight:
        with in_time(wait_s + ANSWER_S):
            sight = await self._producer.wait(task_id, states, wait_s, self._stopping)
            if sight is None:
                raise _unknown(task_id)
            return sight

    def _rejected(self, problem: Problem) -> Problem:
        self._metrics.rejected.labels(problem.code).inc()
        return problem


def _read_payload(raw: bytes) -> tuple[bytes, bool]:
    """A JSON string's own characters, or the JSON of anything else as it was sent."""
    if raw.startswith(b'"'):
        return _read_text(raw).encode(), True
    raw.decode()  # what is no UTF-8 is no JSON either
    return raw, False


def _read_batch(body: bytes) -> list[msgspec.Raw]:
    try:
        items = msgspec.json.decode(body, type=BatchBody).tasks
    except UNREADABLE as error:
        raise Problem(400, "invalid_json", f'the body must be {{"tasks": [{{"payload": …}}, …]}}: {error}') from None
    if len(items) > BATCH_MAX:
        raise Problem(422, "invalid_field", f"tasks: has {len(items)} items, more than {BATCH_MAX}; send several batches")
    return items


def _unknown(task_id: str) -> Problem:
    return Problem(404, "not_found", f"there is no task {task_id[:64]!r}; it may have been forgotten after its retention")


def _wait_s() -> float | None:
    """How long the caller wants to wait, from ``?wait=`` or ``Prefer: wait=`` (RFC 7240), at most WAIT_MAX_S."""
    text = request.args.get("wait")
    if text is None:
        for part in request.headers.get("Prefer", "").split(","):
            name, _, value = part.strip().partition("=")
            if name == "wait":
                text = value
    if text is None:
        return None
    try:
        return min(parse_duration(text), WAIT_MAX_S)
    except ValueError as error:
        raise Problem(422, "invalid_field", f"wait: {error}") from None


def _wait_for() -> frozenset[State]:
    names = request.args.get("wait_for", "")
    try:
        return frozenset(State(name) for name in names.split(",") if name)
    except ValueError:
        raise Problem(422, "invalid_field", f"wait_for: must be of {', '.join(State)}") from None


async def _body() -> bytes:
    body: bytes = await request.get_data()  # type: ignore[assignment]  # as_text is False
    return body
