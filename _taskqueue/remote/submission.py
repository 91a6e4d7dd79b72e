"""New tasks as JSON: a payload and its terms."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, Unpack

import msgspec

from _taskqueue.domain.backoff import Backoff
from _taskqueue.remote.errors import ClientError

Duration = float | str | timedelta
"""Seconds, ``"30s"``, ``"5m"``, ``"2h"``, ``"1d"``, or a timedelta."""
Time = datetime | str
"""With its offset."""

Durability = Literal["primary", "disk", "replica"]
"""How safe a submission is before it is answered."""

BATCH_TASKS = 500
BATCH_BYTES = 8 * 1024 * 1024
"""Batches are cut at this size, well under what a server takes as one request."""

Unique = TypedDict(
    "Unique",
    {"key": str, "ttl": Duration, "while": Literal["active", "ttl"], "on_conflict": Literal["return", "reject", "replace"]},
    total=False,
)
"""A key that only one task holds at a time."""


class Terms(TypedDict, total=False):
    """What may be said of a new task besides its payload; what is absent or None has its default on the server."""

    task: str | None
    queue: str | None
    priority: int | None
    delay: Duration | None
    run_at: Time | None
    timeout: Duration | None
    max_attempts: int | None
    backoff: Backoff | Mapping[str, Any] | None
    expires_in: Duration | None
    unique: str | Unique | None
    tags: Sequence[str] | None
    meta: Mapping[str, str] | None
    batch_id: str | None
    retain: Duration | None


class NewTask:
    """A task to be submitted with others: its payload and its own terms.

    Raises:
        TypeError: the payload has no JSON.
    """

    __slots__ = ("body",)

    def __init__(self, payload: Any, **terms: Unpack[Terms]) -> None:
        self.body = task_body(payload, terms)


def task_body(payload: Any, terms: Terms) -> bytes:
    """The JSON of one submission. Raises TypeError when the payload has none."""
    given = {name: plain(value) for name, value in terms.items() if value is not None}
    if isinstance(given.get("unique"), str):
        given["unique"] = {"key": given["unique"]}
    return msgspec.json.encode({"payload": payload, **given})


def plain(value: Any) -> Any:
    """A term as the API takes it; times and policies have a JSON of their own already."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return value


def batch_body(bodies: Iterable[bytes]) -> bytes:
    """The JSON of a batch."""
    return b'{"tasks":[%s]}' % b",".join(bodies)


def new_key() -> str:
    """An Idempotency-Key: whatever is sent under it is done once."""
    return secrets.token_hex(16)


Result = str | ClientError
"""What became of a task in a batch: its id, or why it was not accepted."""
Results = list[Result]


def batches(items: Iterable[Any], terms: Terms) -> Iterator[list[bytes]]:
    """Payloads or NewTasks as JSON, cut into batches.

    Args:
        terms: of those that are a payload alone.

    Raises:
        TypeError: a payload has no JSON.
    """
    bodies: list[bytes] = []
    size = 0
    for item in items:
        body = item.body if isinstance(item, NewTask) else task_body(item, terms)
        if bodies and (len(bodies) == BATCH_TASKS or size + len(body) > BATCH_BYTES):
            yield bodies
            bodies, size = [], 0
        bodies.append(body)
        size += len(body)
    if bodies:
        yield bodies
