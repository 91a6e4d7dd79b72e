"""The state machine's table makes sense."""

from __future__ import annotations

from _taskqueue.domain.states import GONE, NEW, TERMINAL, TRANSITIONS, WAITING, State

MOVES = {move for moves in TRANSITIONS.values() for move in moves}


def test_every_end_of_a_move_is_a_state() -> None:
    states = {state.value for state in State}

    assert {start for start, _ in MOVES} <= states | {NEW}
    assert {end for _, end in MOVES} <= states | {GONE}


def test_a_terminal_state_is_left_only_by_a_retry_or_to_be_forgotten() -> None:
    assert {end for start, end in MOVES if start in TERMINAL} == {GONE, "pending"}
    assert {verb for verb, moves in TRANSITIONS.items() for start, end in moves if start in TERMINAL and end != GONE} == {"retry"}


def test_what_succeeded_is_never_run_again() -> None:
    assert {end for start, end in MOVES if start == "succeeded"} == {GONE}


def test_a_running_task_is_never_forgotten() -> None:
    assert not any(start == "running" for start, end in MOVES if end == GONE)


def test_only_prune_and_remove_forget_and_only_submit_creates() -> None:
    assert {verb for verb, moves in TRANSITIONS.items() if any(end == GONE for _, end in moves)} == {"prune", "remove"}
    assert {verb for verb, moves in TRANSITIONS.items() if any(start == NEW for start, _ in moves)} == {"submit"}


def test_a_task_runs_only_from_pending_and_only_by_a_claim() -> None:
    into_running = {(verb, start) for verb, moves in TRANSITIONS.items() for start, end in moves if end == "running"}

    assert into_running == {("settle_and_claim", "pending")}


def test_no_move_stays_where_it_is() -> None:
    assert all(start != end for start, end in MOVES)


def test_every_state_is_waiting_running_or_terminal() -> None:
    assert WAITING | TERMINAL | {State.RUNNING} == set(State)
    assert not WAITING & TERMINAL


def test_every_state_but_blocked_can_be_reached_and_left() -> None:
    assert set(State) - {end for _, end in MOVES} == {State.BLOCKED}
    assert set(State) - {start for start, _ in MOVES} == {State.BLOCKED}


def test_nothing_runs_forever_and_nothing_succeeds_without_running() -> None:
    assert {end for start, end in MOVES if start == "running"} >= {"succeeded", "dead", "cancelled", "retrying", "pending"}
    assert {start for start, end in MOVES if end == "succeeded"} == {"running"}


def test_every_state_can_end() -> None:
    reach = {NEW}
    while more := {end for start, end in MOVES if start in reach} - reach:
        reach |= more

    assert GONE in reach
    for state in set(State) - {State.BLOCKED}:
        ends = {state.value}
        while more := {end for start, end in MOVES if start in ends} - ends:
            ends |= more
        assert GONE in ends
