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
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec

from _taskqueue.domain.errors import HandlerError, PayloadMismatch
from _taskqueue.domain.task import message_of
from _taskqueue.tasks.callables import is_context, typed_parameters, undefined
from _taskqueue.tasks.conversion import UNREADABLE, Reading, custom_schema, decoder, encode_json, reading_of
from _taskqueue.tasks.mismatch import Fault, PayloadCheck
from _taskqueue.tasks.models import Model
from _taskqueue.tasks.schema import Schema, SchemaWriter

__all__ = ["Bind", "Parameter", "Signature", "encode_json", "read_signature"]

Bind = Callable[[bytes, bool], dict[str, Any]]
"""(payload, came as a JSON string) → arguments by name, without the context."""
Decode = Callable[[bytes], dict[str, Any]]
"""JSON → arguments by name; raises ValueError"""

EXPONENT_MAX = 308
"""of a number such as 1e300 that is taken for a whole one; more would fill the memory with zeros"""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a handler."""

    name: str
    type: Any
    default: Any
    """``inspect.Parameter.empty`` when there is none"""
    reading: Reading

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """A handler's parameters, the context apart."""

    parameters: tuple[Parameter, ...]
    context: str | None
    bind: Bind
    schema: Schema
    """JSON Schema of the payloads that bind; empty when any does"""

    def __str__(self) -> str:
        return ", ".join(f"{one.name}: {inspect.formatannotation(one.type)}" for one in self.parameters)

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
            written = {one.name: msgspec.Raw(one.reading.write(given[one.name])) for one in self.parameters if one.name in given}
            return msgspec.json.encode(written), False
        only = self.parameters[0]
        value = given.get(only.name, None if only.required else only.default)
        if only.type is str and isinstance(value, str):
            return value.encode(), True
        if only.type is bytes and isinstance(value, bytes):
            return value, True
        return only.reading.write(value), False


