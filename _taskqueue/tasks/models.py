"""Types of pydantic in a handler's signature. Only a handler's own import loads pydantic; nothing here does.

A parameter whose type mentions anything of pydantic's is read by pydantic as a whole, by the rules its users know.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from typing import Any

from _taskqueue.tasks.schema import Schema, rewritten

_ORIGINS = ("pydantic", "pydantic_core", "annotated_types")
_MARKS = ("__get_pydantic_core_schema__", "__pydantic_validator__")
_DIGITS, _EXPONENT = "([0-9_]+[.]?[0-9_]*|[.][0-9_]+)", "([eE][-+]?[0-9]+)?"
_BLANK = "[^!-~]*"
_LAX: dict[str, tuple[list[str], str]] = {
    "integer": (["integer", "string", "boolean"], f"^{_BLANK}[-+]?[0-9_]+([.]0*)?{_BLANK}$"),
    "number": (
        ["number", "string", "boolean"],
        f"^{_BLANK}[-+]?({_DIGITS}{_EXPONENT}|[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN]){_BLANK}$",
    ),
    "boolean": (
        ["boolean", "number", "string"],
        "^([01]|[tTyYnNfF]|[oO][nN]|[oO][fF][fF]|[yY][eE][sS]|[nN][oO]|[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$",
    ),
}
"""What pydantic makes a number or a truth value of, besides those: more types, and the texts that qualify"""
_NUMBERS_TOO = ("date", "time", "duration", "ip")
"""formats of texts that pydantic makes of numbers as well"""
_LIMITS_OF_TEXTS = ("minLength", "maxLength", "pattern", "format")


class Model:
    """One type, read and written by pydantic.

    Raises:
        TypeError: pydantic does not know it either.
    """

    def __init__(self, kind: Any) -> None:
        try:
            self._adapter = sys.modules["pydantic"].TypeAdapter(kind)
            self._adapter.json_schema(schema_generator=_generator())
        except Exception as error:  # noqa: BLE001 - pydantic's errors have no common base
            raise TypeError(" ".join(str(error).split())) from None

    def read(self, raw: bytes) -> Any:
        """The value of some JSON.

        Raises:
            ValueError: pydantic refuses it; the text says why, and shows nothing of the value.
        """
        try:
            return self._adapter.validate_json(raw)
        except sys.modules["pydantic"].ValidationError as error:
            raise ValueError(_told(error)) from None

    def dump(self, value: Any) -> bytes:
        """JSON that reads back to this value."""
        found: bytes = self._adapter.dump_json(value, by_alias=True, warnings=False)
        return found

    def schema(self, ref_template: str) -> Schema:
        """Its schema as pydantic tells it, widened to all that pydantic takes."""
        found = self._adapter.json_schema(ref_template=ref_template, schema_generator=_generator())
        widened: Schema = rewritten(found, _widened)
        return widened


@functools.lru_cache(1024)
def model_of(kind: Any) -> Model:
    """The model of a class, made once."""
    return Model(kind)


def mentions_models(kind: Any, seen: dict[int, Any] | None = None) -> bool:
    """Whether anything of pydantic's occurs in a type, however deep."""
    seen = {} if seen is None else seen
    if "pydantic" not in sys.modules or id(kind) in seen:
        return False
    seen[id(kind)] = kind  # kept, so that no other type gets its id
    if type(kind).__module__.partition(".")[0] in _ORIGINS:  # what stands in Annotated
        return True
    if isinstance(kind, type) and (kind.__module__.partition(".")[0] in _ORIGINS or any(hasattr(kind, mark) for mark in _MARKS)):
        return True
    return any(mentions_models(one, seen) for one in _within(kind))


def _within(kind: Any) -> list[Any]:
    inner = [*typing.get_args(kind), *getattr(kind, "__metadata__", ())]
    origin = typing.get_origin(kind) or kind
    if hasattr(kind, "__value__"):  # type X = …
        inner.append(kind.__value__)
    if isinstance(origin, type) and (dataclasses.is_dataclass(origin) or hasattr(origin, "__annotations__")):
        try:
            inner += typing.get_type_hints(origin, include_extras=True).values()
        except Exception:  # noqa: BLE001 - annotations are code of the user's; who reads them for good says what is wrong
            return inner
    return inner


