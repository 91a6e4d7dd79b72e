"""The store's clock between its answers: whatever this machine's own clock says."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from _taskqueue.store.clock import TRUSTED_S, StoreClock

STORE_MS = 1_700_000_000_000
WRONG_S = 2_000_000_000.0


@dataclass
class Times:
    """A monotonic clock that a test moves, and a wall clock that is wrong."""

    passed_s: float = 100.0
    clock: StoreClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = StoreClock(lambda: self.passed_s, lambda: WRONG_S)


@pytest.fixture
def times() -> Times:
    return Times()


def test_before_the_first_answer_this_machines_own_clock_stands_in(times: Times) -> None:
    assert times.clock.now_ms() == WRONG_S * 1000


def test_after_it_the_store_is_believed_and_time_goes_on(times: Times) -> None:
    times.clock.note(STORE_MS)
    times.passed_s += 1.5

    assert times.clock.now_ms() == STORE_MS + 1_500


def test_an_answer_that_took_long_does_not_turn_the_clock_back(times: Times) -> None:
    times.clock.note(STORE_MS)
    times.passed_s += 5
    times.clock.note(STORE_MS + 1_000)  # given four seconds before it came

    assert times.clock.now_ms() == STORE_MS + 5_000


def test_a_prompter_answer_is_believed_at_once(times: Times) -> None:
    times.clock.note(STORE_MS - 4_000)
    times.clock.note(STORE_MS)

    assert times.clock.now_ms() == STORE_MS


def test_a_clock_that_was_set_back_is_followed_in_the_end(times: Times) -> None:
    times.clock.note(STORE_MS)
    times.passed_s += TRUSTED_S + 1
    times.clock.note(STORE_MS - 3_600_000)

    assert times.clock.now_ms() == STORE_MS - 3_600_000
