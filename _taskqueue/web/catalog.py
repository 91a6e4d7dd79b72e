"""The tasks that live workers say they know: checks payloads at the door, hides what must not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import jsonschema_rs
import msgspec

from _taskqueue.domain.task import Submission, TaskInfo
from _taskqueue.store.answers import Sight
from _taskqueue.store.handlers import Handlers
from _taskqueue.store.store import Store
from _taskqueue.web.problems import Problem

ERRORS_MAX = 20
MASK = "•••"


class Catalog:
    """What workers announced.

    Args:
        strict: refuse tasks that no live worker knows, once any worker has told its tasks.
    """

    def __init__(self, store: Store, *, strict: bool = False) -> None:
        self._handlers, self._strict = Handlers(store), strict
        self._validators: dict[str, tuple[TaskInfo, Any]] = {}

    async def tasks(self) -> Mapping[str, TaskInfo]:
        """By name."""
        return await self._handlers.tasks()

    def check(self, submission: Submission, default: str, tasks: Mapping[str, TaskInfo]) -> None:
        """Refuse a payload that its task, one of these, cannot take. Raises Problem."""
        name = submission.record.task or default
        info = tasks.get(name)
        if info is None:
            if self._strict and tasks and name:
                raise Problem(422, "unknown_task", f"task: no worker knows {name!r}; known are {', '.join(list(tasks)[:20])}")
            return
        validator = self._validator(info)
        if validator is None:
            return
        errors = None
        for value in _readings(submission.record.payload, submission.record.is_text):
            errors = list(_limited(validator.iter_errors(value)))
            if not errors:
                return
        if errors is None:
            raise _mismatch(name, "the payload is not JSON, which this task needs", [])
        details = [{"pointer": _pointer(one.instance_path), "code": "payload_mismatch", "detail": one.message[:300]} for one in errors]
        raise _mismatch(name, details[0]["detail"], details)

    def _validator(self, info: TaskInfo) -> Any:
        if not info.schema:
            return None
        known = self._validators.get(info.name)
        if known is None or known[0] is not info:
            try:
                validator = jsonschema_rs.validator_for(info.schema)
            except (ValueError, TypeError):  # a schema this library cannot read checks nothing
                validator = None
            known = self._validators[info.name] = (info, validator)
        return known[1]

    async def mask(self, sight: Sight, default: str) -> Sight:
        """The task without what its handler hides."""
        info = (await self.tasks()).get(sight.record.task or default)
        if info is None or not info.redact:
            return sight
        record = sight.record
        hidden = _hide(record.payload, record.is_text, info.redact, cut=bool(sight.cut_bytes))
        is_text = record.is_text or hidden == MASK.encode()
        return replace(sight, record=msgspec.structs.replace(record, payload=hidden, is_text=is_text))


def _readings(payload: bytes, is_text: bool) -> list[Any]:
    """What the worker may read in a payload: its JSON, and for a text the text."""
    found: list[Any] = []
    with suppress(msgspec.DecodeError, RecursionError):
        found.append(msgspec.json.decode(payload))
    if is_text:
        found.append(payload.decode(errors="replace"))
    return found


def _limited(errors: Any) -> Any:
    for count, error in enumerate(errors):
        if count >= ERRORS_MAX:
            return
        yield error


def _pointer(path: Any) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in ("payload", *path))


def _mismatch(name: str, detail: str, errors: list[dict[str, str]]) -> Problem:
    return Problem(422, "payload_mismatch", f"the task {name} cannot take this payload: {detail}", errors=errors)


def _hide(payload: bytes, is_text: bool, redact: bool | tuple[str, ...], *, cut: bool) -> bytes:
    if redact is True or is_text or cut:
        return MASK.encode()
    try:
        return msgspec.json.encode(_masked(msgspec.json.decode(payload), frozenset(redact or ())))
    except (msgspec.DecodeError, RecursionError):
        return MASK.encode()


def _masked(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: MASK if key in names else _masked(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, names) for one in value]
    return value
