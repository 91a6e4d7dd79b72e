"""Handlers with ``process=True``: run in a worker process that is killed on timeout or cancellation.

Only plain values cross the border, so an exception that cannot be pickled cannot harm the worker.
"""

from __future__ import annotations

import importlib
import inspect
import traceback
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from _taskqueue.domain.errors import Cancel, Discard, PayloadMismatch, Retry
from _taskqueue.domain.task import Failure, message_of
from _taskqueue.tasks.binding import encode_json
from _taskqueue.tasks.discovery import AnyTask
from _taskqueue.tasks.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How the call ended, in values that pickle."""

    kind: Literal["ok", "retry", "discard", "cancel", "payload", "error"]
    result: bytes | None = None
    failure: Failure | None = None
    after: float | str | None = None
    count: bool = True


class ChildError(Exception):
    """An error that was raised in the child, of a type that only the child may know."""


def run_in_child(module: str, name: str, payload: bytes, is_text: bool) -> ChildEnd:
    """Import the handler, call it, say how it ended. Runs in the child."""
    try:
        spec = _find(module, name)
        result: Any = spec.function(**spec.signature.bind(payload, is_text))
        if inspect.isawaitable(result):
            result = anyio.run(_await, result)
        return ChildEnd("ok", None if result is None else encode_json(result))
    except Retry as error:
        return ChildEnd("retry", failure=_failure(error), after=error.after, count=error.count)
    except Discard as error:
        return ChildEnd("discard", failure=_failure(error))
    except Cancel as error:
        return ChildEnd("cancel", failure=_failure(error))
    except PayloadMismatch as error:
        return ChildEnd("payload", failure=_failure(error))
    except BaseException as error:  # noqa: BLE001 - whatever the handler raises
        return ChildEnd("error", failure=_failure(error))


def unpack(end: ChildEnd) -> bytes | None:
    """The result's JSON, or the error raised anew with what the child knew of it. Runs in the worker."""
    if end.failure is None:
        return end.result
    error = _error_of(end, end.failure.message)
    error.failure_in_child = end.failure  # type: ignore[attr-defined]
    raise error


def _error_of(end: ChildEnd, message: str) -> Exception:
    match end.kind:
        case "retry":
            return Retry(message, end.after, end.count)
        case "discard":
            return Discard(message)
        case "cancel":
            return Cancel(message)
        case "payload":
            return PayloadMismatch(message)
    return ChildError(message)


def _find(module: str, name: str) -> AnyTask:
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, TaskSpec) and value.name == name:
            return value
    raise LookupError(f"module {module} has no task {name!r}")


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _failure(error: BaseException) -> Failure:
    return Failure(type(error).__qualname__, message_of(error), "".join(traceback.format_exception(error)))
