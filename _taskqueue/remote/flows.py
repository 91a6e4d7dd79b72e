"""Calls without a transport: each is a generator that yields what to send and is given the answer.

    Flow[T]  yields Request | Pause,  gets Reply | nothing,  returns T

So what a call does (send, wait, send again, read) is written once, and both clients only carry it out: one blocking, one
awaiting. A test carries it out by hand.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Container, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from _taskqueue.domain.backoff import Backoff, delay_s
from _taskqueue.remote.errors import ApiError, BadAnswer, ClientError, Unreachable, api_error

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

BACKOFF = Backoff(base=0.1, factor=2, max=5)
"""Between two tries, with full jitter."""
TRANSIENT = frozenset({429, 502, 503, 504})
ERRORS_FROM = 300
"""Redirects too: what moved is to be configured, not followed with a token in hand."""
TEXT_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What to send."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    """sending it twice does no harm"""
    hold_s: float = 0.0
    """the server was asked to hold its answer back for so long"""
    admits: tuple[int, ...] = ()
    """statuses that are an answer here though they are none of success"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


Flow = Generator[Request | Pause, Any, T]
"""A Request is answered with its Reply, or by a ClientError being thrown in; a Pause with nothing."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try, and by which clock.

    Args:
        retry_for_s: no further try starts later than so many seconds after the first that failed.
        clock: seconds, only growing.
        random: a float in [0, 1).
    """

    retry_for_s: float
    clock: Callable[[], float]
    random: Callable[[], float]

    def until(self, timeout_s: float | None) -> float:
        """When this time is over; None never is."""
        return math.inf if timeout_s is None else self.clock() + timeout_s


class Tries:
    """The tries of one request.

    Args:
        repeatable: sending it twice does no harm.
    """

    def __init__(self, patience: Patience, *, repeatable: bool) -> None:
        self._patience, self._repeatable = patience, repeatable
        self._failures, self._until = 0, math.inf

    def pause_s(self, error: ClientError) -> float:
        """Seconds until the next try, after this error. Raises the error when there is to be none."""
        if not may_pass(error, repeatable=self._repeatable):
            raise error
        now, self._failures = self._patience.clock(), self._failures + 1
        if self._failures == 1:
            self._until = now + self._patience.retry_for_s
        asked_s = error.retry_after_s if isinstance(error, ApiError) else None
        pause_s = (asked_s or 0.0) + delay_s(BACKOFF, self._failures, self._patience.random)
        if now + pause_s > self._until:
            raise error
        return pause_s


def may_pass(error: ClientError, *, repeatable: bool) -> bool:
    """Whether another try is safe and could end better."""
    if isinstance(error, Unreachable):
        return repeatable or not error.sent
    return repeatable and isinstance(error, ApiError) and error.status in TRANSIENT


def exchange(patience: Patience, request: Request) -> Flow[Reply]:
    """Send until there is an answer, or an error that another try cannot mend. Raises ClientError."""
    tries = Tries(patience, repeatable=request.repeatable)
    while True:
        try:
            reply: Reply = yield request
            check(reply, request.admits)
        except ClientError as error:
            pause_s = tries.pause_s(error)
        else:
            return reply
        yield Pause(pause_s)


def check(reply: Reply, admits: Container[int] = ()) -> None:
    """Raises ApiError when the answer is one."""
    if reply.status < ERRORS_FROM:
        return
    kind = reply.headers.get("content-type", "")
    if kind.startswith("application/problem+json"):
        raise api_error(reply.status, decode(reply.body, dict[str, Any]), retry_after_s(reply))
    if reply.status not in admits or not kind.startswith("application/json"):
        raise _foreign(reply)


def _foreign(reply: Reply) -> ApiError:
    """Something in between answered, such as a proxy."""
    where = reply.headers.get("location", "")
    detail = f"leads to {where}" if where else reply.body[: TEXT_CHARS_MAX * 4].decode(errors="replace")[:TEXT_CHARS_MAX].strip()
    return api_error(reply.status, {"code": "error", "detail": detail}, retry_after_s(reply))


def retry_after_s(reply: Reply) -> float | None:
    """Seconds from the header Retry-After, when it has them as a number."""
    text = reply.headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def decode(body: bytes, kind: type[T]) -> T:
    """A body of this type. Raises BadAnswer."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        start = body[:TEXT_CHARS_MAX].decode(errors="replace")
        raise BadAnswer(f"this is no answer of a task queue: {error}; it begins with {start!r}") from None


def convert(value: Any, kind: type[T]) -> T:
    """JSON values as this type. Raises BadAnswer."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadAnswer(f"this is no answer of a task queue: {error}") from None


def described(method: Method, call: Callable[..., Any]) -> Method:
    """The method with the words of the call that it carries out; what is Flow[T] there is T here."""
    functools.update_wrapper(method, call)
    signature = inspect.signature(call)
    returns = str(signature.return_annotation).removeprefix("Flow[").removesuffix("]")
    method.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    return method
