"""Reads the terms of a submission from outside values: the fields of ``POST /tasks``, the options of ``enqueue``.

Each field has one reader that gives the value or says what is wrong; all wrong fields are reported together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.durations import parse_duration
from _taskqueue.domain.errors import TaskqueueError
from _taskqueue.domain.task import (
    MAX_ATTEMPTS_MAX,
    PRIORITY_DEFAULT,
    PRIORITY_MAX,
    QUEUE_DEFAULT,
    QUEUE_NAME,
    QUEUE_NAME_RULE,
    TASK_NAME,
    TASK_NAME_RULE,
    Record,
    Submission,
    Unique,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MAX_MS = 253_402_300_799_999
"""The end of the year 9999; what is later, by its offset, counts as this."""
TAGS_MAX, TAG_CHARS_MAX = 10, 64
UNIQUE_CHARS_MAX = 255
FIELDS_MAX, UNKNOWN_SHOWN_MAX, NAME_CHARS_MAX = 100, 20, 64
"""Looking for the nearest neighbour of a name takes 40 us, so a request may not ask for many."""
UNIQUE_TTL_MS = 3_600_000
BATCH_ID = re.compile(r"(?=[_.:-]*[A-Za-z0-9])[A-Za-z0-9_.:-]{1,64}", re.ASCII)
BATCH_ID_RULE = "1 to 64 letters, digits, _ . : -, at least one a letter or digit"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
META_KEY = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
META_KEYS_MAX, META_KEY_CHARS_MAX, META_CHARS_MAX = 16, 64, 512


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field."""

    field: str
    code: str
    detail: str


