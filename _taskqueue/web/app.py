"""Puts the API together."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException

from _taskqueue.domain.errors import StoreError
from _taskqueue.metrics import Metrics
from _taskqueue.web.access import COOKIE, Access, Visit, is_proxied
from _taskqueue.web.audit import Audit
from _taskqueue.web.connection import STREAMED, feed
from _taskqueue.web.frame import add_frame, refuse_cross_site, request_id
from _taskqueue.web.problems import Problem, from_http, from_store
from _taskqueue.web.routing import Mounted, Route, mount

BODY_BYTES_MAX = 64 * 1024 * 1024
"""The largest body of any endpoint that is not streamed (a full batch); single tasks have a lower limit of their own."""

log = logging.getLogger("taskqueue.http")


def create_app(
    resources: Iterable[object], access: Access, audit: Audit, metrics: Metrics, mounted: Mounted, origins: frozenset[str]
) -> Quart:
    """The API as an ASGI application."""
    app = Quart("taskqueue", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    _add_errors(app, mounted)
    add_frame(app, metrics, origins)

    async def gate(found: Route) -> None:
        g.route = found
        refuse_cross_site(origins)
        _refuse_large()
        headers = request.headers
        cookie = request.cookies.get(COOKIE, "") if "Cookie" in headers else ""
        proxied = access.open and is_proxied(headers)
        visit = Visit(request.host, str(request.remote_addr), headers.get("Authorization", ""), cookie, proxied)
        g.caller = access.admit(found, visit)

    @app.after_request
    async def note(response: Response) -> Response:
        found: Route | None = g.get("route")
        if found is not None and "caller" in g:
            await audit.note(found, response)
        return response

    mount(app, resources, gate, mounted)
    app.asgi_app = feed(app.asgi_app, BODY_BYTES_MAX)  # type: ignore[assignment]  # as its documents do
    return app


def _add_errors(app: Quart, mounted: Mounted) -> None:
    def problem(error: Problem) -> Response:
        return error.response()

    def http(error: HTTPException) -> Response:
        return from_http(error, mounted.methods_of(request.path)).response()

    def store(error: StoreError) -> Response:
        return from_store(error).response()

    def defect(error: Exception) -> Response:
        log.error("%s %s failed; the request is answered with 500", request.method, request.path, exc_info=error)
        detail = "a defect of the server; its log has the details under this request's id"
        return Problem(500, "internal_error", detail, request_id=request_id()).response()

    app.register_error_handler(Problem, problem)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(StoreError, store)
    app.register_error_handler(Exception, defect)


def _refuse_large() -> None:
    length = request.content_length or 0
    if length > BODY_BYTES_MAX and request.mimetype != STREAMED:
        raise Problem(413, "payload_too_large", f"the body has {length} bytes, more than {BODY_BYTES_MAX}")
