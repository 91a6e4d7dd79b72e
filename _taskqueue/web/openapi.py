"""The OpenAPI 3.1 document, made from the declarations of the routes and the types that read and write their JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from quart import Response

from _taskqueue import __version__
from _taskqueue.filters import FILTERS
from _taskqueue.web.bodies import SubmitBody
from _taskqueue.web.connection import STREAMED
from _taskqueue.web.problems import json_response
from _taskqueue.web.routing import Media, Mounted, Route, Scope, parameters_of, phrase, route
from _taskqueue.web.tasks import ListQuery

REFERENCE = "#/components/schemas/{name}"
JSON, PROBLEM = "application/json", "application/problem+json"
_TAGS = {
    **dict.fromkeys(("/livez", "/readyz", "/healthz", "/version"), "health"),
    **dict.fromkeys(("/openapi.json", "/docs", "/docs/<name>", "/", "/ui/", "/ui/<path:path>"), "docs"),
    **dict.fromkeys(("/config", "/audit"), "process"),
    "/autoscale": "queues",
}
KEY_TEXT = r'^("[!#-[\]-~]{1,200}"|[!#-~]([ -~]{0,253}[!-~])?)$'
"""Quoted as the draft of the header has it, or bare."""
ALWAYS = (400, 401, 403, 408, 413, 414, 421, 422, 429, 431, 500, 503)
"""Problems that any route may answer with: the shape of the request, access, rate, defects, the store."""


class ProblemView(msgspec.Struct):
    """A problem document (RFC 9457); more members say more, by the code."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class OpenApi:
    """Serves the document."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted
        self._document: dict[str, Any] = {}

    @route("GET", "/openapi.json", scope=Scope.NONE, answers={200: dict[str, Any]})
    async def document(self) -> Response:
        """This document."""
        if not self._document:
            self._document = describe(self._mounted.routes)
        return json_response(self._document)


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document."""
    routes = list(routes)
    types = _types_of(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    by_type = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    _refine(components)
    paths: dict[str, dict[str, Any]] = {}
    for found in routes:
        paths.setdefault(_path(found.path), {})[found.method.lower()] = _operation(found, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Task queue", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types_of(routes: Iterable[Route]) -> list[Any]:
    found: list[Any] = [ProblemView]
    for one in routes:
        for answer in one.answers.values():
            found += answer if isinstance(answer, tuple) else [answer]
        found += [kind for kind in (one.body, one.query) if kind is not None]
    return list({repr(kind): kind for kind in found if kind is not None and not isinstance(kind, Media)}.values())


def _refine(components: dict[str, Any]) -> None:
    """What the types cannot say."""
    submit = components.get(SubmitBody.__name__)
    if submit is not None:
        submit["not"] = {"required": ["delay", "run_at"]}
    if "ProblemView" in components:
        components["ProblemView"]["additionalProperties"] = True
    batch = components.get("BatchBody")
    if batch is not None:
        components["BatchItem"] = {**components[SubmitBody.__name__], "title": "BatchItem", "additionalProperties": False}
        items = {"$ref": REFERENCE.format(name="BatchItem")}
        batch["properties"]["tasks"] = {"type": "array", "maxItems": 1000, "items": items}
    filters = {one["name"]: one for one in _query_of(ListQuery) if one["name"] in (*FILTERS, "q")}
    operation = components.get("OperationBody")
    if operation is not None:
        operation["oneOf"] = [{"required": ["filter"]}, {"required": ["ids"]}]
        operation["properties"]["filter"] = {
            "type": "object", "additionalProperties": False,
            "properties": {name: {"pattern": "[^ ]", **one["schema"], "minLength": 1} for name, one in filters.items()},
        }  # fmt: skip


def _path(path: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)


def _operation(found: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{found.method.lower()}_{re.sub(r'[^a-z]+', '_', found.path.lower()).strip('_')}",
        "summary": found.summary,
        "tags": [_TAGS.get(found.path, found.path.split("/")[1])],
        "parameters": [*_path_parameters(found), *_query_parameters(found), *_header_parameters(found)],
        "responses": _responses(found, schemas),
    }
    if found.scope is not Scope.NONE:
        operation["description"] = f"Needs the scope `{found.scope.value}`."
        operation["security"] = [{"token": []}, {}]
    if found.body is not None:
        operation["requestBody"] = _body(found, schemas)
    return operation


def _path_parameters(found: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in parameters_of(found.path)]


def _query_parameters(found: Route) -> list[dict[str, Any]]:
    return [] if found.query is None else _query_of(found.query)


def _query_of(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([kind])
    properties = components[kind.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": _without_null(one)} for name, one in properties.items()]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or not, but never null."""
    if schema.get("anyOf"):
        kinds = [one for one in schema["anyOf"] if one != {"type": "null"}]
        return {**kinds[0]} if len(kinds) == 1 else {**schema, "anyOf": kinds}
    return {key: value for key, value in schema.items() if not (key == "default" and value is None)}


def _header_parameters(found: Route) -> list[dict[str, Any]]:
    if found.path not in ("/tasks", "/tasks/batch", "/tasks/<task_id>/rerun") or found.method != "POST":
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_TEXT}
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}]


def _body(found: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": schemas[repr(found.body)]}}
    if STREAMED in found.media:
        content[STREAMED] = {"schema": {"type": "string", "description": "one submission a line"}}
    return {"required": found.path in ("/tasks", "/tasks/batch", "/operations", "/session"), "content": content}


def _responses(found: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in found.answers.items():
        responses[str(status)] = _response(status, kind, schemas)
    for status in sorted({*ALWAYS, *found.problems, *((415,) if found.body is not None else ())}):
        if str(status) not in responses:
            content = {PROBLEM: {"schema": {"$ref": REFERENCE.format(name="ProblemView")}}}
            responses[str(status)] = {"description": phrase(status), "content": content}
    return responses


def _response(status: int, kind: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    if kind is None:
        return {"description": phrase(status)}
    if isinstance(kind, Media):
        return {"description": kind.text, "content": {kind.type: {"schema": {"type": "string"}}}}
    schema = {"anyOf": [schemas[repr(one)] for one in kind]} if isinstance(kind, tuple) else schemas[repr(kind)]
    return {"description": phrase(status), "content": {JSON: {"schema": schema}}}
