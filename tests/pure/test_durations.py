"""Durations and sizes as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _taskqueue.domain.durations import DURATION_MAX_S, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0), ("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1d", 86_400.0), ("1w", 604_800.0), ("250ms", 0.25),
        ("1.5h", 5400.0), (" 10 S ", 10.0), ("0", 0.0), (7, 7.0), (0.5, 0.5),
    ],
)  # fmt: skip
def test_a_duration_reads_as_seconds(text: float | str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "s",
        "-1",
        "-1s",
        "5 minutes",
        "1h30m",
        "1e3",
        "٣s",
        "inf",
        "nan",
        -1,
        math.inf,
        math.nan,
        "11000d",
        pytest.param(10**400, id="huge"),
    ],
)
def test_what_is_no_duration_is_a_value_error(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"duration|ten years"):
        parse_duration(value)


def test_ten_years_are_allowed_and_not_a_second_more() -> None:
    assert parse_duration(DURATION_MAX_S) == DURATION_MAX_S
    with pytest.raises(ValueError, match="ten years"):
        parse_duration(DURATION_MAX_S + 1)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= DURATION_MAX_S


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65_536), ("64KiB", 65_536), ("1m", 1 << 20), ("1MiB", 1 << 20), ("2 g", 2 << 30), ("7b", 7)]
)
def test_a_size_reads_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5m", "1tb", "1 kb"])
def test_what_is_no_size_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)
