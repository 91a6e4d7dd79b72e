"""Says in plain words why a payload does not fit its task: the same at the door of the API and in the worker."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from _taskqueue.tasks.schema import rewritten

FAULTS_MAX = 20
WORDS_CHARS_MAX = 300
_FORMATS: dict[str, tuple[type, str]] = {
    "date-time": (datetime, "a date and time such as 2030-01-31T08:00:00Z"),
    "date": (date, "a date such as 2030-01-31"),
    "time": (time, "a time such as 08:00:00"),
    "duration": (timedelta, "a duration such as PT1H30M"),
    "uuid": (UUID, "a UUID"),
    "decimal": (Decimal, "a decimal number"),
    "ipv4": (ipaddress.IPv4Address, "an IPv4 address"),
    "ipv6": (ipaddress.IPv6Address, "an IPv6 address"),
    "ipv4network": (ipaddress.IPv4Network, "an IPv4 network"),
    "ipv6network": (ipaddress.IPv6Network, "an IPv6 network"),
    "ipv4interface": (ipaddress.IPv4Interface, "an IPv4 interface"),
    "ipv6interface": (ipaddress.IPv6Interface, "an IPv6 interface"),
}
"""the type that a text must convert to, by the rules of the worker, and what to call it"""
_TYPE_WORDS = {
    "integer": "an integer", "number": "a number", "string": "a string", "boolean": "true or false", "array": "a list",
    "object": "an object", "null": "null",
}  # fmt: skip
_TYPES: dict[type, str] = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array"}
_ALTERNATIVES = {"AnyOf", "OneOfNotValid"}
_CLASS_OF_CHARS = re.compile(r"\[\^?[^\[\]\\]+\]")
_PORTABLE = re.compile(r"\^?[^\\.$^\[\]]*\$?")

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """One thing that is wrong with a payload."""

    path: Path
    words: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.words}" if self.path else self.words


class PayloadCheck:
    """Looks at payloads by the schema of a task.

    Args:
        parameters: the names of the handler's parameters.

    Raises:
        ValueError: the schema cannot be read.
    """

    def __init__(self, schema: Mapping[str, Any], parameters: Sequence[str]) -> None:
        import jsonschema_rs  # a worker, and a process of its own of a task, needs it only when something does not fit

        self._schema = schema
        self._only = parameters[0] if len(parameters) == 1 else ""
        try:
            self._validator = jsonschema_rs.validator_for(
                rewritten(schema, _checkable),
                formats={name: _reads(kind) for name, (kind, _) in _FORMATS.items()},
                validate_formats=True,
                mask="it",
            )
        except TypeError as error:
            raise ValueError(str(error)) from None

    def told(self, faults: Sequence[Fault]) -> str:
        """All that is wrong in one line; a value that is the only parameter's goes by its name."""
        text = "; ".join(map(str, faults))
        by_name = not faults or faults[0].path[:1] == (self._only,) or faults[0].words.startswith(("missing", "unknown"))
        return text if by_name or not self._only else f"{self._only}: {text}"

    def faults(self, payload: bytes, is_text: bool) -> list[Fault]:
        """What is wrong with a payload; nothing when it fits, by one of the ways in which the worker may read it."""
        first: list[Fault] | None = None
        for value in _readings(payload, is_text):
            errors = list(islice(self._validator.iter_errors(value), FAULTS_MAX))
            if not errors:
                return []
            if first is None:
                first = list(self._faults_of(errors, value))
        return [Fault((), "the payload is not JSON, which this task needs")] if first is None else first

    def _faults_of(self, errors: Iterable[Any], value: Any) -> Iterator[Fault]:
        missing: dict[Path, list[str]] = {}
        unknown, others = [], []
        for error in _chosen(errors):
            kind = _kind(error)
            path, there = _followed(value, error.instance_path)
            if kind == "Required":
                missing.setdefault(path, []).append(error.kind.property)
            elif kind == "AdditionalProperties":
                unknown += [Fault(path, self._unknown(name, error, there)) for name in sorted(error.kind.unexpected)]
            else:
                others.append(Fault(path, self._words(error, kind, there)[:WORDS_CHARS_MAX]))
        yield from unknown
        yield from (Fault(path, f"missing: {', '.join(names)}") for path, names in missing.items())
        yield from others

    def _unknown(self, name: str, error: Any, given: Any) -> str:
        fields = list(self._at(error.schema_path[:-1]).get("properties", ()))
        near = difflib.get_close_matches(name, [one for one in fields if one not in given], 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(fields)}" if fields else ""
        return f"unknown field {name!r}{hint}"

    def _words(self, error: Any, kind: str, value: Any) -> str:
        if kind == "Not":
            return "no payload can give it a value"
        rule = self._at(error.schema_path[:-1])
        found = _TYPE_WORDS[_type_of(value)]
        named = rule.get("type")
        if isinstance(named, list) and ("pattern" in rule or "format" in rule):  # other forms are taken besides the type itself
            named = named[0]
        if kind in {"Type", "Pattern"} and isinstance(named, str) and named != "string":
            return f"expected {_TYPE_WORDS.get(named, named)}, got {found}"
        if kind in {"Type", *_ALTERNATIVES}:
            return f"expected {_one_of(_types_wanted(error))}, got {found}"
        return _words_of_value(error, kind, rule)

    def _at(self, path: Iterable[Any]) -> dict[str, Any]:
        found: Any = self._schema
        for part in path:
            try:
                found = found[part]
            except (LookupError, TypeError):
                return {}
        return found if isinstance(found, dict) else {}


