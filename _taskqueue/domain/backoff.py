"""When to try again: exponential back-off with full jitter.

Full jitter spreads a crowd of failed tasks over the whole interval, which empties a struggling service fastest
(Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400 * 30)]


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long to wait before the next attempt. All times in seconds."""

    type: Literal["exponential", "constant"] = "exponential"
    base: Seconds = 1.0
    factor: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0
    max: Seconds = 3_600.0
    jitter: bool = True


DEFAULT_BACKOFF = Backoff()
_EXPONENT_MAX = 64


def delay_s(policy: Backoff, attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait after the failed attempt number ``attempt`` (1, 2, …).

    Args:
        random: gives a float in [0, 1); called once, and only when the policy has jitter.
    """
    growth = 1.0 if policy.type == "constant" else policy.factor ** min(attempt - 1, _EXPONENT_MAX)
    ceiling = min(policy.max, policy.base * growth)
    return ceiling * random() if policy.jitter else ceiling