def read_signature(function: Callable[..., Any], where: str) -> Signature:
    """Read a handler's parameters once, at declaration.

    Raises:
        HandlerError: a parameter that no payload can fill; names the handler.
    """
    context, parameters = None, []
    writer = SchemaWriter(custom_schema)
    for one, kind in typed_parameters(function, where):
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise HandlerError(f"{where}: parameter {one} cannot be filled from a payload; name each parameter")
        if is_context(kind):
            if context is not None:
                raise HandlerError(f"{where}: parameters {context} and {one.name} both take the context; one is enough")
            context = one.name
        else:
            parameters.append(Parameter(one.name, kind, one.default, _reading(one, kind, writer, where)))
    by_name = len(parameters) != 1 or not writer.takes_objects(parameters[0].reading.schema)
    schema = _schema_of(parameters, by_name, writer.parts)
    try:
        msgspec.json.encode(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise HandlerError(f"{where}: its JSON Schema cannot be written: {error}") from None
    return Signature(tuple(parameters), context, _binder(parameters, by_name, schema), schema)


def _reading(one: inspect.Parameter, kind: Any, writer: SchemaWriter, where: str) -> Reading:
    try:
        return reading_of(kind, writer)
    except NameError as error:
        raise HandlerError(f"{where}: parameter {one.name}: {undefined(error)}") from None
    except Exception as error:  # noqa: BLE001 - types are code of the user's
        if isinstance(error, TypeError) and one.default is not one.empty:
            return UNREADABLE
        raise HandlerError(f"{where}: parameter {one.name}: {' '.join(message_of(error).split())}") from None


def _schema_of(parameters: list[Parameter], by_name: bool, parts: dict[str, Schema]) -> Schema:
    if not parameters or (len(parameters) == 1 and parameters[0].type in (str, bytes, Any)):
        return {}
    found = _by_name(parameters)
    if len(parameters) == 1:
        whole = parameters[0].reading.schema
        found = {"anyOf": [whole, found]} if by_name else whole
    return {**found, "$defs": parts} if parts else found


def _by_name(parameters: list[Parameter]) -> Schema:
    return {
        "type": "object",
        "properties": {one.name: one.reading.schema for one in parameters},
        "required": [one.name for one in parameters if one.required],
        "additionalProperties": False,
    }


def _binder(parameters: list[Parameter], by_name: bool, schema: Schema) -> Bind:
    if not parameters:
        return lambda payload, is_text: {}
    named = [_decode_by_name(parameters)] if by_name else []
    if len(parameters) > 1:
        return _bind_json(named, schema, parameters)
    only = parameters[0]
    name = only.name
    if only.type is str:
        return lambda payload, is_text: {name: _text(payload)}
    if only.type is bytes:
        return lambda payload, is_text: {name: payload}
    if only.type is Any:
        return lambda payload, is_text: {name: _json_or_text(payload)}
    return _bind_json([_decode_whole(only), *named], schema, parameters)


def _bind_json(decodes: list[Decode], schema: Schema, parameters: list[Parameter]) -> Bind:
    """Tries each way to read the payload, and for a plain text the text itself; says by the schema why none did."""

    first = decodes[0]

    def bind(payload: bytes, is_text: bool) -> dict[str, Any]:
        try:
            return first(payload)
        except (ValueError, RecursionError) as error:
            reason = message_of(error)
        for raw in (payload, encode_json(_text(payload))) if is_text else (payload,):
            for decode in decodes:
                with suppress(ValueError, RecursionError):
                    return _tolerant(decode, raw)
        raise PayloadMismatch(_why(payload, is_text, reason))

    def _why(payload: bytes, is_text: bool, reason: str) -> str:
        try:
            check = PayloadCheck(schema, [one.name for one in parameters])
        except ValueError:  # a schema of the user's own that cannot be read
            return reason
        return check.told(check.faults(payload, is_text) or [Fault((), reason)])

    return bind


def _decode_whole(only: Parameter) -> Decode:
    name, model = only.name, only.reading.model
    decode = decoder(only.reading.field) if model is None else model.read
    return lambda raw: {name: decode(raw)}


def _decode_by_name(parameters: list[Parameter]) -> Decode:
    fields: list[Any] = [
        (one.name, one.reading.field) if one.required else (one.name, one.reading.field, msgspec.UNSET)
        for one in sorted(parameters, key=lambda one: not one.required)
    ]
    decode = decoder(msgspec.defstruct("Payload", fields, forbid_unknown_fields=True))
    models = {one.name: one.reading.model for one in parameters if one.reading.model is not None}
    names = [one.name for one in parameters]

    def read_plain(raw: bytes) -> dict[str, Any]:
        found = decode(raw)
        return {name: value for name in names if (value := getattr(found, name)) is not msgspec.UNSET}

    def read(raw: bytes) -> dict[str, Any]:
        arguments = read_plain(raw)
        for name, model in models.items():
            if name in arguments:
                arguments[name] = _read_model(model, name, arguments[name])
        return arguments

    return read if models else read_plain


def _read_model(model: Model, name: str, raw: msgspec.Raw) -> Any:
    try:
        return model.read(bytes(raw))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _tolerant(decode: Decode, raw: bytes) -> dict[str, Any]:
    """Decode; numbers such as 1.0, which are integers to JSON, may be integers here too."""
    try:
        return decode(raw)
    except msgspec.ValidationError:
        whole = _with_whole_numbers(raw)
        if whole is None:
            raise
        return decode(whole)


def _with_whole_numbers(raw: bytes) -> bytes | None:
    """The same JSON with whole numbers written as such; None when there are none."""
    changed = False

    def number(text: str) -> Any:
        nonlocal changed
        value = Decimal(text)
        if value.adjusted() > EXPONENT_MAX or value != value.to_integral_value():
            return msgspec.Raw(text.encode())
        changed = True
        return int(value)

    found = msgspec.json.Decoder(float_hook=number).decode(raw)
    return msgspec.json.encode(found) if changed else None


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
