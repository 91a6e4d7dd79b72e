"""Puts the API together."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable

from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException

from _taskqueue.domain.errors import StoreError
from _taskqueue.life import Life
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.web.health import Health, health_blueprint
from _taskqueue.web.problems import Problem, from_http, from_store
from _taskqueue.web.queues import queues_blueprint
from _taskqueue.web.tasks import tasks_blueprint

BODY_BYTES_MAX = 64 * 1024 * 1024
"""The largest body of any endpoint (a full batch); single tasks have a lower limit of their own."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

log = logging.getLogger("taskqueue.http")


def create_app(producer: Producer, metrics: Metrics, health: Health, life: Life, roles: Iterable[str]) -> Quart:
    """The API as an ASGI application."""
    app = Quart("taskqueue", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    for blueprint in (
        tasks_blueprint(producer, metrics, life.stopping),
        queues_blueprint(producer.store),
        health_blueprint(health, roles),
    ):
        app.register_blueprint(blueprint)
        app.register_blueprint(blueprint, url_prefix="/v1", name=f"v1_{blueprint.name}")
    _add_errors(app)
    _add_headers(app, metrics)
    app.before_request(_refuse_cross_site)
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


async def _refuse_cross_site() -> Response | None:
    """Bodies are read as JSON whatever their content type, so a foreign page could post a form here: refuse what a
    browser marks as coming from another site. Tools that send neither header pass.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = site not in {"same-origin", "none"} if site else origin is not None and origin.partition("://")[2] != request.host
    if foreign:
        return Problem(403, "cross_site_request", "a page of another site may not do this").response()
    return None


def _add_headers(app: Quart, metrics: Metrics) -> None:
    children: dict[tuple[str, str, int], Callable[[float], None]] = {}

    async def begin() -> None:
        g.began = time.perf_counter()

    async def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = _request_id()
        response.headers["API-Version"] = "1"
        response.headers["Cache-Control"] = "no-store"
        route = request.url_rule.rule.removeprefix("/v1") if request.url_rule else "_unknown"
        key = request.method if request.method in _METHODS else "_other", route, response.status_code // 100
        observe = children.get(key)
        if observe is None:
            observe = children[key] = metrics.http_seconds.labels(key[0], key[1], f"{key[2]}xx").observe
        observe(time.perf_counter() - g.get("began", time.perf_counter()))
        return response

    app.before_request(begin)
    app.after_request(finish)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _request_id() -> str:
    """The caller's own id when it is a sane one, else a fresh one; the same for the whole request."""
    known: str | None = g.get("request_id")
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    return known
