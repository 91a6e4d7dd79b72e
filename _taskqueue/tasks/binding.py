"""Turns a payload into the handler's arguments, and arguments into a payload.

1. A parameter annotated ``Context`` gets the context, wherever it stands.
2. One other parameter typed ``str`` or ``bytes`` gets the payload untouched, JSON or not.
3. One other parameter of any other type gets the whole JSON value, converted to that type. An object whose only key is
   the parameter's name is unwrapped for plain types.
4. Several parameters take a JSON object, its keys by name.
5. One unannotated parameter gets the parsed JSON if it parses, else the text.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from _taskqueue.domain.errors import HandlerError, PayloadMismatch
from _taskqueue.tasks.context import Context

Bind = Callable[[bytes, bool], dict[str, Any]]
"""(payload, came as a JSON string) → arguments by name, without the context."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a handler."""

    name: str
    type: Any
    default: Any
    """``inspect.Parameter.empty`` when there is none"""

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """A handler's parameters, the context apart."""

    parameters: tuple[Parameter, ...]
    context: str | None
    bind: Bind
    schema: dict[str, Any]
    """JSON Schema of the payloads that bind; empty when any does"""

    def __str__(self) -> str:
        return ", ".join(f"{one.name}: {getattr(one.type, '__name__', one.type)}" for one in self.parameters)

    def payload_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bool]:
        """The payload that binds back to these arguments, and whether it is a plain text.

        Raises:
            TypeError: the arguments do not fit the parameters.
        """
        names = [one.name for one in self.parameters]
        if len(args) > len(names):
            raise TypeError(f"takes {len(names)} arguments but {len(args)} were given")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names or name in given:
                raise TypeError(f"unexpected argument {name!r}")
            given[name] = value
        for one in self.parameters:
            if one.required and one.name not in given:
                raise TypeError(f"missing argument {one.name!r}")
        return self._encode(given)

    def _encode(self, given: dict[str, Any]) -> tuple[bytes, bool]:
        if not self.parameters:
            return b"null", False
        if len(self.parameters) > 1:
            return encode_json(given), False
        only = self.parameters[0]
        value = given.get(only.name, None if only.required else only.default)
        if only.type is str and isinstance(value, str):
            return value.encode(), True
        if only.type is bytes and isinstance(value, bytes):
            return value, True
        return encode_json(value), False


def encode_json(value: Any) -> bytes:
    """JSON of plain values, dataclasses, msgspec Structs, dates, and pydantic models.

    Raises:
        TypeError: something inside has no JSON form.
    """
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def read_signature(function: Callable[..., Any], where: str) -> Signature:
    """Read a handler's parameters once, at declaration.

    Raises:
        HandlerError: a parameter that no payload can fill; names the handler.
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        found = inspect.signature(function).parameters.values()
    except (NameError, TypeError, ValueError) as error:
        raise HandlerError(f"{where}: its annotations cannot be read: {error}") from None
    context, parameters = None, []
    for one in found:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise HandlerError(f"{where}: parameter {one} cannot be filled from a payload; name each parameter")
        kind = hints.get(one.name, Any)
        if kind is Context:
            context = one.name
        else:
            parameters.append(Parameter(one.name, kind, one.default))
    return Signature(tuple(parameters), context, _binder(tuple(parameters), where), _schema_of(tuple(parameters)))


def _binder(parameters: tuple[Parameter, ...], where: str) -> Bind:
    try:
        if not parameters:
            return lambda payload, is_text: {}
        if len(parameters) > 1:
            return _bind_object(parameters)
        return _bind_one(parameters[0])
    except (TypeError, ValueError) as error:
        raise HandlerError(f"{where}: {error}") from None


def _schema_of(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Never narrower than what binds; empty where the types have no schema."""
    try:
        if len(parameters) == 1:
            return _schema_of_one(parameters[0])
        schema: dict[str, Any] = _loosened(msgspec.json.schema(_object_type(parameters))) if parameters else {}
    except (TypeError, ValueError, AttributeError):
        return {}
    return schema


