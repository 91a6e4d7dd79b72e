"""Says in plain words why a payload does not fit its task: the same at the door of the API and in the worker."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from _taskqueue.tasks.schema import rewritten

FAULTS_MAX = 20
WHOLE_BYTES_MAX = 4_096
"""A larger payload is cut down to some of its faults before they are listed."""
ITEMS_KEPT = 8
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
        self._schema = schema
        self._fields = _field_names(schema)
        self._validator = _validator(rewritten(schema, _checkable))
        self._only = parameters[0] if len(parameters) == 1 else ""

    def told(self, faults: Sequence[Fault]) -> str:
        """All that is wrong in one line; a value that is the only parameter's goes by its name."""
        text = "; ".join(map(str, faults))
        by_name = not faults or faults[0].path[:1] == (self._only,) or faults[0].words.startswith(("missing", "unknown"))
        return text if by_name or not self._only else f"{self._only}: {text}"

    def faults(self, payload: bytes, is_text: bool) -> list[Fault]:
        """What is wrong with a payload; nothing when it fits, by one of the ways in which the worker may read it."""
        values = list(_readings(payload, is_text))
        if any(map(self._validator.is_valid, values)):
            return []
        if not values:
            return [Fault((), "the payload is not JSON, which this task needs")]
        value, validator = values[0], self._validator
        if len(payload) <= WHOLE_BYTES_MAX:
            return list(islice(self._faults_of(validator.iter_errors(value), value, {}), FAULTS_MAX))
        any_length = _validator(rewritten(rewritten(self._schema, _checkable), _of_any_length))
        if not any_length.is_valid(value):
            validator = any_length  # or the cut would be the fault
        skipped = shrink(value, lambda: not validator.is_valid(value), self._fields)
        return list(islice(self._faults_of(validator.iter_errors(value), value, skipped), FAULTS_MAX))

    def _faults_of(self, errors: Iterable[Any], value: Any, skipped: Mapping[Path, int]) -> Iterator[Fault]:
        missing: dict[Path, list[str]] = {}
        unknown, others = [], []
        for error in islice(_chosen(errors), FAULTS_MAX):
            kind = _kind(error)
            path, there = _followed(value, error.instance_path, skipped)
            if kind == "Required":
                missing.setdefault(path, []).append(error.kind.property)
            elif kind == "AdditionalProperties":
                unknown += [Fault(path, self._unknown(name, error, there)) for name in sorted(error.kind.unexpected)[:FAULTS_MAX]]
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


def _of_any_length(schema: dict[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in schema.items() if word not in {"minItems", "minProperties"}}


def _validator(schema: dict[str, Any]) -> Any:
    import jsonschema_rs  # a worker, and a process of its own of a task, needs it only when something does not fit

    formats = {name: _reads(kind) for name, (kind, _) in _FORMATS.items()}
    try:
        return jsonschema_rs.validator_for(schema, formats=formats, validate_formats=True, mask="it")
    except TypeError as error:
        raise ValueError(str(error)) from None


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


def _followed(value: Any, path: Iterable[Any], skipped: Mapping[Path, int]) -> tuple[Path, Any]:
    """The path with its keys as they are in the payload (the library gives ``"1"`` as a number), and what lies there."""
    found: Path = ()
    for part in path:
        key = str(part) if isinstance(value, dict) else part
        try:
            value = value[key]
        except (LookupError, TypeError):
            break
        found = (*found, key + skipped.get(found, 0) if isinstance(key, int) else key)
    return found, value


def _field_names(schema: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()

    def look(one: dict[str, Any]) -> dict[str, Any]:
        if isinstance(one.get("properties"), dict):
            found.update(one["properties"])
        return one

    rewritten(schema, look)
    return found


def shrink(value: Any, is_wrong: Callable[[], bool], fields: Collection[str]) -> dict[Path, int]:
    """Cut long lists and mappings down, in place, to some items that are wrong: to list all faults of a large payload takes minutes.

    Args:
        is_wrong: whether the value is, as it is now.
        fields: keys that stay.

    Returns:
        How many items each list lost at its beginning.
    """
    skipped: dict[Path, int] = {}
    waiting: deque[tuple[Path, Any]] = deque([((), value)])
    while waiting:
        path, there = waiting.popleft()
        most = ITEMS_KEPT if len(waiting) < ITEMS_KEPT**2 else 1
        if isinstance(there, list):
            skipped[path] = _halve(there[:], partial(_put_items, there), is_wrong, most)
            waiting += [((*path, index + skipped[path]), one) for index, one in enumerate(there) if isinstance(one, (list, dict))]
        elif isinstance(there, dict):
            kept = {key: one for key, one in there.items() if key in fields}
            _halve([one for one in there.items() if one[0] not in fields], partial(_put_keys, there, kept), is_wrong, most)
            waiting += [((*path, key), one) for key, one in there.items() if isinstance(one, (list, dict))]
    return skipped


def _put_items(into: list[Any], items: list[Any]) -> None:
    into[:] = items


def _put_keys(into: dict[str, Any], kept: Mapping[str, Any], items: list[Any]) -> None:
    into.clear()
    into.update(kept)
    into.update(items)


def _halve(items: list[Any], put: Callable[[list[Any]], None], is_wrong: Callable[[], bool], most: int) -> int:
    """Put half of the items back, and half of those, as long as one half alone is wrong; gives how many lie before them."""
    low, high = 0, len(items)
    while high - low > most:
        middle = (low + high) // 2
        for start, end in ((low, middle), (middle, high)):
            put(items[start:end])
            if is_wrong():
                low, high = start, end
                break
        else:
            put(items[low:high])
            break
    return low


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
