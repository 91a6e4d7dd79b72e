"""How the value of one parameter is made of JSON, and what JSON is made of it.

msgspec knows most types. The rest are stand-ins (a path is a text, a deque is a list) or pydantic's.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import ipaddress
import itertools
import math
import numbers
import os
import pathlib
import re
import typing
import zoneinfo
from collections.abc import Callable
from typing import Any

import msgspec

from _taskqueue.domain.task import message_of
from _taskqueue.tasks.models import Model, mentions_models, model_of
from _taskqueue.tasks.schema import NOTHING, Schema, SchemaWriter

_ADDRESSES = (
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network, ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)  # fmt: skip
_LIKE_TEXTS = (pathlib.PurePath, zoneinfo.ZoneInfo, *_ADDRESSES)


@dataclasses.dataclass(frozen=True, slots=True)
class StandIn:
    """A type that JSON has instead of another, and how the other is made of it."""

    kind: Any
    make: Callable[[Any, Any], Any] = lambda kind, value: (typing.get_origin(kind) or kind)(value)
    """(the other type, value of ``kind``) → value of the other"""

    def of(self, arguments: tuple[Any, ...]) -> Any:
        """The type with the arguments that the other has."""
        takes = {list: 1, dict: 2}.get(self.kind, 0)
        return self.kind[arguments] if arguments and len(arguments) == takes else self.kind


_STAND_INS: dict[Any, StandIn] = {
    **{cls: StandIn(str) for cls in _LIKE_TEXTS},
    os.PathLike: StandIn(str, lambda kind, value: pathlib.Path(value)),
    re.Pattern: StandIn(str, lambda kind, value: re.compile(value)),
    collections.deque: StandIn(list),
    collections.abc.Iterable: StandIn(list, lambda kind, value: value),
    collections.OrderedDict: StandIn(dict),
    collections.defaultdict: StandIn(dict, lambda kind, value: collections.defaultdict(_factory(kind), value)),
    collections.Counter: StandIn(dict[str, int]),
    str: StandIn(str),
    int: StandIn(int),
    float: StandIn(float),
    list: StandIn(list),
    dict: StandIn(dict),
    set: StandIn(set),
    frozenset: StandIn(frozenset),
    tuple: StandIn(tuple),
}
"""also for classes that inherit from these"""
_ABSTRACT = {os.PathLike, collections.abc.Iterable}
"""but not from these, of which they need not be made"""


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """How one parameter is read."""

    field: Any
    """what msgspec decodes: the type itself, or the JSON untouched"""
    model: Model | None
    """what makes a value of untouched JSON"""
    schema: Schema

    def write(self, value: Any) -> bytes:
        """The JSON that reads back to a value.

        Raises:
            TypeError: it has none.
        """
        try:
            return encode_json(value) if self.model is None else self.model.dump(value)
        except ValueError as error:
            raise TypeError(message_of(error)) from None


class Unreadable:
    """Stands in for a type that nothing makes of JSON."""


UNREADABLE = Reading(Unreadable, None, NOTHING)
"""of a parameter whose default is all that it can have"""


def reading_of(kind: Any, writer: SchemaWriter) -> Reading:
    """How values of a type are read.

    Raises:
        TypeError, ValueError: nothing makes one of JSON.
    """
    if mentions_models(kind):
        try:
            model = Model(kind)
            return Reading(msgspec.Raw, model, _schema_of(model, writer))
        except TypeError:  # a Struct somewhere, which pydantic does not know; the classes around and in it are read one by one
            pass
    schema = writer.write(kind)
    decoder(kind)
    return Reading(kind, None, schema)


def decoder(kind: Any) -> Callable[[bytes], Any]:
    """Decodes JSON to this type."""
    return msgspec.json.Decoder(kind, dec_hook=make_custom).decode


def custom_schema(cls: Any, writer: SchemaWriter) -> Schema:
    """The schema of a class that msgspec does not know.

    Raises:
        TypeError: nothing makes one of JSON.
    """
    if cls is object:
        return {}
    stand_in = _stand_in(cls)
    if stand_in is not None:
        named = {"format": cls.__name__.lower().removesuffix("address")} if cls in _ADDRESSES else {}
        return {**writer.write(stand_in.kind), **named}
    if mentions_models(cls):
        return _schema_of(model_of(cls), writer)
    raise TypeError(
        f"no JSON can be turned into {_shown(cls)}; use plain types, a dataclass, a TypedDict, a msgspec Struct or a pydantic model"
    )


def make_custom(kind: Any, value: Any) -> Any:
    """The value of a class that msgspec does not know, of what the JSON said; msgspec asks for it."""
    cls = typing.get_origin(kind) or kind
    if cls is object:
        return value
    stand_in = _stand_in(cls)
    if stand_in is None and not mentions_models(cls):
        raise ValueError(f"no JSON can be turned into {_shown(cls)}")
    if stand_in is None:
        return model_of(cls).read(msgspec.json.encode(value))
    try:
        plain = msgspec.convert(value, stand_in.of(typing.get_args(kind)), str_keys=True, dec_hook=make_custom)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None  # msgspec adds where it stands to those alone
    try:
        return stand_in.make(kind, plain)
    except Exception:  # noqa: BLE001 - constructors raise what they like
        raise ValueError(f"expected a valid {_shown(cls)}") from None


def encode_json(value: Any) -> bytes:
    """JSON of plain values, dataclasses, msgspec Structs, dates, paths, and pydantic models.

    Raises:
        TypeError: something inside has no JSON form.
        ValueError: a number is not finite, which JSON cannot say (RFC 8259, 6).
    """
    encoded = msgspec.json.encode(value, enc_hook=_plain)
    if b"null" in encoded and not isinstance(value, msgspec.Raw):
        _refuse_infinite(msgspec.to_builtins(value, enc_hook=_plain))
    return encoded


def _refuse_infinite(plain: Any) -> None:
    """The encoder writes null for numbers that are not finite, so only what holds a null is looked at."""
    left: list[tuple[str, Any]] = [("", plain)]
    while left:
        where, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where.lstrip('.') or 'the value'} is {value}, which JSON cannot say")
        if isinstance(value, dict):
            left += [(f"{where}.{key}", one) for key, one in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(f"{where}[{at}]", one) for at, one in enumerate(value)]


_PLAIN_PARTS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__), (int, int.__int__), (float, float.__float__), (bytes, lambda value: bytes(memoryview(value))),
)  # fmt: skip
"""What is left of a value of a class derived from these: the encoder takes only the plain ones."""


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    cls: Any = type(value)
    if isinstance(value, _LIKE_TEXTS):
        return str(value)
    if cls is re.Pattern:
        return value.pattern
    if issubclass(cls, (collections.deque, range, collections.abc.KeysView, collections.abc.ValuesView)):
        return list(value)
    for plain, of in _PLAIN_PARTS:
        if issubclass(cls, plain):
            return of(value)
    if isinstance(value, numbers.Real):  # Fraction, and the scalars of numpy
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    try:
        dump = getattr(cls, "model_dump", None)
        if callable(dump):
            return dump(value, mode="json")
        if mentions_models(cls):
            return msgspec.Raw(model_of(cls).dump(value))
    except Exception as error:  # noqa: BLE001 - code of the user's
        raise TypeError(f"a value of type {cls.__name__} cannot be written as JSON: {message_of(error)}") from None
    raise TypeError(f"a value of type {cls.__name__} has no JSON form")


def _schema_of(model: Model, writer: SchemaWriter) -> Schema:
    for count in itertools.count(1):
        prefix = "" if count == 1 else f"{count}."
        schema = model.schema(f"#/$defs/{prefix}{{model}}")
        parts = {prefix + name: part for name, part in schema.pop("$defs", {}).items()}
        if all(writer.parts.get(name, part) == part for name, part in parts.items()):
            break
    writer.parts.update(parts)
    return schema


def _stand_in(cls: Any) -> StandIn | None:
    for one in getattr(cls, "__mro__", (cls,)):
        if one in _STAND_INS and (one is cls or one not in _ABSTRACT):
            return _STAND_INS[one]
    return None


def _factory(kind: Any) -> Callable[[], Any] | None:
    """What makes the missing values of a defaultdict: their type."""
    values = typing.get_args(kind)[1:]
    made = typing.get_origin(values[0]) or values[0] if values else None
    return made if isinstance(made, type) else None


def _shown(cls: Any) -> str:
    return str(getattr(cls, "__name__", cls))
