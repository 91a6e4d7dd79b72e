"""``/ui/``: the dashboard's files. It has no state and no way of its own: everything it shows comes from the public API."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from quart import Response, request

from _taskqueue.web.frame import tagged
from _taskqueue.web.problems import Problem
from _taskqueue.web.routing import Media, Scope, route

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
ANY = ("",)
"""What stands in the address of a page is for the page: its filter, its order."""
_FILE = re.compile(r"(views/)?[a-z]+\.(js|css|svg)", re.ASCII)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)


class UiPages:
    """The dashboard."""

    @route("GET", "/ui/", scope=Scope.NONE, open_query=ANY, answers={200: Media("text/html", "the dashboard"), 304: None})
    async def page(self) -> Response:
        """The dashboard."""
        return await _index()

    @route(
        "GET", "/ui/<path:path>", scope=Scope.NONE, open_query=ANY,
        answers={200: Media("text/html", "a page or a file of the dashboard"), 304: None},
    )  # fmt: skip
    async def file(self, path: str) -> Response:
        """A page of the dashboard, or one of its files."""
        if not _FILE.fullmatch(path):
            if "." in path.rpartition("/")[2]:
                raise Problem(404, "not_found", "there is no such file")
            return await _index()
        return await tagged(Response(_read(path), 200, {}, content_type=_TYPES[path.rpartition(".")[2]]))

    @route("GET", "/", scope=Scope.NONE, answers={302: None})
    async def home(self) -> Response:
        """To the dashboard."""
        return Response(b"", 302, {"Location": f"{_prefix()}/ui/"})


async def _index() -> Response:
    text = _read("index.html").replace(b"{{base}}", f"{_prefix()}/ui/".encode())
    return await tagged(Response(text, 200, {}, content_type=_TYPES["html"]))


def _prefix() -> str:
    """Where a proxy has mounted this API, as it says itself."""
    said = request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    return said if _PREFIX.fullmatch(said) else ""


@cache
def _read(path: str) -> bytes:
    file: Traversable = resources.files("_taskqueue.web") / "static" / "ui"
    for part in path.split("/"):
        file /= part
    if not file.is_file():
        raise Problem(404, "not_found", "there is no such file")
    return file.read_bytes()
