"""What stands around every answer: headers, compression, entity tags, and what pages of other sites may do."""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
import time
from collections.abc import Callable

from quart import Quart, Response, g, request

from _taskqueue.metrics import Metrics
from _taskqueue.web.problems import Problem

COMPRESS_BYTES_MIN, COMPRESS_LEVEL = 1_024, 1
CORS_AGE_S = 600
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TEXT = ("application/json", "text/html", "text/css", "text/javascript")


def add_frame(app: Quart, metrics: Metrics, origins: frozenset[str]) -> None:
    """Put the frame around every answer.

    Args:
        origins: sites whose pages may call, such as ``https://example.com``.
    """
    observers: dict[tuple[str, str, int], Callable[[float], None]] = {}

    async def begin() -> Response | None:
        g.began = time.perf_counter()
        if request.method == "OPTIONS" and request.headers.get("Origin") in origins:
            return Response(b"", 204, {})
        return None

    async def finish(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = request_id()
        response.headers["API-Version"] = "1"
        response.headers.setdefault("Cache-Control", "no-store")
        _admit_origin(response, origins)
        await _compress(response)
        observe(response.status_code)
        return response

    def observe(status: int) -> None:
        found = g.get("route")
        key = request.method if request.method in _METHODS else "_other", found.path if found else "_unknown", status // 100
        observer = observers.get(key)
        if observer is None:
            observer = observers[key] = metrics.http_seconds.labels(key[0], key[1], f"{key[2]}xx").observe
        observer(time.perf_counter() - g.get("began", time.perf_counter()))

    app.before_request(begin)
    app.after_request(finish)


def refuse_cross_site(origins: frozenset[str]) -> None:
    """Bodies are read as JSON whatever their content type, so a foreign page could post a form here: refuse what a
    browser marks as coming from another site. Tools that send neither header pass. Raises Problem.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if origin in origins:
        return
    foreign = site not in {"same-origin", "none"} if site else origin is not None and origin.partition("://")[2] != request.host
    if foreign:
        raise Problem(403, "cross_site_request", "a page of another site may not do this; admit the site with --cors-origins")


def _admit_origin(response: Response, origins: frozenset[str]) -> None:
    """Fetch standard, 3.2: the CORS protocol."""
    origin = request.headers.get("Origin")
    if origin not in origins or origin is None:
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = "Location, Retry-After, X-Request-Id, X-Ignored-Fields, Idempotency-Replayed"
    response.vary.add("Origin")
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Idempotency-Key, Prefer, Last-Event-ID"
        response.headers["Access-Control-Max-Age"] = str(CORS_AGE_S)


async def _compress(response: Response) -> None:
    if "gzip" not in request.headers.get("Accept-Encoding", "") or response.mimetype not in _TEXT or response.content_length is None:
        return
    if response.content_length < COMPRESS_BYTES_MIN or "Content-Encoding" in response.headers:
        return
    body: bytes = await response.get_data(as_text=False)
    response.set_data(gzip.compress(body, COMPRESS_LEVEL))
    response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")


async def tagged(response: Response) -> Response:
    """The answer with its entity tag, or 304 when the caller has it (RFC 9110, 13.1.2)."""
    body: bytes = await response.get_data(as_text=False)
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = "no-cache"
    if tag in request.headers.get("If-None-Match", ""):
        response.status_code = 304
        response.set_data(b"")
    return response


def request_id() -> str:
    """The caller's own id when it is a sane one, else a fresh one; the same for the whole request."""
    known: str | None = g.get("request_id")
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = g.request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    return known
