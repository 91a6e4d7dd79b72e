"""The tasks that live workers say they know: checks payloads at the door, hides what must not be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from _taskqueue.domain.task import Submission, TaskInfo
from _taskqueue.store.answers import Sight
from _taskqueue.store.handlers import Handlers
from _taskqueue.store.store import Store
from _taskqueue.tasks.mismatch import Fault, PayloadCheck
from _taskqueue.web.problems import Problem

MASK = "•••"


class Catalog:
    """What workers announced.

    Args:
        own: what the worker of this process knows, from its first moment on.
        strict: refuse tasks that no live worker knows, once any worker has told its tasks.
    """

    def __init__(self, store: Store, own: Mapping[str, TaskInfo], *, strict: bool = False) -> None:
        self._handlers, self._strict = Handlers(store), strict
        self._own = own
        self._told: Mapping[str, TaskInfo] = {}
        self._all = own
        self._checks: dict[str, tuple[TaskInfo, PayloadCheck | None]] = {}

    async def tasks(self) -> Mapping[str, TaskInfo]:
        """By name."""
        told = await self._handlers.tasks()
        if told is not self._told:
            self._told, self._all = told, {**self._own, **told}
        return self._all

    def check(self, submission: Submission, default: str, tasks: Mapping[str, TaskInfo]) -> None:
        """Refuse a payload that its task, one of these, cannot take. Raises Problem."""
        name = submission.record.task or default
        info = tasks.get(name)
        if info is None:
            if self._strict and tasks and name:
                raise Problem(422, "unknown_task", f"task: no worker knows {name!r}; known are {', '.join(list(tasks)[:20])}")
            return
        check = self._check_of(info)
        faults = check.faults(submission.record.payload, submission.record.is_text) if check is not None else []
        if check is not None and faults:
            raise _mismatch(name, check, faults)

    def _check_of(self, info: TaskInfo) -> PayloadCheck | None:
        if not info.schema:
            return None
        known = self._checks.get(info.name)
        if known is None or known[0] is not info:
            check = None
            with suppress(ValueError):  # a schema that cannot be read checks nothing
                check = PayloadCheck(info.schema, info.parameters)
            known = self._checks[info.name] = (info, check)
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


def _pointer(path: Any) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in ("payload", *path))


def _mismatch(name: str, check: PayloadCheck, faults: Sequence[Fault]) -> Problem:
    errors = [{"pointer": _pointer(one.path), "code": "payload_mismatch", "detail": one.words} for one in faults]
    return Problem(422, "payload_mismatch", f"the task {name} cannot take this payload: {check.told(faults)}", errors=errors)


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
