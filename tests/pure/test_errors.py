"""What handlers raise to steer their own task."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from _taskqueue.domain.errors import Cancel, Discard, Retry, signal_of


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (None, None), (0, 0), (3, 3), (2.5, 2.5), ("5m", 300), ("30", 30), (timedelta(minutes=5), 300), (timedelta(0), 0),
        (Decimal("1.5"), 1.5), (Fraction(1, 2), 0.5),
    ],
)  # fmt: skip
def test_a_retry_takes_every_kind_of_duration(after: Any, seconds: float | None) -> None:
    assert Retry("later", after=after).after == seconds


@pytest.mark.parametrize(
    ("after", "error"),
    [
        ("soon", ValueError), (-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), (10**400, ValueError),
        (timedelta(days=-1), ValueError), (timedelta.max, ValueError), (True, TypeError), ([], TypeError), (object(), TypeError),
        ({"seconds": 5}, TypeError), (1j, TypeError), (Decimal("NaN"), ValueError),
    ],
)  # fmt: skip
def test_an_after_that_is_no_duration_is_refused_and_the_message_is_not_lost(after: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^Retry\('rate limited'\): after: "):
        Retry("rate limited", after=after)


def test_a_retry_that_forgets_to_call_its_base_has_the_defaults() -> None:
    class Later(Retry):
        def __init__(self) -> None: ...

    assert (Later().after, Later().count) == (None, True)


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("of a task group", errors)


def test_a_group_of_nothing_but_discard_and_cancel_is_one_of_them() -> None:
    discard, cancel, other = Discard("d"), Cancel("c"), ValueError()

    assert signal_of(discard) is discard
    assert signal_of(other) is other
    assert signal_of(group(cancel)) is cancel
    assert signal_of(group(cancel, Cancel())) is cancel
    assert signal_of(group(cancel, discard)) is discard
    assert signal_of(group(group(discard), group(cancel, group(cancel)))) is discard
    for mixed in (group(discard, other), group(group(cancel), group(other)), group(Retry(), discard), group(KeyboardInterrupt(), cancel)):
        assert signal_of(mixed) is mixed
