"""``POST /tasks`` and ``POST /tasks/batch``: how tasks come in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import anyio
import msgspec
from quart import Response, g, request

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import KeyHeld, QueueFull, Refusal, StoreError, StoreFull
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Submission, TaskInfo
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Existing, Producer
from _taskqueue.store.answers import Sight
from _taskqueue.terms import BATCH_ID, BATCH_ID_RULE, FieldError, TermsError
from _taskqueue.web.bodies import BatchBody, SubmitBody
from _taskqueue.web.catalog import Catalog
from _taskqueue.web.connection import STREAMED, upload_of
from _taskqueue.web.idempotency import Idempotency, Reservation, read_key
from _taskqueue.web.pressure import Pressure
from _taskqueue.web.problems import ANSWER_S, Problem, from_refusal, from_store, from_terms, in_time, json_response, refuse_coded
from _taskqueue.web.reading import Duration, applied, body_bytes_max, preference, read_durability, read_submission, read_wait
from _taskqueue.web.routing import Media, Scope, body_bytes, read_body, route
from _taskqueue.web.shapes import Accepted, TaskDetail, show_detail

BATCH_MAX, BATCH_BYTES_MAX = 1_000, 12 * 1024 * 1024
LINES_AT_ONCE = 500
CHUNK_S = 30.0
"""A streamed body may pause for this long."""
IGNORED_CHARS_MAX = 1_000
ERRORS_SHOWN_MAX = 100

Outcome = str | StoreError | Refusal | Problem


class SubmitQuery(msgspec.Struct):
    """Query of ``POST /tasks``."""

    wait: Duration = ""
    strict: str = ""


class StreamQuery(msgspec.Struct):
    """Query of ``POST /tasks/batch``."""

    results: Literal["all", "errors"] = "all"


class BatchResult(msgspec.Struct, omit_defaults=True):
    """What became of one item."""

    task_id: str | None = None
    existing: bool = False
    """nothing new was stored: this task holds, or held, the unique key"""
    error: dict[str, Any] | None = None


class BatchAnswer(msgspec.Struct):
    """What became of each item, in order."""

    accepted: int
    rejected: int
    batch_id: str | None
    results: list[BatchResult]


class SubmitApi:
    """How tasks come in."""

    def __init__(
        self, producer: Producer, metrics: Metrics, catalog: Catalog, idempotency: Idempotency, pressure: Pressure, stopping: anyio.Event
    ) -> None:
        self._producer, self._metrics, self._catalog, self._stopping = producer, metrics, catalog, stopping
        self._idempotency, self._pressure = idempotency, pressure
        self._body_bytes_max = body_bytes_max(producer)

    @property
    def durability(self) -> Durability:
        """What is waited for when a request does not say."""
        return self._producer.durability

    @route(
        "POST", "/tasks", scope=Scope.SUBMIT, contract=True, query=SubmitQuery, body=SubmitBody,
        answers={202: (Accepted, TaskDetail)}, problems=(400, 409, 413, 422, 503),
    )  # fmt: skip
    async def submit(self, query: SubmitQuery) -> Response:
        """Accept one task; the body is exactly {"task_id": …} unless more is asked for, or the task of its unique key was there.

        ``Prefer: durability=disk`` or ``replica`` answers when it is safe there (503 where it cannot be), ``Prefer: wait=5``
        when it has ended or the time is up.
        """
        wait_s, level = read_wait(query.wait), read_durability() or self.durability
        body = await body_bytes(self._body_bytes_max)
        try:
            submission, ignored = await self.read_one(body, strict="strict" in request.args)
            task_id, replayed = await self.accept(submission, body, level)
        except Problem as problem:
            raise self.rejected(problem) from None
        headers = headers_of(task_id, ignored, level) | replayed
        if wait_s is None and preference("return") != "representation":
            return json_response(accepted(task_id), 202, headers)
        try:
            sight = await self._catalog.mask(await self._wait(task_id, wait_s or 0.0), self._producer.default_task)
        except Problem as problem:
            raise self.rejected(problem) from None
        return json_response(show_detail(sight), 202, headers)

    @route(
        "POST", "/tasks/batch", scope=Scope.SUBMIT, contract=True, query=StreamQuery, body=BatchBody,
        media=("application/json", STREAMED),
        answers={202: BatchAnswer, 200: Media(STREAMED, "one result a line, in order, then a line with the sums")},
        problems=(400, 409, 413, 422, 503),
    )  # fmt: skip
    async def submit_batch(self, query: StreamQuery) -> Response:
        """Accept up to 1,000 tasks, or any number as lines of JSON; each gets its own result, in order."""
        level = read_durability() or self.durability
        if request.mimetype == STREAMED:
            refuse_coded(request.headers.get("Content-Encoding", ""))
            if "Idempotency-Key" in request.headers:
                raise Problem(422, "invalid_field", "Idempotency-Key: does not go with a stream; give its tasks unique keys")
            return self._stream(query.results == "errors", level)
        read_key(request.headers.get("Idempotency-Key"))
        body = await body_bytes(max(BATCH_BYTES_MAX, self._body_bytes_max))
        batch: BatchBody = read_body(body, BatchBody)
        if batch.batch_id is not None and not BATCH_ID.fullmatch(batch.batch_id):  # $ in a pattern lets a last newline pass
            raise from_terms(TermsError([FieldError("batch_id", "invalid_field", f"must be {BATCH_ID_RULE}")]))
        if len(batch.tasks) > BATCH_MAX:
            raise Problem(422, "invalid_field", f"tasks: has {len(batch.tasks)} items, more than {BATCH_MAX}; send several batches")
        read = await self._read_many(batch.tasks, batch.batch_id)
        refused = [one for one in read if isinstance(one, Problem)]
        if batch.atomic and refused:
            raise _all_or_nothing(read)
        good = [one for one in read if isinstance(one, Submission)]
        taken = await self._reserve(body, good) if good else None
        if taken and taken.answered:
            return json_response(msgspec.Raw(taken.body), 202, {"Idempotency-Replayed": "true", **applied(level)})
        stored = await self._store_many(good, taken.ids if taken else (), level)
        results = self._merge(read, stored)
        count = sum(result.task_id is not None for result in results)
        shown = BatchAnswer(count, len(results) - count, batch.batch_id, results)
        away = next((one for one in stored if isinstance(one, StoreError)), None)
        if away is not None and not count:
            raise from_store(away)  # some may be stored all the same: only the key, or looking, can tell
        if results and not count:
            raise Problem(422, "all_refused", f"none of the {len(results)} tasks was accepted", **msgspec.structs.asdict(shown))
        if taken is not None and away is None:
            await self._keep(taken, msgspec.json.encode(shown))
        return json_response(shown, 202, applied(level))

    # -- one --------------------------------------------------------------------------------------------------------

    async def read_one(self, body: bytes, *, strict: bool) -> tuple[Submission, list[str]]:
        """A submission, and the names of fields that were ignored. Raises Problem."""
        return self._read(body, await self._catalog.tasks(), strict=strict)

    def _read(self, body: bytes | msgspec.Raw, tasks: Mapping[str, TaskInfo], *, strict: bool) -> tuple[Submission, list[str]]:
        if len(body) > self._body_bytes_max:
            raise Problem(413, "payload_too_large", f"the body has {len(body)} bytes, more than {self._body_bytes_max}")
        try:
            submission, ignored = read_submission(self._producer, body, strict=strict)
        except TermsError as error:
            raise from_terms(error) from None
        self._catalog.check(submission, self._producer.default_task, tasks)
        return submission, ignored

    async def _reserve(self, body: bytes, submissions: Sequence[Submission]) -> Reservation | None:
        if "Idempotency-Key" not in request.headers:
            return None
        with in_time():
            ids = [await self._producer.new_id(one.queue) for one in submissions]
            taken = await self._idempotency.reserve(g.caller.name, body, ids)
        if taken is not None and not taken.answered and len(taken.ids) != len(submissions):
            detail = "the first request under this Idempotency-Key found other items good, as handlers were then; take a new key"
            raise Problem(422, "idempotency_mismatch", detail)
        return taken

    async def accept(self, submission: Submission, body: bytes, level: Durability) -> tuple[str, dict[str, str]]:
        """Accept it under the request's Idempotency-Key; gives the id, and a header when it is that of an earlier request.

        Raises:
            Problem: refused.
        """
        taken = await self._reserve(body, [submission])
        if taken and taken.answered:
            return _replayed(taken), {"Idempotency-Replayed": "true"}
        return await self.store_one(submission, taken, level), {}

    async def store_one(self, submission: Submission, taken: Reservation | None = None, level: Durability | None = None) -> str:
        """Accept it; gives the id of the task that stands for it. Raises Problem."""
        try:
            self._pressure.check()
            task_id = await self._producer.offer(submission, taken.ids[0] if taken else "", level)
        except (Refusal, StoreFull) as refusal:
            raise await self._explained(refusal) from None
        except StoreError as error:
            raise from_store(error) from None
        if taken is not None:
            taken.kept.ids = [str(task_id)]
            await self._keep(taken, msgspec.json.encode(accepted(task_id)))
        return task_id

    async def _keep(self, taken: Reservation, body: bytes) -> None:
        """Best done, but not needed: a repetition finds the same ids."""
        try:
            with in_time():
                await self._idempotency.keep(taken, body)
        except (StoreError, Problem):
            pass

    async def _explained(self, refusal: Refusal | StoreError) -> Problem:
        """With the time to wait, or the state of the task that is in the way."""
        if isinstance(refusal, QueueFull):
            refusal = QueueFull(refusal.queue, await self._pressure.retry_after_s(refusal.queue))
        problem = from_refusal(refusal)
        if isinstance(refusal, KeyHeld):
            problem.more.update(_more_of(refusal))
        return problem

    async def _wait(self, task_id: str, wait_s: float) -> Sight:
        with in_time(wait_s + ANSWER_S):
            sight = await self._producer.wait(task_id, frozenset[State](), wait_s, self._stopping)
        if sight is None and isinstance(task_id, Existing):
            raise Problem(409, "duplicate_task", str(task_id.held), task_id=str(task_id), **_more_of(task_id.held))
        if sight is None:
            raise Problem(404, "not_found", f"the task {task_id} was accepted and is already forgotten")
        return sight

    def rejected(self, problem: Problem) -> Problem:
        """Count a refusal, and hand it on."""
        self._metrics.rejected.labels(problem.code).inc()
        return problem

    # -- many -------------------------------------------------------------------------------------------------------

    async def _read_many(self, items: Iterable[bytes | msgspec.Raw], batch_id: str | None = None) -> list[Submission | Problem]:
        tasks = await self._catalog.tasks()
        return [self._try_read(item, batch_id, tasks) for item in items]

    def _try_read(self, item: bytes | msgspec.Raw, batch_id: str | None, tasks: Mapping[str, TaskInfo]) -> Submission | Problem:
        try:
            submission, _ = self._read(item, tasks, strict=True)
        except Problem as problem:
            return self.rejected(problem)
        if batch_id and not submission.record.batch:
            record = msgspec.structs.replace(submission.record, batch=batch_id)
            return msgspec.structs.replace(submission, record=record)
        return submission

    async def _store_many(self, good: Sequence[Submission], ids: Sequence[str], level: Durability) -> list[Outcome]:
        try:
            self._pressure.check()
            return list(await self._producer.submit_many(good, ids, level))
        except StoreError as error:
            raise self.rejected(from_store(error)) from None

    def _merge(self, read: Sequence[Submission | Problem], stored: Sequence[Outcome]) -> list[BatchResult]:
        ends = iter(stored)
        return [self._result(one if isinstance(one, Problem) else next(ends)) for one in read]

    def _result(self, end: Outcome) -> BatchResult:
        if isinstance(end, str):
            return BatchResult(str(end), isinstance(end, Existing))
        problem = end if isinstance(end, Problem) else self.rejected(from_refusal(end))
        return BatchResult(error=problem.document())

    # -- lines ------------------------------------------------------------------------------------------------------

    def _stream(self, only_errors: bool, level: Durability) -> Response:
        response = Response(self._lines(upload_of(request), only_errors, level), 200, applied(level), STREAMED)
        response.timeout = None
        return response

    async def _lines(self, body: Any, only_errors: bool, level: Durability) -> AsyncIterator[bytes]:
        accepted = rejected = 0
        try:
            async for lines in _read_lines(body, self._body_bytes_max):
                read = await self._read_many(lines)
                results = self._merge(read, await self._store_lines([one for one in read if isinstance(one, Submission)], level))
                count = sum(result.task_id is not None for result in results)
                accepted, rejected = accepted + count, rejected + len(results) - count
                shown = [result for result in results if result.error is not None] if only_errors else results
                yield b"".join(msgspec.json.encode(result) + b"\n" for result in shown)
        except Problem as problem:
            yield msgspec.json.encode(BatchResult(error=problem.document())) + b"\n"
        yield msgspec.json.encode({"accepted": accepted, "rejected": rejected}) + b"\n"

    async def _store_lines(self, good: Sequence[Submission], level: Durability) -> Sequence[Outcome]:
        try:
            return await self._store_many(good, (), level)
        except Problem as problem:
            return [problem] * len(good)


def accepted(task_id: str) -> Accepted:
    """The answer to a submission that this id stands for."""
    return Accepted(str(task_id), isinstance(task_id, Existing))


def _more_of(held: KeyHeld) -> dict[str, Any]:
    """Members of the problem: the state of the holder, null when it is forgotten, and until when the key is held."""
    return {"state": held.state or None, **({"held_until": held.until} if held.until else {})}


def _replayed(taken: Reservation) -> str:
    """The id that an earlier request was answered with."""
    known = msgspec.json.decode(taken.body, type=Accepted)
    return Existing(KeyHeld(known.task_id, "", over=True)) if known.existing else known.task_id


def headers_of(task_id: str, ignored: Sequence[str], level: Durability) -> dict[str, str]:
    """The headers of an accepted submission."""
    headers = {"Location": f"/tasks/{task_id}", **applied(level)}
    if ignored:
        headers["X-Ignored-Fields"] = quote(", ".join(ignored), safe=", ")[:IGNORED_CHARS_MAX]
    return headers


def _all_or_nothing(read: Sequence[Submission | Problem]) -> Problem:
    errors = [{"pointer": f"/tasks/{at}", "code": one.code, "detail": str(one)} for at, one in enumerate(read) if isinstance(one, Problem)]
    return Problem(422, "invalid_field", f"{len(errors)} items are wrong and nothing was stored", errors=errors[:ERRORS_SHOWN_MAX])


async def _read_lines(body: Any, line_bytes_max: int) -> AsyncIterator[list[bytes]]:
    """The lines of a body as they come, some hundred at once. Raises Problem."""
    held: list[bytes] = []  # the beginning of a line that may come in many parts; joining each time would be quadratic
    size = 0
    parts = body.__aiter__()
    while True:
        try:
            with anyio.fail_after(CHUNK_S):
                part = await anext(parts, None)
        except TimeoutError:
            raise Problem(408, "request_timeout", f"nothing came for {CHUNK_S:g} s") from None
        head, newline, rest = (part or b"").rpartition(b"\n")
        lines: list[bytes] = []
        if newline or part is None:
            lines = b"".join((*held, head)).split(b"\n")
            held, size = [], 0
        if rest:
            held.append(rest)
            size += len(rest)
        full = [line for line in lines if line.strip()]
        for start in range(0, len(full), LINES_AT_ONCE):
            yield full[start : start + LINES_AT_ONCE]
        if size > line_bytes_max:
            raise Problem(413, "payload_too_large", f"a line has more than {line_bytes_max} bytes")
        if part is None:
            return
