"""Exponential back-off with full jitter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _taskqueue.domain.backoff import DEFAULT_BACKOFF, Backoff, delay_s


def never() -> float:
    """A random source that must not be asked."""
    raise AssertionError("asked for randomness")


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (12, 2048), (13, 3600), (1000, 3600)])
def test_without_jitter_the_delay_doubles_up_to_its_maximum(attempt: int, seconds: float) -> None:
    assert delay_s(Backoff(jitter=False), attempt, never) == seconds


@pytest.mark.parametrize("attempt", [1, 2, 50])
def test_a_constant_delay_stays(attempt: int) -> None:
    assert delay_s(Backoff(type="constant", base=7, jitter=False), attempt, never) == 7


def test_jitter_spreads_over_the_whole_interval_and_asks_once() -> None:
    asked = []

    def half() -> float:
        asked.append(1)
        return 0.5

    delay = delay_s(Backoff(base=10), 2, half)

    assert delay == 10
    assert len(asked) == 1


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0, 2_592_000),
    factor=st.floats(1, 100),
    most=st.floats(0, 2_592_000),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_no_delay_is_negative_or_above_the_maximum(attempt: int, base: float, factor: float, most: float, chance: float) -> None:
    delay = delay_s(Backoff(base=base, factor=factor, max=most), attempt, lambda: chance)

    assert 0 <= delay <= most


@pytest.mark.parametrize(
    "fields", [{"type": "linear"}, {"base": -1}, {"factor": 0.5}, {"factor": 101}, {"max": 3_000_000}, {"jitter": "yes"}, {"bse": 1}]
)
def test_a_bad_policy_does_not_convert(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Backoff)


def test_the_default_is_one_second_to_one_hour_with_jitter() -> None:
    assert Backoff("exponential", 1.0, 2.0, 3_600.0, True) == DEFAULT_BACKOFF
