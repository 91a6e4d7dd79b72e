"""Routes: one declaration per view holds its path, who may call it, what it reads and what it answers.

From it come the URL rule, the check of access, the reading of query and body, and its part of the OpenAPI document, so
that none of them can say something else.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from quart import Quart, Response, request

from _taskqueue.web.problems import Problem, refuse_coded

View = Callable[..., Awaitable[Response]]
Decorated = TypeVar("Decorated", bound=View)
BODY_BYTES_MAX = 64 * 1024
"""Of all routes but those that take tasks."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


class Scope(StrEnum):
    """What a caller must be allowed to do."""

    NONE = "none"
    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is no JSON object of a type."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    name: str
    summary: str
    scope: Scope
    contract: bool
    """open to everybody while no token is configured"""
    query: type[msgspec.Struct] | None
    open_query: tuple[str, ...]
    """prefixes of further query parameters"""
    body: Any
    media: tuple[str, ...]
    answers: Mapping[int, Any]
    """status → type, alternative types, Media, or None for no content"""
    problems: tuple[int, ...]
    mutates: bool


def route(
    method: str,
    path: str,
    *,
    scope: Scope,
    answers: Mapping[int, Any],
    query: type[msgspec.Struct] | None = None,
    body: Any = None,
    contract: bool = False,
    open_query: tuple[str, ...] = (),
    media: tuple[str, ...] = ("application/json",),
    problems: Sequence[int] = (),
    audited: bool | None = None,
) -> Callable[[Decorated], Decorated]:
    """Declare a view; its first line of documentation is its summary.

    Args:
        path: with parameters as in ``/tasks/<task_id>``.
        query: a Struct whose fields are the query parameters; the view gets it as ``query``.
        body: the type of the JSON body; the view gets it as ``body``, unless it reads the body itself.
        problems: statuses of its problem documents, besides those that every route has.
    """

    def declare(view: Decorated) -> Decorated:
        text = (inspect.getdoc(view) or "").partition("\n")[0]  # python -OO leaves no documentation
        mutates = method not in ("GET", "HEAD") and scope not in (Scope.READ, Scope.SUBMIT, Scope.NONE) if audited is None else audited
        view.__route__ = Route(  # type: ignore[attr-defined]
            method, path, view.__name__, text, scope, contract, query, open_query, body, media, answers, tuple(problems), mutates
        )
        return view

    return declare


@dataclass(slots=True)
class Mounted:
    """Everything that is served, for the document that describes it."""

    routes: list[Route] = field(default_factory=list)

    def methods_of(self, path: str) -> set[str]:
        """The methods of a path without parameters; empty for any other."""
        found = {one.method for one in self.routes if one.path == path.removeprefix("/v1")}
        return found | {"HEAD"} if "GET" in found else found


Gate = Callable[[Route], Awaitable[None]]
"""Lets a request pass or raises Problem."""


def mount(app: Quart, resources: Iterable[object], gate: Gate, mounted: Mounted) -> None:
    """Serve the views of these objects, with and without the prefix ``/v1``."""
    for resource in resources:
        for view, found in views_of(resource):
            mounted.routes.append(found)
            handler = _handler(view, found, gate)
            for prefix in ("", "/v1"):
                endpoint = f"{prefix}:{found.method}:{found.path}"
                app.add_url_rule(prefix + found.path, endpoint, handler, methods=[found.method], provide_automatic_options=False)


def views_of(resource: object) -> Iterator[tuple[View, Route]]:
    """The declared views of an object, in the order of their declaration."""
    for name in vars(type(resource)):
        view = getattr(resource, name)
        found = getattr(view, "__route__", None)
        if found is not None:
            yield view, found


def _handler(view: View, found: Route, gate: Gate) -> View:
    names = inspect.signature(view).parameters

    async def handle(**path: str) -> Response:
        await gate(found)
        given: dict[str, Any] = dict(path)
        if found.query is not None:
            given["query"] = read_query(found.query, found.open_query)
        elif request.args:
            _refuse_unknown(request.args, (), found.open_query)
        if "body" in names:
            given["body"] = read_body(await body_bytes(), found.body)
        return await view(**given)

    return handle


def read_query(kind: type[msgspec.Struct], open_query: tuple[str, ...]) -> Any:
    """The query parameters as a Struct. Raises Problem."""
    fields = [one.encode_name for one in msgspec.structs.fields(kind)]
    _refuse_unknown(request.args, fields, open_query)
    try:
        return msgspec.convert({name: request.args[name] for name in fields if name in request.args}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error) from None


def _refuse_unknown(given: Iterable[str], known: Sequence[str], prefixes: tuple[str, ...]) -> None:
    for name in given:
        if name not in known and not name.startswith(prefixes or ("\0",)):
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known) or 'none'}"
            raise Problem(
                422, "unknown_field", f"{name[:64]}: unknown query parameter{hint}",
                errors=[{"pointer": f"?{name[:64]}", "code": "unknown_field", "detail": f"unknown query parameter{hint}"}],
            )  # fmt: skip


async def body_bytes(limit_bytes: int = BODY_BYTES_MAX) -> bytes:
    """The whole body, read as JSON whatever its content type says. Raises Problem when it is over the limit."""
    refuse_coded(request.headers.get("Content-Encoding", ""))
    length = request.content_length or 0
    body: bytes = b"" if length > limit_bytes else await request.get_data()  # type: ignore[assignment]  # as_text is False
    size = max(length, len(body))
    if size > limit_bytes:
        raise Problem(413, "payload_too_large", f"the body has {size} bytes, more than {limit_bytes}")
    return body


def read_body(body: bytes, kind: Any) -> Any:
    """A body of this type; an empty one counts as an empty object. Raises Problem."""
    body = body or b"{}"
    try:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            if len(body) > BODY_BYTES_MAX:
                raise
            return _read_again(body, kind, error)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except UNREADABLE as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from None


def _read_again(body: bytes, kind: Any, first: msgspec.ValidationError) -> Any:
    """With 5.0 as the whole number that JSON Schema takes it for."""
    value = msgspec.json.decode(body)
    whole = _with_whole_numbers(value)
    if whole == value and msgspec.json.encode(whole) == msgspec.json.encode(value):
        raise first
    return msgspec.json.decode(msgspec.json.encode(whole), type=kind)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _with_whole_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(one) for one in value]
    return value


def misfit(error: msgspec.ValidationError) -> Problem:
    """JSON of the wrong shape: which field, and what it must be."""
    text, _, path = str(error).partition(" - at `$")
    name = re.search(r"unknown field `([^`]*)`", text)
    if name:
        path = f"{path.rstrip('`')}.{name[1]}"
    pointer = path.rstrip("`").replace(".", "/").replace("[", "/").replace("]", "")
    code = "unknown_field" if name else "invalid_field"
    where = pointer.strip("/").replace("/", ".") or "body"
    return Problem(422, code, f"{where}: {text}", errors=[{"pointer": pointer, "code": code, "detail": text}])


def parameters_of(path: str) -> list[str]:
    """The names of the parameters in a path."""
    return _PARAMETER.findall(path)


def phrase(status: int) -> str:
    """What a status means, in a word or two."""
    return HTTPStatus(status).phrase
