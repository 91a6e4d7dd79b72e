"""The machine that does the same to the store and to the model, and looks whether they still agree.

Rules pick what they act on by a number (``nth``) among what there is, newest first, so that a failure shrinks to few
tasks. Every call may be sent twice, at once or (``resend``) after others came between.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.states import TERMINAL, State
from _taskqueue.upkeep.operator import SOURCES
from tests.keyspace import check_queue
from tests.model.bench import Bench
from tests.model.queue import LEASE_MS, Queue
from tests.model.values import WAITING, Claim, Report, Wish
from tests.model.view import differences, rest_of_model, rest_of_store, tasks_of_model, tasks_of_store

START_MS = 1_700_000_000_000
LEASES_MAX = 3
PAST = 10
"""Calls and claims that are remembered, to come again late."""

MOSTLY = 53
"""Numbers beyond this one pick what does not fit."""

T = TypeVar("T")

nths = st.integers(0, 63)
some = st.lists(nths, min_size=1, max_size=3, unique=True)
rarely = st.sampled_from([False, False, False, True])
priorities = st.sampled_from([5, 5, 5, 0, 4, 6, 9])
delays = st.sampled_from([0, 0, 0, 1, 1_000, 10_000, 100_000])
ages = st.sampled_from([0, 1_000, LEASE_MS, 10**8, 10**8])
moments = st.sampled_from([-1, 0, 1, 10_000])
lives = st.none() | st.sampled_from([1, 1_000, 20_000, 100_000])
tags = st.sampled_from([(), (), ("red",), ("red", "blue")])
steps = st.sampled_from([1, 10, 1_000, 5_000, 10_000, 20_000, LEASE_MS, 60_000, 600_000])
VERBS = ["start", "start_alone", "retry", "dead", "cancel", "snooze", "release", "hold", "log", "progress", "save"]
verbs = st.sampled_from([*["succeed"] * 4, "retry", "dead", *VERBS])
CHANGES = [{"paused": ""}, {"paused": ""}, {"max_length": ""}, {"max_length": "3"}, {"max_length": "8"}, {"paused": "1"}]
RICH: dict[str, Any] = {"priority": 9, "batch": "a", "retain": 1_000, "tags": ("red",)}
UNIQUE: dict[str, Any] = {"key": "k", "expires_in": 100_000}
starts = st.sampled_from(["", "", "start", "start_alone"])
settlements = st.lists(st.tuples(verbs, nths, delays, st.sampled_from(["boom", "bang", ""])), min_size=1, max_size=4)
ages = st.sampled_from([0, 1_000, 60_000, 10**8, 10**8])
terms = st.fixed_dictionaries(
    {"priority": priorities, "delay": delays},
    optional={
        "expires_in": lives,
        "retain": st.sampled_from([0, 1_000, 60_000]),
        "tags": tags,
        "batch": st.sampled_from("ab"),
        "run_at": moments,
    },
)
unique_terms = st.fixed_dictionaries(
    {
        "key": st.sampled_from("kl"),
        "for_a_time": st.booleans(),
        "key_ms": st.sampled_from([1, 1_000, 60_000]),
        "on_conflict": st.sampled_from(["return", "reject", "replace"]),
        "delay": delays,
    },
    optional={"batch": st.sampled_from("ab"), "expires_in": lives},
)


class QueueMachine(RuleBasedStateMachine):
    """One queue, its workers, its users, its scheduler, and time."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench, self.model = bench, Queue(START_MS)
        bench.clear(START_MS)
        entropy = random.Random(0)  # noqa: S311 - the same ids each time
        self.mint = IdMint(lambda: self.model.now, entropy.randbytes)
        self.ids: list[str] = []
        self.leases: list[str] = []
        self.claims: deque[tuple[str, Claim]] = deque(maxlen=PAST)
        self.calls: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=PAST)
        self.agreed = False
        self._new_lease()

    # -- both at once -----------------------------------------------------------------------------------------------

    def do(self, verb: str, *args: Any, again: bool = False) -> Any:
        """Call both; gives what both gave, the first time."""
        first = self._do(verb, args)
        self.calls.append((verb, args))
        if again:
            self._do(verb, args)
        return first

    def _do(self, verb: str, args: tuple[Any, ...]) -> Any:
        self.agreed = False
        meant = getattr(self.model, verb)(*args)
        given = getattr(self.bench, verb)(*args)
        assert given == meant, f"{verb}{args} gives {given!r}, not {meant!r}"
        held = [(task.id, task.claim) for task in self.model.tasks.values() if task.claim]
        self.claims += [one for one in held if one not in self.claims]
        return meant

    @invariant()
    def they_agree(self) -> None:
        """Model and store show the same, and the keyspace is sound."""
        space = self.bench.read()
        check_queue(space)
        for seen, meant in ((tasks_of_store(space), tasks_of_model(self.model)), (rest_of_store(space), rest_of_model(self.model))):
            assert seen == meant, "the store has\n" + differences(seen, meant)
        self.agreed = True

    def teardown(self) -> None:
        if self.agreed:  # else what was found first is what is told
            self.bench.check()

    def _pick(self, things: Sequence[T], nth: int) -> T:
        return things[-1 - nth % len(things)]

    def _tasks(self, chosen: list[int]) -> list[str]:
        """Ids of tasks, some of them forgotten."""
        known = [task_id for task_id in self.ids if task_id in self.model.tasks or task_id in self.ids[-3:]] or ["nothing"]
        return list(dict.fromkeys(self._pick(known, nth) for nth in chosen))

    def _lease(self, nth: int) -> str:
        """Most often one that lives."""
        living = [lease for lease in self.leases if lease in self.model.leases] or [self._new_lease()]
        gone = [lease for lease in self.leases if lease not in self.model.leases]
        return self._pick(gone if gone and nth > MOSTLY else living, nth)

    def _new_lease(self) -> str:
        self.leases.append(f"worker/{len(self.leases)}")
        self.do("open", self.leases[-1])
        return self.leases[-1]

    def _busy_lease(self, nth: int) -> str:
        """One that holds something, if it lives and the queue is not paused."""
        lease = self._lease(nth)
        if not self.model.held_by(lease):
            self._fill()
            self.do("exchange", lease, 2 + nth % 2, 1 + nth % 2, (), ())
        return lease

    def _fill(self) -> None:
        """See that something is there to be claimed."""
        if not self.model.line():
            self._submit([{"priority": 5}, RICH, UNIQUE])

    # -- producing --------------------------------------------------------------------------------------------------

    @rule(wanted=st.lists(terms, min_size=1, max_size=3), again=rarely)
    def submit(self, wanted: list[dict[str, Any]], again: bool) -> None:
        self._submit(wanted, again)

    @rule(wanted=st.lists(unique_terms, min_size=1, max_size=2), again=rarely)
    def submit_unique(self, wanted: list[dict[str, Any]], again: bool) -> None:
        self._submit([one | {"key_ms": one["key_ms"] if one["for_a_time"] or one["delay"] == 1 else None} for one in wanted], again)

    def _submit(self, wanted: list[dict[str, Any]], again: bool = False) -> None:
        wishes = [self._wish(one) for one in wanted]
        self.ids += [wish.id for wish in wishes]
        self.do("submit", wishes, again=again)

    def _wish(self, terms: dict[str, Any]) -> Wish:
        """Of these terms, the time in which is told from now on."""
        after = terms.get("run_at")
        return Wish(self.mint.mint(1), **terms | {"run_at": None if after is None else self.model.now + after})

    # -- working ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.leases) < LEASES_MAX)
    @rule()
    def open(self) -> None:
        self._new_lease()

    @rule(nth=nths, again=rarely)
    def renew(self, nth: int, again: bool) -> None:
        self.do("renew", self._lease(nth), again=again)

    @rule(nth=nths, limit=st.integers(1, 4), slots=st.integers(0, 3), woken=st.booleans(), again=rarely)
    def claim(self, nth: int, limit: int, slots: int, woken: bool, again: bool) -> None:
        self._fill()
        if woken:
            self.do("take_token")
        self.do("exchange", self._lease(nth), limit, slots, (), (), again=again)

    @rule(nth=nths, wanted=settlements, asked=st.sampled_from([False, False, True]), again=rarely)
    def settle(self, nth: int, wanted: list[tuple[str, int, int, str]], asked: bool, again: bool) -> None:
        lease = self._busy_lease(nth)
        if asked:
            self.do("cancel", [task.id for task in self.model.held_by(lease)])
        self.do("exchange", lease, 0, 0, *self._reports(lease, wanted), again=again)

    @rule(nth=nths, wanted=settlements, limit=st.integers(1, 4), slots=st.integers(0, 3), again=rarely)
    def settle_and_claim(self, nth: int, wanted: list[tuple[str, int, int, str]], limit: int, slots: int, again: bool) -> None:
        lease = self._busy_lease(nth)
        self.do("exchange", lease, limit, slots, *self._reports(lease, wanted), again=again)

    def _reports(self, lease: str, wanted: list[tuple[str, int, int, str]]) -> tuple[list[str], list[Report]]:
        succeeded, reports = [], []
        for verb, nth, delay, fault in wanted:
            task_id = self._settled(lease, nth)
            if verb == "succeed":
                succeeded.append(task_id)
            else:
                reports.append(Report(verb, task_id, delay, fault))
        return list(dict.fromkeys(succeeded)), reports

    def _settled(self, lease: str, nth: int) -> str:
        """Most often a task that the lease holds, else one that another holds, else any."""
        ours = [task.id for task in self.model.held_by(lease)]
        theirs = [task.id for task in self.model.in_state(State.RUNNING) if task.id not in ours]
        if theirs and (nth > MOSTLY or not ours):
            return self._pick(theirs, nth)
        return self._pick(ours, nth) if ours and nth % 16 != 15 else self._tasks([nth])[0]

    @rule(nth=nths, verb=verbs)
    def meddle(self, nth: int, verb: str) -> None:
        """A worker speaks of what another holds."""
        lease = self._busy_lease(nth)
        other = next((one for one in self.model.leases if one != lease), None) or self._new_lease()
        held = [task.id for task in self.model.held_by(lease)]
        succeeded, reports = (held, []) if verb == "succeed" else ([], [Report(verb, task_id) for task_id in held])
        self.do("exchange", other, 0, 0, succeeded, reports)
        self.do("release", other, held, 0, False)

    @rule(nth=nths, chosen=some, holding=st.integers(0, 3), close=rarely, again=rarely)
    def release(self, nth: int, chosen: list[int], holding: int, close: bool, again: bool) -> None:
        lease = self._busy_lease(nth)
        self.do("release", lease, [self._settled(lease, one) for one in chosen], holding, close, again=again)

    @rule(nth=nths)
    def shut_down(self, nth: int) -> None:
        """A worker ends in order."""
        lease = self._busy_lease(nth)
        self.do("release", lease, [task.id for task in self.model.held_by(lease)], 0, True)

    @precondition(lambda self: any(task.arrival is not None for task in self.model.tasks.values()))
    @rule(chosen=some, again=rarely)
    def adopt(self, chosen: list[int], again: bool) -> None:
        held = [task.id for task in self.model.tasks.values() if task.arrival is not None]
        self.do("adopt", [self._pick(held, nth) for nth in chosen], again=again)

    # -- acting -----------------------------------------------------------------------------------------------------

    @rule(chosen=some, again=rarely)
    def cancel(self, chosen: list[int], again: bool) -> None:
        self.do("cancel", self._tasks(chosen), again=again)

    @rule(nth=nths, again=rarely)
    def cancel_running(self, nth: int, again: bool) -> None:
        self.do("cancel", [self._settled(self._busy_lease(nth), nth)], again=again)

    @rule(chosen=some, verb=st.sampled_from(["retry", "run"]), reset=rarely, again=rarely)
    def retry(self, chosen: list[int], verb: str, reset: bool, again: bool) -> None:
        self.do("retry", self._tasks(chosen), SOURCES[verb], reset, again=again)

    @precondition(lambda self: self.model.in_state(*TERMINAL))
    @rule(nth=nths, reset=rarely)
    def retry_ended(self, nth: int, reset: bool) -> None:
        self.do("retry", [self._pick(self.model.in_state(*TERMINAL), nth).id], SOURCES["retry"], reset)

    @rule(chosen=some, again=rarely)
    def remove(self, chosen: list[int], again: bool) -> None:
        self.do("remove", self._tasks(chosen), again=again)

    @rule(nth=nths, priority=priorities, tags=tags, after=st.none() | moments, again=rarely)
    def edit(self, nth: int, priority: int, tags: tuple[str, ...], after: int | None, again: bool) -> None:
        run_at = None if after is None else self.model.now + after
        waiting = [task.id for task in self.model.in_state(*WAITING)] if nth <= MOSTLY else []
        self.do("edit", self._pick(waiting or self._tasks([nth]), nth), priority, tags, run_at, again=again)

    @rule(changes=st.sampled_from(CHANGES), again=rarely)
    def configure(self, changes: dict[str, str], again: bool) -> None:
        self.do("configure", changes, again=again)

    # -- upkeep and time --------------------------------------------------------------------------------------------

    @rule(early=st.sampled_from([0, 0, 1]), failed=st.booleans(), woken=st.booleans(), again=rarely)
    def promote(self, early: int, failed: bool, woken: bool, again: bool) -> None:
        """What is due next, to the millisecond."""
        if failed:
            lease = self._busy_lease(0)
            self.do("exchange", lease, 0, 0, (), [Report("retry", task.id, 1_000, "boom") for task in self.model.held_by(lease)])
        if woken:
            self.do("take_token")
        self._go(max(0, self.model.due_in() - early))
        self.do("promote", again=again)

    @precondition(lambda self: self._deadlines())
    @rule(nth=nths, early=st.sampled_from([0, 0, 1]))
    def pass_a_deadline(self, nth: int, early: int) -> None:
        self._go(max(0, self._pick(self._deadlines(), nth) - early - self.model.now))

    def _deadlines(self) -> list[int]:
        return sorted(task.deadline for task in self.model.tasks.values() if task.deadline)

    @rule(
        state=st.sampled_from(sorted(TERMINAL)), age=ages, early=st.sampled_from([None, 0, 1]), keep=st.sampled_from([100, 1, 1, 2, 0]),
        again=rarely,
    )  # fmt: skip
    def prune(self, state: State, age: int, early: int | None, keep: int, again: bool) -> None:
        """At any time, or when the first to end is of this age to the millisecond."""
        state = self._ended_as(state)
        first = self.model.in_state(state)[:1]
        if first and early is not None and age <= LEASE_MS:
            self._go(max(0, first[0].at + age - early - self.model.now))
            keep = 100
        self.do("prune", state, age, keep, again=again)

    def _ended_as(self, state: State) -> State:
        """This state, or another if nothing is there."""
        found = [one for one in TERMINAL if self.model.in_state(one)]
        return state if state in found or not found else min(found)

    @rule(pause=st.sampled_from([1_000, 10**9]), again=rarely)
    def patrol(self, pause: int, again: bool) -> None:
        self.do("patrol", pause, again=again)

    @precondition(lambda self: self.claims)
    @rule(nth=nths, count=st.integers(0, 3), again=rarely)
    def reap(self, nth: int, count: int, again: bool) -> None:
        """What a reaper does that looked some time ago, at a lease that may live."""
        lease = self._pick(self.claims, nth)[1].lease
        seen = [(task_id, claim) for task_id, claim in self.claims if claim.lease == lease]
        self.do("reap", lease, seen[-count:], again=again)

    @rule(chosen=st.integers(1, 3), slots=st.integers(0, 3), start=starts, alone=st.booleans(), woken=st.booleans(), again=rarely)
    def lose_a_worker(self, chosen: int, slots: int, start: str, alone: bool, woken: bool, again: bool) -> None:
        """It claims and is not heard of again; all it holds is taken back, and what others hold if they are silent too."""
        others = list(self.model.leases)
        lease = self._new_lease()
        self._fill()
        self.do("exchange", lease, chosen, slots, (), ())
        if start:
            self.do("exchange", lease, 0, 0, (), [Report(start, task.id) for task in self.model.held_by(lease)])
        self._go(LEASE_MS // 2)
        for other in others if alone else ():
            self.do("renew", other)
        self._go(LEASE_MS // 2)
        if woken:
            self.do("take_token")
        for gone in self.do("patrol", 10**9):
            self.do("reap", gone, [(task.id, task.claim) for task in self.model.held_by(gone)], again=again)

    @rule(step=steps)
    def wait(self, step: int) -> None:
        self._go(step)

    @rule(step=st.sampled_from([-1, -1_000, -LEASE_MS, -100_000]))
    def step_back(self, step: int) -> None:
        """The clock of the store is set, or another store takes over whose clock is behind."""
        self._go(step)

    def _go(self, step: int) -> None:
        self.model.now += step
        self.bench.set_clock(self.model.now)

    # -- looking ----------------------------------------------------------------------------------------------------

    @rule(nth=nths)
    def resend(self, nth: int) -> None:
        """A call comes again, late."""
        self._do(*self._pick(self.calls, nth))

    @rule(nth=nths)
    def look(self, nth: int) -> None:
        """What users are shown."""
        task_id = self._tasks([nth])[0]
        task, sight, line = self.model.tasks.get(task_id), self.bench.sight(task_id), [one.id for one in self.model.line()]
        assert (sight is None) == (task is None)
        assert self.bench.place(task_id) == (line.index(task_id) if task_id in line else None)
        if task and sight:
            assert (sight.state, sight.failed_attempts, sight.crashes) == (task.state, task.failed, task.crashes)
            assert (sight.cancel_asked, sight.unroutable) == (task.asked, task.arrival is not None)
            assert len(sight.attempts) == task.failed + task.crashes
            assert (sight.held and sight.held.lease) == (task.claim and task.claim.lease)

    @rule(nth=nths)
    def count(self, nth: int) -> None:
        """What operators are shown."""
        lease, count = self._lease(nth), self.bench.count()
        assert {state: len(self.model.in_state(State(state))) for state in count.states} == dict(count.states)
        assert count.workers == sum(end >= self.model.now for end in self.model.leases.values())
        assert self.bench.held_by(lease) == {task.id for task in self.model.held_by(lease)}
