"""Durations and sizes as people write them: ``30``, ``"250ms"``, ``"5m"``, ``"1MiB"``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal
from numbers import Real

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_UNIT_BYTES = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2, "g": 1024**3, "gib": 1024**3}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})\s*([a-z]{0,3})", re.ASCII)

DURATION_MAX_S = 10 * 365 * 86_400.0


def parse_duration(value: float | str) -> float:
    """Seconds from a number of seconds or a text such as ``"30s"``, ``"5m"``, ``"2h"``, ``"1d"``, ``"250ms"``.

    Raises:
        ValueError: not a duration, negative, not finite, or longer than ten years. The text says which.
    """
    try:
        seconds = _duration_text(value) if isinstance(value, str) else float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is not a duration of zero or more seconds")
    if seconds > DURATION_MAX_S:
        raise ValueError(f"{value!r} is longer than ten years")
    return seconds


def duration_s(value: object) -> float:
    """Seconds from what people's code gives as a duration: a number, a text as above, or a timedelta.

    Raises:
        TypeError: no such thing.
        ValueError: negative, not finite, longer than ten years, or a text that is no duration.
    """
    if isinstance(value, timedelta):
        return parse_duration(value.total_seconds())
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        raise TypeError(f'a value of type {type(value).__name__} is no duration; give seconds, a text such as "5m", or a timedelta')
    try:
        return parse_duration(float(value))
    except OverflowError:
        return parse_duration(math.inf)


def _duration_text(text: str) -> float:
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f'{text!r} is not a duration; write seconds or a text such as "30s", "5m", "2h", "1d"')
    return float(found[1]) * _UNIT_S[found[2] or "s"]


def parse_size(text: str) -> int:
    """Bytes from a text such as ``"65536"``, ``"64KiB"`` or ``"1m"``.

    Raises:
        ValueError: not a size.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNIT_BYTES:
        raise ValueError(f'{text!r} is not a size; write bytes or a text such as "64KiB", "1MiB"')
    return int(found[1]) * _UNIT_BYTES[found[2]]
