"""``/docs``: the API's own page about itself, from three files and no other origin."""

from __future__ import annotations

from functools import cache
from importlib import resources

from quart import Response

from _taskqueue.web.frame import tagged
from _taskqueue.web.problems import Problem
from _taskqueue.web.routing import Media, Scope, route

_TYPES = {"docs.html": "text/html; charset=utf-8", "docs.js": "text/javascript; charset=utf-8", "docs.css": "text/css; charset=utf-8"}


class DocsPages:
    """The page and its files."""

    @route("GET", "/docs", scope=Scope.NONE, answers={200: Media("text/html", "a page that shows this document"), 304: None})
    async def page(self) -> Response:
        """The API, readable: every route with its parameters, and a form to try it."""
        return await tagged(_file("docs.html"))

    @route("GET", "/docs/<name>", scope=Scope.NONE, answers={200: Media("text/plain", "a file of the page"), 304: None}, problems=(404,))
    async def file(self, name: str) -> Response:
        """A file of the page."""
        return await tagged(_file(name))


def _file(name: str) -> Response:
    if name not in _TYPES:
        raise Problem(404, "not_found", "there is no such file")
    return Response(_read(name), 200, {}, content_type=_TYPES[name])


@cache
def _read(name: str) -> bytes:
    return (resources.files("_taskqueue.web") / "static" / name).read_bytes()