def _told(error: Any) -> str:
    places = (
        (".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return "; ".join(f"{place}: {words}" if place else words for place, words in places)


@functools.cache
def _generator() -> Any:
    """pydantic's own generator, but for what a validator of the user's sees first, which can be anything."""

    class Generator(sys.modules["pydantic.json_schema"].GenerateJsonSchema):  # type: ignore[misc]
        def function_before_schema(self, schema: Any) -> Any:
            super().function_before_schema(schema)
            return {}

        def function_wrap_schema(self, schema: Any) -> Any:
            super().function_wrap_schema(schema)
            return {}

        def function_plain_schema(self, schema: Any) -> Any:
            return {}

        def call_schema(self, schema: Any) -> Any:
            return _also_objects(super().call_schema(schema))

        def named_tuple_schema(self, schema: Any) -> Any:
            return _also_objects(super().named_tuple_schema(schema))

        def str_schema(self, schema: Any) -> Any:
            return _loose_texts(super().str_schema(schema), schema)

        def model_schema(self, schema: Any) -> Any:
            found = super().model_schema(schema)
            config = {word.removeprefix("str_"): value for word, value in (schema.get("config") or {}).items()}
            return _loose_texts(_unnamed(found) if _has_more_names(schema) else found, config)

        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:
            return {}

        def emit_warning(self, kind: Any, detail: str) -> None:
            """Nobody can do anything about a default that has no JSON form."""

    return Generator


def _also_objects(schema: Schema) -> Schema:
    """Named tuples are made of objects as well."""
    return {**schema, "type": ["array", "object"]}


def _has_more_names(schema: Any) -> bool:
    """Whether fields of a model go by more names than its schema tells."""
    config, inner = schema.get("config") or {}, schema.get("schema") or {}
    while "fields" not in inner and "schema" in inner:
        inner = inner["schema"]
    fields = inner.get("fields")
    aliases = [one.get("validation_alias") for one in fields.values()] if isinstance(fields, dict) else []
    by_name = any(config.get(word) for word in ("populate_by_name", "validate_by_name"))
    return any(not isinstance(one, str) for one in aliases if one is not None) or (by_name and any(aliases))


def _unnamed(schema: Schema) -> Schema:
    return {word: value for word, value in schema.items() if word not in {"required", "additionalProperties"}}


def _loose_texts(schema: Any, rules: Any) -> Any:
    """Without what need not hold for texts that are changed before they are looked at."""
    left_out: tuple[str, ...] = ("type", *_LIMITS_OF_TEXTS) if rules.get("coerce_numbers_to_str") else ()
    if any(rules.get(word) for word in ("strip_whitespace", "to_lower", "to_upper")):
        left_out = (*left_out, *_LIMITS_OF_TEXTS)

    def loosened(found: Schema) -> Schema:
        return {word: value for word, value in found.items() if word not in left_out} if found.get("type") == "string" else found

    return rewritten(schema, loosened) if left_out else schema


def _widened(found: Schema) -> Schema:
    """With all the forms of JSON that pydantic turns into these types when it is not strict."""
    kind = found.get("type")
    if isinstance(kind, str) and kind in _LAX:
        kinds, pattern = _LAX[kind]
        return {**{word: value for word, value in found.items() if word not in {"enum", "const"}}, "type": kinds, "pattern": pattern}
    if kind == "string" and "format" in found:  # dates come as numbers too, and as texts of other forms
        kinds_of_text = ["string", "number", "boolean"] if found["format"].startswith(_NUMBERS_TOO) else "string"
        return {**{word: value for word, value in found.items() if word not in _LIMITS_OF_TEXTS}, "type": kinds_of_text}
    if kind == "array" and found.pop("uniqueItems", False):
        found.pop("maxItems", None)  # repeated items count once
    if isinstance(found.get("oneOf"), list):  # widened alternatives are no longer exclusive
        found["anyOf"] = found.pop("oneOf")
    return found