class TermsError(TaskqueueError):
    """A submission that cannot be accepted as it is; lists every wrong field."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{one.field}: {one.detail}" for one in self.errors))


class PayloadTooLarge(TermsError):
    """The payload is over the limit."""


def read_submission(fields: Mapping[str, Any], payload: bytes, is_text: bool, *, queue_default: str = QUEUE_DEFAULT) -> Submission:
    """The submission that these fields describe. Unknown fields are ignored; see :func:`unknown_fields`.

    Args:
        fields: everything but the payload; plain values as from JSON. None counts as absent.
        queue_default: where it goes when the fields name no queue.

    Raises:
        TermsError: lists each wrong field.
    """
    found: dict[str, Any] = {}
    errors = []
    for name, value in fields.items():
        reader = READERS.get(name)
        if reader is None or value is None:
            continue
        try:
            found[name] = reader(value)
        except (ValueError, TypeError) as error:
            errors.append(FieldError(name, f"invalid_{name}", str(error)))
    if "delay" in found and "run_at" in found:
        errors.append(FieldError("run_at", "invalid_run_at", "give delay or run_at, not both"))
    if errors:
        raise TermsError(errors)
    return _build(found, payload, is_text, queue_default)


def _build(found: Mapping[str, Any], payload: bytes, is_text: bool, queue_default: str) -> Submission:
    unique: Unique | None = found.get("unique")
    record = Record(
        task=found.get("task", ""),
        payload=payload,
        is_text=is_text,
        priority=found.get("priority", PRIORITY_DEFAULT),
        timeout_s=found.get("timeout"),
        max_attempts=found.get("max_attempts"),
        backoff=found.get("backoff"),
        expires_in_ms=found.get("expires_in"),
        tags=found.get("tags", ()),
        meta=found.get("meta", {}),
        batch=found.get("batch_id", ""),
        unique_key=unique.key if unique else "",
    )
    return Submission(
        record, found.get("queue", queue_default), found.get("delay", 0), found.get("run_at"), found.get("expires_in"), unique,
        found.get("retain"),
    )  # fmt: skip


def unknown_names(fields: Iterable[str]) -> list[str]:
    """The fields that mean nothing here."""
    return [name for name in fields if name not in READERS and name != "payload"]


def unknown_fields(fields: Iterable[str]) -> list[FieldError]:
    """The first fields that mean nothing here, each with its nearest neighbour."""
    known, strange = ("payload", *READERS), unknown_names(fields)[:UNKNOWN_SHOWN_MAX]
    return [FieldError(name[:NAME_CHARS_MAX], "unknown_field", f"unknown field{_did_you_mean(name, known)}") for name in strange]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1) if len(name) <= NAME_CHARS_MAX else []
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _task(value: Any) -> str:
    if not isinstance(value, str) or not TASK_NAME.fullmatch(value):
        raise ValueError(f"must be {TASK_NAME_RULE}")
    return value


def _queue(value: Any) -> str:
    if not isinstance(value, str) or not QUEUE_NAME.fullmatch(value):
        raise ValueError(f"must be {QUEUE_NAME_RULE}")
    return value


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():  # JSON Schema takes 5.0 for a whole number
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError('must be seconds or a text such as "30s", "5m", "2h", "1d"')
    return parse_duration(value)


def _milliseconds(value: Any) -> int:
    return round(_seconds(value) * 1000)


def _positive_ms(value: Any) -> int:
    found = _milliseconds(value)
    if found < 1:
        raise ValueError("must be longer than zero")
    return found


def _timeout(value: Any) -> float:
    return _positive_ms(value) / 1000


def read_time(value: Any) -> int:
    """Milliseconds since 1970 from RFC 3339 with an offset. Raises ValueError."""
    problem = "must be a time with its offset, such as 2030-01-31T08:00:00Z"
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(problem)
    try:
        at = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(problem) from None
    ms = round((at - EPOCH).total_seconds() * 1000)
    return min(max(0, ms), TIME_MAX_MS)


def _backoff(value: Any) -> Backoff:
    if isinstance(value, Backoff):
        return value
    try:
        return msgspec.convert(value, Backoff)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > TAGS_MAX:
        raise ValueError(f"must be a list of up to {TAGS_MAX} texts")
    for tag in value:
        if not isinstance(tag, str) or not 1 <= len(tag) <= TAG_CHARS_MAX or not _is_line(tag):
            raise ValueError(f"each must be a text of 1 to {TAG_CHARS_MAX} characters, none of them a control character or comma")
    return tuple(dict.fromkeys(value))


def _is_line(text: str, forbidden: str = ",") -> bool:
    return text.isprintable() and not any(letter in text for letter in forbidden)


def _meta(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > META_KEYS_MAX:
        raise ValueError(f"must be an object of up to {META_KEYS_MAX} texts")
    for key, text in value.items():
        if not isinstance(text, str) or not 1 <= len(key) <= META_KEY_CHARS_MAX or len(text) > META_CHARS_MAX:
            raise ValueError(f"keys may have {META_KEY_CHARS_MAX} characters; values must be texts of up to {META_CHARS_MAX}")
        if not META_KEY.fullmatch(key) or not _is_line(text, ""):
            raise ValueError("keys may have letters, digits, _ . -; values no control characters")
    return dict(value)


def _unique(value: Any) -> Unique:
    if not isinstance(value, Mapping) or set(value) - {"key", "ttl", "while", "on_conflict"}:
        raise ValueError("must be an object of key, ttl, while, on_conflict")
    key, mode, on_conflict = value.get("key"), value.get("while", "active"), value.get("on_conflict", "return")
    if not isinstance(key, str) or not 1 <= len(key) <= UNIQUE_CHARS_MAX or not _is_line(key, ""):
        raise ValueError(f"key must be a text of 1 to {UNIQUE_CHARS_MAX} characters, none of them a control character")
    if mode not in ("active", "ttl"):
        raise ValueError("while must be active or ttl")
    if on_conflict not in ("return", "reject", "replace"):
        raise ValueError("on_conflict must be return, reject or replace")
    ttl = value.get("ttl")
    ttl_ms = None if ttl is None else _positive_ms(ttl)
    return Unique(key, UNIQUE_TTL_MS if mode == "ttl" and ttl_ms is None else ttl_ms, mode, on_conflict)


def _batch(value: Any) -> str:
    if not isinstance(value, str) or not BATCH_ID.fullmatch(value):
        raise ValueError(f"must be {BATCH_ID_RULE}")
    return value


READERS: dict[str, Callable[[Any], Any]] = {
    "task": _task,
    "queue": _queue,
    "priority": _whole(0, PRIORITY_MAX),
    "delay": _milliseconds,
    "run_at": read_time,
    "timeout": _timeout,
    "max_attempts": _whole(1, MAX_ATTEMPTS_MAX),
    "backoff": _backoff,
    "expires_in": _positive_ms,
    "tags": _tags,
    "meta": _meta,
    "unique": _unique,
    "batch_id": _batch,
    "retain": _milliseconds,
}
"""Field name → its reader."""
