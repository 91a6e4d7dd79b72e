"""Every error as a problem document (RFC 9457), with a stable ``code`` for programs and a sentence for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import anyio
import msgspec
from quart import Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from _taskqueue.domain.errors import KeyHeld, NotDurable, QueueFull, Refusal, StoreError, StoreFull, StoreUnavailable
from _taskqueue.terms import FieldError, PayloadTooLarge, TermsError

RETRY_SOON_S, RETRY_LATER_S = 1, 10
ANSWER_S = 0.9
"""Requests that wait for the store are answered within this time, whatever it does."""
_CODES = {
    400: "bad_request",
    408: "request_timeout",
    413: "payload_too_large",
    415: "unsupported_media_type",
    500: "internal_error",
}


class Problem(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after_s: int | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.more = more

    def document(self) -> dict[str, Any]:
        """The problem as JSON values."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": str(self),
            **({"retry_after_seconds": int(after)} if (after := self.headers.get("Retry-After")) else {}),
            **self.more,
        }

    def response(self) -> Response:
        """The problem as an answer."""
        return json_response(self.document(), self.status, self.headers, "application/problem+json")


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None, mimetype: str = "application/json") -> Response:
    """Any value that msgspec can encode, as an answer."""
    return Response(msgspec.json.encode(value) + b"\n", status, dict(headers or {}), mimetype)


def from_terms(error: TermsError) -> Problem:
    """A submission that cannot be accepted: 413 for its size, else 422 naming each field."""
    if isinstance(error, PayloadTooLarge):
        return Problem(413, "payload_too_large", str(error))
    codes = {one.code for one in error.errors}
    code = "unknown_field" if codes == {"unknown_field"} else "invalid_field"
    return Problem(422, code, str(error), errors=field_errors(error.errors))


def field_errors(errors: Iterable[FieldError]) -> list[dict[str, str]]:
    """Wrong fields with JSON pointers (RFC 6901)."""
    return [{"pointer": "/" + one.field.replace("~", "~0").replace("/", "~1"), "code": one.code, "detail": one.detail} for one in errors]


def from_store(error: StoreError) -> Problem:
    """The store cannot do it now; nothing that was accepted is lost."""
    if isinstance(error, StoreFull):
        return Problem(503, "storage_full", f"{error}; nothing was stored", retry_after_s=RETRY_LATER_S)
    if isinstance(error, NotDurable):
        return Problem(503, "not_durable", f"{error}; try again under the same Idempotency-Key", retry_after_s=RETRY_SOON_S)
    return Problem(503, "backend_unavailable", f"{error}; try again", retry_after_s=RETRY_SOON_S)


def from_refusal(error: StoreError | Refusal) -> Problem:
    """A submission that was not stored: 503 for the store, 429 for a full queue, 409 for a unique key that is held."""
    if isinstance(error, QueueFull):
        return Problem(429, "queue_full", f"{error}; try again later", retry_after_s=error.retry_after_s)
    if isinstance(error, KeyHeld):
        return Problem(409, "duplicate_task", str(error), task_id=error.holder)
    return from_store(error) if isinstance(error, StoreError) else Problem(409, "refused", str(error))


@contextmanager
def in_time(seconds: float = ANSWER_S) -> Iterator[None]:
    """Answer with 503 when the block, which waits for the store, takes longer."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise from_store(StoreUnavailable("the store did not answer in time")) from None


def refuse_coded(coding: str) -> None:
    """Raise Problem for a body that is compressed: nothing here unpacks one, and its JSON would be taken for broken."""
    if coding.strip().lower() not in ("", "identity"):
        problem = Problem(415, "unsupported_media_type", f"Content-Encoding: {coding[:40]!r} is not taken; send the body as it is")
        problem.headers["Accept-Encoding"] = "identity"  # RFC 9110, 15.5.16
        raise problem


def _there_is_no(path: str) -> str:
    bare = path.rstrip("/")
    if bare != path and bare and current_app.url_map.bind("").allowed_methods(bare):
        return f"there is no such path; without the / at its end there is: {bare}"
    return "there is no such path"


def from_http(error: HTTPException, methods: Iterable[str] = ()) -> Problem:
    """What the framework raised: unknown path, wrong method (of those the path has), body too large, …"""
    status = error.code or 500
    if isinstance(error, NotFound):
        return Problem(404, "not_found", _there_is_no(request.path))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(methods or error.valid_methods or ()))
        problem = Problem(405, "method_not_allowed", f"this path takes {allowed}")
        problem.headers["Allow"] = allowed  # RFC 9110, 15.5.6
        return problem
    return Problem(status, _CODES.get(status, "error"), error.description or HTTPStatus(status).phrase)
