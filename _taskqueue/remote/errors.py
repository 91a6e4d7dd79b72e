"""What can go wrong for a client; nothing of the HTTP library under it is ever raised.

TaskqueueError
├── ClientError
│   ├── Unreachable        no answer: refused, cut off, or too late
│   ├── BadAnswer          an answer that is none of this API's, such as a proxy's page
│   └── ApiError           the server said no; has status, code, detail and the whole problem document
│       ├── Invalid            400, 422: the request is wrong; ``errors`` names each field
│       ├── Unauthorized       401
│       ├── Forbidden          403
│       ├── NotFound           404
│       ├── Conflict           409
│       │   ├── InvalidState       the task or operation is in a state that does not admit it
│       │   ├── Duplicate          another task holds the unique key
│       │   └── CountChanged       the filter means another number of tasks than expected
│       ├── PayloadTooLarge    413
│       ├── Limited            429
│       │   ├── QueueFull          the queue has as many tasks as it may
│       │   └── RateLimited        too many requests
│       └── Unavailable        502, 503, 504: not now
├── TaskFailed             the task ended without a result
├── ResultNotReady         the task has not ended yet
└── NotAllAccepted         some tasks of a buffer were refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _taskqueue.domain.errors import TaskqueueError


class ClientError(TaskqueueError):
    """A call that did not end with the answer that was asked for."""


class Unreachable(ClientError):
    """The server gave no answer.

    Args:
        sent: the request may have arrived, so what it does may have been done.
    """

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class BadAnswer(ClientError):
    """What answered does not speak this API."""


class ApiError(ClientError):
    """The server refused, or could not.

    Args:
        code: stable, for programs.
        problem: the problem document (RFC 9457) as it came.
        retry_after_s: when the server says it is worth another try.
    """

    def __init__(
        self, status: int, code: str, detail: str, problem: Mapping[str, Any] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.problem = dict(problem or {})
        self.retry_after_s = retry_after_s


class Invalid(ApiError):
    """The request is wrong; sending it again cannot help."""

    @property
    def errors(self) -> list[dict[str, str]]:
        """Each wrong field: pointer, code, detail."""
        return list(self.problem.get("errors", []))


class Unauthorized(ApiError):
    """A token is missing or not known."""


class Forbidden(ApiError):
    """The token may not do this."""


class NotFound(ApiError):
    """There is no such thing, or no longer."""


class Conflict(ApiError):
    """Things are not as the request supposes."""


class InvalidState(Conflict):
    """The state of the task or operation does not admit it."""

    @property
    def state(self) -> str:
        """The state it is in."""
        return str(self.problem.get("state", ""))


class Duplicate(Conflict):
    """Another task holds the unique key."""

    @property
    def task_id(self) -> str:
        """The task that holds it."""
        return str(self.problem.get("task_id", ""))


class CountChanged(Conflict):
    """The filter means another number of tasks than was expected."""

    @property
    def matched(self) -> int:
        """How many it means now."""
        return int(self.problem.get("matched", 0))


class PayloadTooLarge(ApiError):
    """Payload or request are over the server's limit."""


class Limited(ApiError):
    """Too much at present; nothing was done."""


class QueueFull(Limited):
    """The queue has as many waiting tasks as it may."""


class RateLimited(Limited):
    """Too many requests."""


class Unavailable(ApiError):
    """The server or its store cannot do it now."""


class TaskFailed(TaskqueueError):
    """The task ended without a result.

    Args:
        state: dead, cancelled or expired.
        error: type, message and fingerprint of what went wrong last; empty when nothing did.
    """

    def __init__(self, task_id: str, state: str, error: Mapping[str, Any] | None = None) -> None:
        self.task_id = task_id
        self.state = state
        self.error = dict(error or {})
        why = f": {self.error.get('type')}: {self.error.get('message')}" if self.error else ""
        super().__init__(f"the task {task_id} is {state}{why}")


class ResultNotReady(TaskqueueError):
    """The task has not ended yet."""

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"the task {task_id} is {state} and has no result yet")
        self.task_id = task_id
        self.state = state


class NotAllAccepted(TaskqueueError):
    """Some tasks of a buffer were refused.

    Args:
        failed: position in the buffer and the error, for each.
    """

    def __init__(self, total: int, failed: Sequence[tuple[int, ClientError]]) -> None:
        super().__init__(f"{len(failed)} of {total} tasks were not accepted; the first because: {failed[0][1]}")
        self.failed = list(failed)


_BY_CODE: Mapping[str, type[ApiError]] = {
    "invalid_state": InvalidState,
    "duplicate_task": Duplicate,
    "count_changed": CountChanged,
    "payload_too_large": PayloadTooLarge,
    "queue_full": QueueFull,
    "rate_limited": RateLimited,
}
_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    422: Invalid,
    429: Limited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def api_error(status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> ApiError:
    """The error that a problem document describes, the kind by its code and else by its status."""
    code = str(problem.get("code", "error"))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, ApiError)
    return kind(status, code, str(problem.get("detail", "") or f"status {status}"), problem, retry_after_s)


for _public in [value for value in globals().values() if isinstance(value, type) and issubclass(value, TaskqueueError)]:
    _public.__module__ = "taskqueue"  # tracebacks show the name that users import
