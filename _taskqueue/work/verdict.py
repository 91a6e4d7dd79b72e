"""What becomes of a task after an attempt that did not end well: pure, decided in one match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from _taskqueue.domain.backoff import DEFAULT_BACKOFF, Backoff, delay_s
from _taskqueue.domain.durations import parse_duration
from _taskqueue.domain.errors import Cancel, Discard, PayloadMismatch, Retry, signal_of
from _taskqueue.domain.task import MAX_ATTEMPTS_DEFAULT, Claim, Ending
from _taskqueue.tasks.discovery import AnyTask


@dataclass(frozen=True, slots=True)
class Judgement:
    """A settlement in the making."""

    verb: str
    """retry, dead, cancel, snooze or misfit, as the script calls it"""
    ending: Ending
    delay_s: float = 0.0
    reason: str = ""


MISFIT = Judgement("misfit", Ending.RELEASED)
"""A payload that another live worker may fit: it is held until one with another signature takes it."""


ASK_AGAIN = Judgement("snooze", Ending.SNOOZED, 5.0)
"""A payload that does not fit here, while nobody could say whether it fits elsewhere."""


class ResultUnfit(Exception):
    """The handler's result cannot be kept: no JSON form, or too large."""


class WorkerLacks(Exception):
    """The worker has no thread, process or descriptor left to run the handler with, which is none of the task's fault."""


def max_attempts_of(claim: Claim, spec: AnyTask) -> int:
    """The submission's own limit, else the handler's, else the default."""
    return claim.record.max_attempts or spec.max_attempts or MAX_ATTEMPTS_DEFAULT


def judge(  # noqa: PLR0911 - one line for each case of the match
    error: BaseException, timed_out: bool, claim: Claim, spec: AnyTask, random: Callable[[], float]
) -> Judgement:
    """Decide what happens to a task whose attempt ended with this error."""
    error = signal_of(error)
    ending = Ending.TIMEOUT if timed_out else Ending.ERROR
    used_up = claim.attempt >= max_attempts_of(claim, spec)
    policy: Backoff = claim.record.backoff or spec.backoff or DEFAULT_BACKOFF
    match error:
        case Cancel():
            return Judgement("cancel", Ending.CANCELLED)
        case Discard():
            return Judgement("dead", Ending.ERROR, reason="discarded")
        case PayloadMismatch():
            return Judgement("dead", Ending.ERROR, reason="invalid_payload")
        case ResultUnfit():
            return Judgement("dead", Ending.ERROR, reason="unfit_result")
        case Retry(count=False):
            return Judgement("snooze", Ending.SNOOZED, _after(error, policy, claim, random))
        case _ if used_up:
            return Judgement("dead", ending, reason="attempts")
        case Retry():
            return Judgement("retry", ending, _after(error, policy, claim, random))
        case _ if not spec.retries(error):
            return Judgement("dead", ending, reason="not_retryable")
    return Judgement("retry", ending, delay_s(policy, claim.attempt, random))


def judge_plainly(claim: Claim, spec: AnyTask, random: Callable[[], float]) -> Judgement:
    """Decide by the attempts alone, for an error that cannot be looked at."""
    if claim.attempt >= max_attempts_of(claim, spec):
        return Judgement("dead", Ending.ERROR, reason="attempts")
    return Judgement("retry", Ending.ERROR, delay_s(claim.record.backoff or spec.backoff or DEFAULT_BACKOFF, claim.attempt, random))


def _after(error: Retry, policy: Backoff, claim: Claim, random: Callable[[], float]) -> float:
    if error.after is None:
        return delay_s(policy, claim.attempt, random)
    return parse_duration(error.after)
