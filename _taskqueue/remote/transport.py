"""Between our requests and the HTTP library: the one place, with the two clients, that knows httpx."""

from __future__ import annotations

import os
from typing import Any

import httpx

from _taskqueue import __version__
from _taskqueue.domain.errors import UsageError
from _taskqueue.remote.errors import Unreachable
from _taskqueue.remote.flows import Reply, Request
from _taskqueue.remote.submission import Durability

URL_VARIABLE, TOKEN_VARIABLE = "TASKQUEUE_API_URL", "TASKQUEUE_API_TOKEN"
URL_DEFAULT = "http://127.0.0.1:8080"
CONNECT_S = 5.0
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""Errors after which the server has seen nothing of the request."""


def options(url: str | None, token: str | None, durability: Durability | None = None) -> dict[str, Any]:
    """What both of httpx's clients are made with.

    Args:
        url: of the server; by default that of TASKQUEUE_API_URL.
        token: by default that of TASKQUEUE_API_TOKEN, if any.
        durability: how safe a submission must be before it is answered; by default as the server has it.

    Raises:
        UsageError: the URL is none.
    """
    url = url or os.environ.get(URL_VARIABLE) or URL_DEFAULT
    token = token or os.environ.get(TOKEN_VARIABLE)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{url!r} is no URL of a server; it must read like {URL_DEFAULT}")
    headers = {"User-Agent": f"taskqueue-python/{__version__}", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if durability:
        headers["Prefer"] = f"durability={durability}"
    return {"base_url": parsed, "headers": headers}


def arguments(request: Request, timeout_s: float) -> dict[str, Any]:
    """A request as httpx takes it.

    Args:
        timeout_s: how long the server may be silent beyond the time it was asked to hold its answer.
    """
    headers = dict(request.headers)
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "content": request.body,
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, read=request.hold_s + timeout_s, connect=min(CONNECT_S, timeout_s), pool=None),
    }


def stream_arguments(request: Request, timeout_s: float) -> dict[str, Any]:
    """As above, for a stream: ``hold_s`` is how long it may be silent at most."""
    found = arguments(request, timeout_s)
    found["timeout"] = httpx.Timeout(timeout_s, read=max(0.001, request.hold_s), connect=min(CONNECT_S, timeout_s), pool=None)
    return found


def reply_of(response: httpx.Response) -> Reply:
    """What came back, read to its end."""
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content)


def unreachable(error: httpx.HTTPError) -> Unreachable:
    """The HTTP library's error as ours."""
    what = str(error) or type(error).__name__
    return Unreachable(f"no answer from the server: {what}", sent=not isinstance(error, UNSENT))