def _schema_of_one(only: Parameter) -> dict[str, Any]:
    if only.type in (str, bytes, Any):
        return {}
    if hasattr(only.type, "model_json_schema"):
        return dict(only.type.model_json_schema())
    kinds = [only.type] if _is_object(only.type) else [only.type, _object_type((only,))]
    alternatives, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    schema: dict[str, Any] = _loosened({"anyOf": list(alternatives), "$defs": parts})
    return schema


def _loosened(schema: Any) -> Any:
    """Decimals may be numbers too, which msgspec's own schema leaves out."""
    if isinstance(schema, list):
        return [_loosened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**schema, "type": ["string", "number"]}
    return {key: _loosened(value) for key, value in schema.items()}


def _bind_one(only: Parameter) -> Bind:
    name = only.name
    if only.type is str:
        return lambda payload, is_text: {name: _text(payload)}
    if only.type is bytes:
        return lambda payload, is_text: {name: payload}
    if only.type is Any:
        return lambda payload, is_text: {name: _json_or_text(payload)}
    if hasattr(only.type, "model_validate_json"):
        return _bind_pydantic(only)
    return _bind_typed(only)


def _bind_pydantic(only: Parameter) -> Bind:
    def bind(payload: bytes, is_text: bool) -> dict[str, Any]:
        try:
            return {only.name: only.type.model_validate_json(payload)}
        except ValueError as error:
            raise PayloadMismatch(" ".join(str(error).split())) from None

    return bind


def _bind_typed(only: Parameter) -> Bind:
    decode = msgspec.json.Decoder(only.type).decode
    wrapped = None if _is_object(only.type) else _object_decoder((only,))

    def bind(payload: bytes, is_text: bool) -> dict[str, Any]:
        try:
            return {only.name: decode(payload)}
        except msgspec.DecodeError as error:
            reason = str(error)
        if wrapped is not None:
            try:
                value = getattr(wrapped(payload), only.name)
                return {} if value is msgspec.UNSET else {only.name: value}
            except msgspec.DecodeError:
                pass
        if is_text:
            try:
                return {only.name: msgspec.convert(_text(payload), only.type)}
            except msgspec.ValidationError as error:
                reason = str(error)
        raise PayloadMismatch(f"{only.name}: {reason}")

    return bind


def _bind_object(parameters: tuple[Parameter, ...]) -> Bind:
    decode = _object_decoder(parameters)
    names = [one.name for one in parameters]

    def bind(payload: bytes, is_text: bool) -> dict[str, Any]:
        try:
            found = decode(payload)
        except msgspec.DecodeError as error:
            raise PayloadMismatch(str(error)) from None
        return {name: value for name in names if (value := getattr(found, name)) is not msgspec.UNSET}

    return bind


def _object_decoder(parameters: tuple[Parameter, ...]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(_object_type(parameters)).decode


def _object_type(parameters: tuple[Parameter, ...]) -> Any:
    fields: list[Any] = [
        (one.name, one.type) if one.required else (one.name, one.type | msgspec.UnsetType, msgspec.UNSET)
        for one in sorted(parameters, key=lambda one: not one.required)
    ]
    return msgspec.defstruct("Payload", fields, forbid_unknown_fields=True)


def _is_object(kind: Any) -> bool:
    """Whether values of this type are JSON objects themselves."""
    origin = typing.get_origin(kind) or kind
    if origin in (typing.Union, types.UnionType):
        return any(_is_object(one) for one in typing.get_args(kind))
    if not isinstance(origin, type):
        return True
    return dataclasses.is_dataclass(origin) or issubclass(origin, (dict, msgspec.Struct)) or typing.is_typeddict(origin)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise PayloadMismatch("the payload is not UTF-8 text") from None


def _json_or_text(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return _text(payload)
