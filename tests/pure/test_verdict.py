"""What becomes of a task after an attempt that did not end well."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.errors import Cancel, Discard, PayloadMismatch, Retry
from _taskqueue.domain.task import MAX_ATTEMPTS_DEFAULT, Claim, Ending, Record
from _taskqueue.tasks.discovery import AnyTask
from _taskqueue.tasks.spec import task
from _taskqueue.work.verdict import Judgement, ResultUnfit, judge, max_attempts_of

TEN = Backoff("constant", 10, jitter=False)


def claim_of(attempt: int = 1, **terms: Any) -> Claim:
    return Claim(b"task1", Record("f", True, **terms), 0, attempt)


def spec_of(**policy: Any) -> AnyTask:
    async def f(a: str) -> None: ...

    spec: AnyTask = task(**policy)(f)
    return spec


@pytest.mark.parametrize(
    ("error", "timed_out", "attempt", "expected"),
    [
        (ValueError(), False, 1, Judgement("retry", Ending.ERROR, 10)),
        (ValueError(), False, 2, Judgement("retry", Ending.ERROR, 10)),
        (ValueError(), False, 3, Judgement("dead", Ending.ERROR, reason="attempts")),
        (ValueError(), False, 4, Judgement("dead", Ending.ERROR, reason="attempts")),
        (TimeoutError(), True, 1, Judgement("retry", Ending.TIMEOUT, 10)),
        (TimeoutError(), True, 3, Judgement("dead", Ending.TIMEOUT, reason="attempts")),
        (TimeoutError(), False, 1, Judgement("retry", Ending.ERROR, 10)),
        (SystemExit(1), False, 1, Judgement("retry", Ending.ERROR, 10)),
        (KeyError(), False, 1, Judgement("dead", Ending.ERROR, reason="not_retryable")),
        (KeyError(), False, 3, Judgement("dead", Ending.ERROR, reason="attempts")),
        (Cancel(), False, 1, Judgement("cancel", Ending.CANCELLED)),
        (Cancel(), False, 3, Judgement("cancel", Ending.CANCELLED)),
        (Discard(), False, 1, Judgement("dead", Ending.ERROR, reason="discarded")),
        (ExceptionGroup("g", [Discard(), Cancel()]), False, 1, Judgement("dead", Ending.ERROR, reason="discarded")),
        (ExceptionGroup("g", [Cancel(), Cancel()]), False, 1, Judgement("cancel", Ending.CANCELLED)),
        (ExceptionGroup("g", [Cancel(), ValueError()]), False, 1, Judgement("retry", Ending.ERROR, 10)),
        (PayloadMismatch(), False, 1, Judgement("dead", Ending.ERROR, reason="invalid_payload")),
        (ResultUnfit(), False, 1, Judgement("dead", Ending.ERROR, reason="unfit_result")),
        (Retry(), False, 1, Judgement("retry", Ending.ERROR, 10)),
        (Retry(after=3), False, 2, Judgement("retry", Ending.ERROR, 3)),
        (Retry(after="5m"), False, 1, Judgement("retry", Ending.ERROR, 300)),
        (Retry(after=0), False, 1, Judgement("retry", Ending.ERROR, 0)),
        (Retry(after=3), False, 3, Judgement("dead", Ending.ERROR, reason="attempts")),
        (Retry(count=False), False, 1, Judgement("snooze", Ending.SNOOZED, 10)),
        (Retry(after=3, count=False), False, 3, Judgement("snooze", Ending.SNOOZED, 3)),
    ],
)
def test_the_table(error: BaseException, timed_out: bool, attempt: int, expected: Judgement) -> None:
    spec = spec_of(backoff=TEN, max_attempts=3, no_retry_on=(KeyError,))

    assert judge(error, timed_out, claim_of(attempt), spec, lambda: 0.5) == expected


def test_a_retry_asked_for_is_granted_whatever_the_policy_says_of_errors() -> None:
    assert judge(Retry(after=1), False, claim_of(), spec_of(retry_on=(OSError,)), lambda: 0.5).verb == "retry"


def test_a_timeout_is_retried_even_when_only_other_errors_are() -> None:
    assert judge(TimeoutError(), True, claim_of(), spec_of(retry_on=(OSError,)), lambda: 0.5).verb == "retry"


def test_the_back_off_of_the_submission_beats_that_of_the_task() -> None:
    spec = spec_of(backoff=TEN)

    assert judge(ValueError(), False, claim_of(backoff=Backoff("constant", 4, jitter=False)), spec, lambda: 0.5).delay_s == 4
    assert judge(ValueError(), False, claim_of(), spec, lambda: 0.5).delay_s == 10
    assert judge(ValueError(), False, claim_of(3), spec_of(), lambda: 0.5).delay_s == 2


def test_the_limit_of_the_submission_beats_that_of_the_task() -> None:
    assert max_attempts_of(claim_of(max_attempts=7), spec_of(max_attempts=3)) == 7
    assert max_attempts_of(claim_of(), spec_of(max_attempts=3)) == 3
    assert max_attempts_of(claim_of(), spec_of()) == MAX_ATTEMPTS_DEFAULT


def test_an_after_that_is_no_duration_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        judge(Retry(after="soon"), False, claim_of(), spec_of(), lambda: 0.5)
