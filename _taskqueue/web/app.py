"""Puts the API together."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException

from _taskqueue.domain.errors import StoreError
from _taskqueue.metrics import Metrics
from _taskqueue.web.access import SECURITY_HEADERS, Access
from _taskqueue.web.audit import Audit
from _taskqueue.web.connection import Connection, StreamRequest
from _taskqueue.web.problems import Problem, from_http, from_store
from _taskqueue.web.routing import Mounted, Route, mount

BODY_BYTES_MAX = 64 * 1024 * 1024
"""The largest body of any endpoint that is not streamed (a full batch); single tasks have a lower limit of their own."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = logging.getLogger("taskqueue.http")


def create_app(resources: Iterable[object], access: Access, audit: Audit, metrics: Metrics, mounted: Mounted) -> Quart:
    """The API as an ASGI application."""
    app = Quart("taskqueue", static_folder=None)
    app.request_class = StreamRequest
    app.asgi_http_class = Connection
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.url_map.strict_slashes = True
    _add_errors(app)
    _add_frame(app, metrics)

    async def gate(found: Route) -> None:
        g.route = found
        _refuse_cross_site()
        _refuse_large()
        await access.check(found)

    @app.after_request
    async def note(response: Response) -> Response:
        found: Route | None = g.get("route")
        if found is not None and "caller" in g:
            await audit.note(found, response)
        return response

    mount(app, resources, gate, mounted)
    return app


def _add_errors(app: Quart) -> None:
    def problem(error: Problem) -> Response:
        return error.response()

    def http(error: HTTPException) -> Response:
        return from_http(error).response()

    def store(error: StoreError) -> Response:
        return from_store(error).response()

    def defect(error: Exception) -> Response:
        log.error("%s %s failed; the request is answered with 500", request.method, request.path, exc_info=error)
        detail = "a defect of the server; its log has the details under this request's id"
        return Problem(500, "internal_error", detail, request_id=_request_id()).response()

    app.register_error_handler(Problem, problem)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(StoreError, store)
    app.register_error_handler(Exception, defect)


def _refuse_cross_site() -> None:
    """Bodies are read as JSON whatever their content type, so a foreign page could post a form here: refuse what a
    browser marks as coming from another site. Tools that send neither header pass.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = site not in {"same-origin", "none"} if site else origin is not None and origin.partition("://")[2] != request.host
    if foreign:
        raise Problem(403, "cross_site_request", "a page of another site may not do this")


def _refuse_large() -> None:
    length = request.content_length or 0
    if length > BODY_BYTES_MAX and not request.is_streamed:  # type: ignore[attr-defined]  # a StreamRequest
        raise Problem(413, "payload_too_large", f"the body has {length} bytes, more than {BODY_BYTES_MAX}")


def _add_frame(app: Quart, metrics: Metrics) -> None:
    observers: dict[tuple[str, str, int], Callable[[float], None]] = {}

    async def begin() -> None:
        g.began = time.perf_counter()

    async def finish(response: Response) -> Response:
        _add_headers(response.headers, SECURITY_HEADERS)
        response.headers["X-Request-Id"] = _request_id()
        response.headers["API-Version"] = "1"
        response.headers.setdefault("Cache-Control", "no-store")
        found: Route | None = g.get("route")
        key = request.method if request.method in _METHODS else "_other", found.path if found else "_unknown", response.status_code // 100
        observe = observers.get(key)
        if observe is None:
            observe = observers[key] = metrics.http_seconds.labels(key[0], key[1], f"{key[2]}xx").observe
        observe(time.perf_counter() - g.get("began", time.perf_counter()))
        return response

    app.before_request(begin)
    app.after_request(finish)


def _add_headers(headers: object, more: Mapping[str, str]) -> None:
    for name, value in more.items():
        headers.setdefault(name, value)  # type: ignore[attr-defined]  # werkzeug's Headers


def _request_id() -> str:
    """The caller's own id when it is a sane one, else a fresh one; the same for the whole request."""
    known: str | None = g.get("request_id")
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    return known
