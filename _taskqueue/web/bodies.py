"""The bodies of requests, as types for the document; ``POST /tasks`` itself is read by the readers of terms.py.

A test sends what these types admit and what they refuse, so that document and readers cannot say different things.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.durations import DURATION_MAX_S

Whole = Annotated[int, Meta(ge=0)]
DurationIn = (
    Annotated[float, Meta(ge=0, le=DURATION_MAX_S, description="seconds")]
    | Annotated[str, Meta(pattern="^[0-9]{1,3}(ms|s|m|h|d)$", description='"30s", "5m", "2h", "1d"')]
)
LongDurationIn = (
    Annotated[float, Meta(ge=0.001, le=DURATION_MAX_S, description="seconds")]
    | Annotated[str, Meta(pattern="^[1-9][0-9]{0,2}(ms|s|m|h|d)$", description='"30s", "5m", "2h", "1d"')]
)
TimeIn = Annotated[str, Meta(description="RFC 3339 with an offset", extra_json_schema={"format": "date-time"})]
TaskName = Annotated[str, Meta(pattern="^[_.:-]*[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=128)]
QueueName = Annotated[str, Meta(pattern="^[_.-]*[a-z0-9][a-z0-9_.-]*$", max_length=64)]
BatchId = Annotated[str, Meta(pattern="^[_.:-]*[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=64)]
Tag = Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema={"pattern": "^[ -+.-~-]+$"})]
Tags = Annotated[list[Tag], Meta(max_length=10)]
Line = Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")]


class UniqueIn(msgspec.Struct, forbid_unknown_fields=True):
    """A key that only one task holds at a time."""

    key: Line
    ttl: LongDurationIn | None = None
    mode: Literal["active", "ttl"] = msgspec.field(default="active", name="while")
    on_conflict: Literal["return", "reject", "replace"] = "return"


class SubmitBody(msgspec.Struct):
    """One task."""

    payload: Any
    task: TaskName | None = None
    queue: QueueName | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] | None = None
    delay: DurationIn | None = None
    run_at: TimeIn | None = None
    timeout: LongDurationIn | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    backoff: Backoff | None = None
    expires_in: LongDurationIn | None = None
    unique: UniqueIn | None = None
    tags: Tags | None = None
    meta: (
        Annotated[
            dict[Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")], Annotated[str, Meta(max_length=512, pattern="^[ -~]*$")]],
            Meta(max_length=16),
        ]
        | None
    ) = None
    batch_id: BatchId | None = None
    retain: DurationIn | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Many tasks."""

    tasks: Annotated[list[msgspec.Raw], Meta(description="up to 1,000 submissions")]
    batch_id: BatchId | None = None
    atomic: Annotated[
        bool, Meta(description="store nothing when any task is wrong; a full queue or a held key still refuse single ones")
    ] = False


class RetryBody(msgspec.Struct, forbid_unknown_fields=True):
    """How to retry."""

    reset_attempts: bool = False


class RerunBody(msgspec.Struct, forbid_unknown_fields=True):
    """What the new task gets instead."""

    payload: Any = msgspec.UNSET


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a task that waits."""

    priority: Annotated[int, Meta(ge=0, le=9)] | msgspec.UnsetType = msgspec.UNSET
    run_at: TimeIn | msgspec.UnsetType = msgspec.UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] | msgspec.UnsetType = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET


class PauseBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class QueueBody(msgspec.Struct, forbid_unknown_fields=True):
    """Settings of a queue; null takes one away."""

    max_length: Annotated[int, Meta(ge=0, le=1000000000)] | msgspec.UnsetType | None = msgspec.UNSET


class SessionBody(msgspec.Struct, forbid_unknown_fields=True):
    """A token, for a cookie."""

    token: Annotated[str, Meta(max_length=1000)]


class OperationBody(msgspec.Struct, forbid_unknown_fields=True):
    """One action on many tasks."""

    action: Literal["retry", "run", "cancel", "delete"]
    filter: dict[str, Annotated[str, Meta(max_length=1000)]] | msgspec.UnsetType = msgspec.UNSET
    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=1000)] | msgspec.UnsetType = msgspec.UNSET
    dry_run: bool = False
    rate: Annotated[float, Meta(gt=0, le=100_000, description="tasks a second")] | None = None
    expected: Whole | None = None
    reset_attempts: bool = False