def _readings(payload: bytes, is_text: bool) -> Iterator[Any]:
    """What the worker may read in a payload: its JSON, and for a text the text."""
    with suppress(msgspec.DecodeError, RecursionError):
        yield msgspec.json.decode(payload)
    if is_text:
        yield payload.decode(errors="replace")


def _checkable(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the formats and patterns that handlers may read in another way than this library."""
    if isinstance(schema.get("format"), str) and schema["format"] not in _FORMATS:
        del schema["format"]
    if isinstance(pattern := schema.get("pattern"), str):
        if "(?" in pattern or not _PORTABLE.fullmatch(_CLASS_OF_CHARS.sub("", pattern)):
            del schema["pattern"]
        elif pattern.endswith("$"):
            schema["pattern"] = pattern[:-1] + "\n?$"  # Python's $ takes a line feed
    return schema


def _reads(kind: type) -> Any:
    def fits(text: str) -> bool:
        try:
            msgspec.convert(text, kind, dec_hook=lambda cls, value: cls(value))
        except ValueError:
            return False
        return True

    return fits


def _kind(error: Any) -> str:
    return type(error.kind).__name__.rpartition("_")[2]


def _chosen(errors: Iterable[Any]) -> Iterator[Any]:
    """The errors, and of alternatives the errors of the one that was meant: the first that takes such values."""
    for error in errors:
        if _kind(error) not in _ALTERNATIVES:
            yield error
            continue
        options = [list(_chosen(one)) for one in error.kind.context if one]
        meant = [one for one in options if not any(_is_type_error(inner, error) for inner in one)]
        if meant:
            yield from meant[0]
        elif list(error.schema_path) == ["anyOf"] and options:  # the type of the only parameter comes before the object with its name
            yield from options[0]
        else:
            yield error


def _is_type_error(inner: Any, outer: Any) -> bool:
    return _kind(inner) in {"Type", *_ALTERNATIVES} and list(inner.instance_path) == list(outer.instance_path)


def _types_wanted(error: Any) -> list[str]:
    if _kind(error) == "Type":
        return [_TYPE_WORDS.get(name, name) for name in error.kind.types]
    inner = [one for option in error.kind.context for one in option if _kind(one) in {"Type", *_ALTERNATIVES}]
    return [word for one in inner for word in _types_wanted(one)] or ["another value"]


def _one_of(words: Iterable[str]) -> str:
    known = list(dict.fromkeys(words))
    return " or ".join([*([", ".join(known[:-1])] if known[1:] else []), *known[-1:]])


def _followed(value: Any, path: Iterable[Any]) -> tuple[Path, Any]:
    """The path with its keys as they are in the value (the library gives ``"1"`` as a number), and what lies there."""
    found: list[str | int] = []
    for part in path:
        key = str(part) if isinstance(value, dict) else part
        try:
            value = value[key]
        except (LookupError, TypeError):
            break
        found.append(key)
    return tuple(found), value


def _type_of(value: Any) -> str:
    return "null" if value is None else _TYPES.get(type(value), "object")


def _words_of_value(error: Any, kind: str, rule: Mapping[str, Any]) -> str:
    match kind:
        case "Enum":
            return f"expected {_one_of(map(_shown, error.kind.options))}"
        case "Constant":
            return f"expected {_shown(error.kind.expected_value)}"
        case "Format":
            return f"expected {_FORMATS[rule['format']][1]}"
        case "Pattern" if "contentEncoding" in rule:
            return f"expected text in {rule['contentEncoding']}"
        case "Pattern":
            return f"it does not match {rule.get('pattern')}"
    return " ".join(str(error.message).split())


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()
