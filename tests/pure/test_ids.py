"""Task ids: sortable, unique, and they name their queue."""

from __future__ import annotations

import os
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _taskqueue.domain.ids import AHEAD_MAX_MS, ALPHABET, PREFIX, ROUTES_MAX, IdMint, created_ms_of, route_of

NOW_MS = 1_800_000_000_000


@given(st.integers(0, ROUTES_MAX - 1), st.integers(1, (1 << 48) - 1))
def test_the_route_survives_the_trip_through_an_id(route: int, now_ms: int) -> None:
    task_id = IdMint(lambda: now_ms, os.urandom).mint(route)

    assert route_of(task_id) == route


@given(st.integers(0, ROUTES_MAX - 1))
def test_an_id_has_the_promised_shape(route: int) -> None:
    task_id = IdMint(lambda: NOW_MS, os.urandom).mint(route)

    assert re.fullmatch(f"{PREFIX}[{ALPHABET}]{{26}}", task_id)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=200), st.integers(0, ROUTES_MAX - 1))
def test_ids_of_a_queue_sort_by_time_and_are_unique(steps: list[int], route: int) -> None:
    now = [NOW_MS]
    mint = IdMint(lambda: now[0], os.urandom)
    minted = []

    for step in steps:
        now[0] += step
        minted.append(mint.mint(route))

    assert minted == sorted(minted)
    assert len(set(minted)) == len(minted)


def test_ids_follow_a_clock_that_was_wrong_and_was_put_right() -> None:
    now = [NOW_MS]
    mint = IdMint(lambda: now[0], os.urandom)
    before = mint.mint(1)

    now[0] += 10 * 365 * 24 * 3600 * 1000
    wrong = mint.mint(1)
    now[0] = NOW_MS + 5
    right = mint.mint(1)

    assert [created_ms_of(one) for one in (before, wrong, right)] == [NOW_MS, NOW_MS + 10 * 365 * 24 * 3600 * 1000, NOW_MS + 5]
    assert before < right < wrong


@pytest.mark.parametrize(("back_ms", "told_ms"), [(AHEAD_MAX_MS, NOW_MS), (AHEAD_MAX_MS + 1, NOW_MS - AHEAD_MAX_MS - 1)])
def test_ids_run_ahead_of_their_clock_for_so_long_and_no_longer(back_ms: int, told_ms: int) -> None:
    now = [NOW_MS]
    mint = IdMint(lambda: now[0], os.urandom)
    mint.mint(1)

    now[0] -= back_ms

    assert created_ms_of(mint.mint(1)) == told_ms


@given(st.lists(st.integers(-600, 600), min_size=2, max_size=100))
def test_ids_grow_even_when_the_clock_steps_back(steps: list[int]) -> None:
    now = [NOW_MS]
    mint = IdMint(lambda: now[0], os.urandom)
    minted = []

    for step in steps:
        now[0] += step
        minted.append(mint.mint(1))

    assert all(earlier < later for earlier, later in pairwise(minted))


def test_ids_grow_within_one_millisecond_whatever_the_entropy() -> None:
    for byte in (b"\x00", b"\xff"):
        mint = IdMint(lambda: NOW_MS, lambda count, byte=byte: byte * count)  # type: ignore[misc]

        minted = [mint.mint(3) for _ in range(5_000)]

        assert all(earlier < later for earlier, later in pairwise(minted))
        assert {route_of(task_id) for task_id in minted} == {3}


def test_an_id_of_a_later_millisecond_is_larger_for_any_two_routes() -> None:
    now = [NOW_MS]
    mint = IdMint(lambda: now[0], os.urandom)

    early = mint.mint(ROUTES_MAX - 1)
    now[0] += 1
    late = mint.mint(0)

    assert early < late


def test_many_mints_never_agree() -> None:
    mints = [IdMint(lambda: NOW_MS, os.urandom) for _ in range(50)]

    minted = {mint.mint(1) for mint in mints for _ in range(200)}

    assert len(minted) == 10_000


@given(st.text(max_size=40))
def test_garbage_has_no_route(text: str) -> None:
    if not re.fullmatch(f"{PREFIX}[0-7][{ALPHABET}]{{25}}", text):
        assert route_of(text) is None


@pytest.mark.parametrize(
    "spoil",
    [str.lower, lambda one: one[:-1], lambda one: one + "0", lambda one: one + "\n", lambda one: one[:-1] + "U",
     lambda one: one.replace(PREFIX, "job_"), lambda one: PREFIX + "8" + one[5:]],
)  # fmt: skip
def test_a_spoilt_id_has_no_route(spoil: object) -> None:
    task_id = IdMint(lambda: NOW_MS, os.urandom).mint(1)
    assert callable(spoil)

    assert route_of(spoil(task_id)) is None


@pytest.mark.parametrize("ms", [1, 1_800_000_000_500, 2**48 - 1])
def test_an_id_tells_when_it_was_made(ms: int) -> None:
    assert created_ms_of(IdMint(lambda: ms, os.urandom).mint(65_535)) == ms


def test_what_is_no_id_was_never_made() -> None:
    assert created_ms_of("task1") == 0


def test_many_ids_of_one_moment_are_as_those_made_one_by_one() -> None:
    mint = IdMint(lambda: NOW_MS, os.urandom)

    made = [mint.mint(7), *mint.mint_many(7, 2_000), *mint.mint_many(7, 1), mint.mint(7)]

    assert made == sorted(set(made))
    assert {(route_of(one), created_ms_of(one)) for one in made} == {(7, NOW_MS)}
    assert len(made) == 2_003
