"""Which tasks someone means: read from a query, or from one line of text as people type it.

    state:dead,retrying queue:images error:TimeoutError "no such bucket"

Commas mean or, different keys mean and; what has no key must occur in the task's id, name, tags, payload or error.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from _taskqueue.domain.states import State
from _taskqueue.terms import FieldError, TermsError, read_time

VALUES_MAX, VALUE_CHARS_MAX, QUERY_CHARS_MAX = 50, 200, 1_000
FAILING = (State.RETRYING, State.DEAD)
META = "meta."


class Filter(msgspec.Struct, frozen=True):
    """What tasks must have; empty means anything."""

    states: tuple[State, ...] = ()
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    meta: tuple[tuple[str, tuple[str, ...]], ...] = ()
    errors: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    created_after_ms: int | None = None
    created_before_ms: int | None = None
    words: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The same for equal filters, so that a cursor is not used with another."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def labels(self) -> list[str]:
        """Labels of an index that holds all tasks meant, each an alternative; empty when no index helps."""
        if self.fingerprints:
            return [f"f:{one}" for one in self.fingerprints]
        if self.batches:
            return [f"b:{one}" for one in self.batches]
        if self.tags:
            return [f"t:{one}" for one in self.tags]
        return [f"m:{key}={value}" for key, values in self.meta[:1] for value in values]


def read_filter(fields: Iterable[tuple[str, str]]) -> Filter:
    """A filter from query parameters. Raises TermsError for each that is wrong or unknown."""
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, text in fields:
        for key, value in _split_line(text) if name == "q" else [(name, text)]:
            if key != "word" and not is_filter(key):
                known = ", ".join(FILTERS)
                errors.append(FieldError(name, "unknown_field", f"is no filter; known are {known}, meta.<key>, q"))
                continue
            try:
                _add(found, key, value)
            except ValueError as error:
                errors.append(FieldError(name, f"invalid_{name}", str(error)))
    if errors:
        raise TermsError(errors)
    found["meta"] = sorted((key, tuple(values)) for key, values in found.get("meta", {}).items())
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Filter(**given)


def _split_line(text: str) -> list[tuple[str, str]]:
    """Words and key:value pairs of one line."""
    if len(text) > QUERY_CHARS_MAX:
        raise TermsError([FieldError("q", "invalid_q", f"must have up to {QUERY_CHARS_MAX} characters")])
    try:
        parts = shlex.split(text)
    except ValueError:
        parts = text.split()  # a quotation mark that is not closed yet: someone is typing
    pairs = []
    for part in parts:
        key, colon, value = part.partition(":")
        pairs.append((key, value) if colon and value and is_filter(key) else ("word", part))
    return pairs


def is_filter(name: str) -> bool:
    """Whether a query parameter of this name is one of the filters."""
    return name in _READERS or (name.startswith(META) and len(name) > len(META))


def _add(found: dict[str, Any], key: str, text: str) -> None:
    if key.startswith(META) and len(key) > len(META):
        found.setdefault("meta", {}).setdefault(key.removeprefix(META), []).extend(_values(text))
        return
    field, read = _READERS[key]
    value = read(text)
    if isinstance(value, list):
        found.setdefault(field, []).extend(value)
        if len(found[field]) > VALUES_MAX:
            raise ValueError(f"has more than {VALUES_MAX} values")
    else:
        found[field] = value


def _values(text: str) -> list[str]:
    values = [part.strip() for part in text.split(",") if part.strip()]
    if not values or len(values) > VALUES_MAX or max(map(len, values)) > VALUE_CHARS_MAX:
        raise ValueError(f"needs 1 to {VALUES_MAX} values of up to {VALUE_CHARS_MAX} characters, divided by commas")
    return values


def _states(text: str) -> list[State]:
    found: list[State] = []
    for name in _values(text):
        if name == "failing":
            found += FAILING
        elif name in list(State):
            found.append(State(name))
        else:
            raise ValueError(f"{name!r} is no state; known are {', '.join(State)}, failing")
    return found


def _word(text: str) -> list[str]:
    return [text[:VALUE_CHARS_MAX].lower()]


_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "state": ("states", _states),
    "queue": ("queues", _values),
    "task": ("tasks", _values),
    "tag": ("tags", _values),
    "error": ("errors", _values),
    "fingerprint": ("fingerprints", _values),
    "worker": ("workers", _values),
    "batch_id": ("batches", _values),
    "created_after": ("created_after_ms", read_time),
    "created_before": ("created_before_ms", read_time),
    "word": ("words", _word),
}
"""Name in a query → field, and what reads its text."""

FILTERS = tuple(name for name in _READERS if name != "word")
