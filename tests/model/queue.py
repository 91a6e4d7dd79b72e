"""The queue as a plain Python object: what each verb of the store means, without Redis, scripts or speed.

This is the specification that the store is compared with. Times are milliseconds on the one clock, ``now``; a task waits
in the order of ``at``, then of its id. The verbs give what the store gives; one that is sent twice changes nothing the
second time, except that an exchange claims what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from _taskqueue.domain.ids import created_ms_of
from _taskqueue.domain.states import State
from tests.model.values import WAITING, Claim, Key, Report, Task, Wish

LEASE_MS = 30_000
HEAD_START_MS = 60_000
"""Head start of each priority level."""
RENEW_BELOW = 0.75
"""An exchange renews a lease of which less than this share is left."""
CRASHES_MAX = 3
"""A task that lost so many workers, the last one alone, is dead."""
UNPROVEN_MAX = 9
"""So many losses make it dead in any case."""
SUSPECT_AT = 2
"""After so many losses a task starts only with a report of its own, alone if that can be had."""
CRASH_DELAYS_MS = (0, 10_000, 60_000)
"""How long a task waits after its first, second, … loss."""


class Queue:
    """One queue and its leases."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.tasks: dict[str, Task] = {}
        self.leases: dict[str, int] = {}
        """lease → when it runs out"""
        self.holding: dict[str, int] = {}
        """lease → how many tasks its worker is told it holds"""
        self.keys: dict[str, Key] = {}
        self.batches: Counter[tuple[str, str]] = Counter()
        self.groups: dict[str, tuple[int, int, int]] = {}
        """fault → how often, first and last time"""
        self.counts: Counter[str] = Counter()
        """series of the statistics → how often"""
        self.settings: dict[str, str] = {}
        self.token = False
        """an idle worker will be woken"""
        self.arrived = 0
        self.looked: int | None = None
        self.patient_until = 0

    # -- reading ----------------------------------------------------------------------------------------------------

    def in_state(self, *states: State) -> list[Task]:
        """Tasks in these states, in their order."""
        return sorted((task for task in self.tasks.values() if task.state in states), key=lambda task: (task.at, task.id))

    def line(self) -> list[Task]:
        """The pending tasks in the order of their claims; those that no worker knows stand apart."""
        return [task for task in self.in_state(State.PENDING) if task.arrival is None]

    def held_by(self, lease: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.claim and task.claim.lease == lease]

    def due_in(self) -> int:
        waiting = self.in_state(State.SCHEDULED, State.RETRYING)
        return max(0, waiting[0].at - self.now) if waiting else -1

    def due_in_us(self) -> int:
        """Exact, since its clock has whole milliseconds."""
        return max(-1, self.due_in() * 1_000)

    # -- producing --------------------------------------------------------------------------------------------------

    def submit(self, wishes: Sequence[Wish]) -> dict[str, tuple[str, str]]:
        """Gives why some were not accepted, and who holds their key. Ids known before are skipped."""
        denied = {}
        fresh: set[str] = set()
        for wish in sorted((one for one in wishes if one.id not in self.tasks), key=lambda one: not one.is_plain):
            why = self._refusal(wish, fresh)
            if why:
                denied[wish.id] = why
            else:
                self._accept(wish)
                fresh.add(wish.id)
        return denied

    def _refusal(self, wish: Wish, fresh: Collection[str]) -> tuple[str, str] | None:
        holder = self._holder(wish.key)
        if holder and wish.on_conflict == "replace" and holder not in fresh and self._may_go(holder):
            self._cancel_waiting(self.tasks[holder])
            return None
        if holder:
            return "duplicate" if wish.on_conflict == "return" else "conflict", holder
        return ("full", "") if self._room() < 1 else None

    def _room(self) -> float:
        return float(self.settings.get("max_length", "inf")) - len(self.in_state(*WAITING))

    def _may_go(self, holder: str) -> bool:
        return holder in self.tasks and self.tasks[holder].waits

    def _holder(self, key: str) -> str:
        """Who keeps others from this key now."""
        kept = self.keys.get(key)
        if kept is None or (kept.until is not None and kept.until <= self.now):
            return ""
        lives = kept.holder in self.tasks and self.tasks[kept.holder].lives
        return kept.holder if kept.for_a_time or lives else ""

    def _accept(self, wish: Wish) -> None:
        due = self.now + wish.delay if wish.run_at is None else wish.run_at
        state, at = (State.SCHEDULED, due) if due > self.now else (State.PENDING, self._ready(wish.priority))
        first = min((task.at + task.priority / 16 for task in self.in_state(State.SCHEDULED)), default=None)
        self.token |= state is State.PENDING or first is None or due + wish.priority / 16 < first
        deadline = None if wish.expires_in is None else self.now + wish.expires_in
        self.tasks[wish.id] = Task(wish.id, wish, state, at, wish.priority, wish.tags, deadline)
        self.counts["submitted"] += 1
        if wish.key:
            self.keys[wish.key] = Key(wish.id, wish.for_a_time, None if wish.key_ms is None else self.now + wish.key_ms)
        self._count(self.tasks[wish.id], 1, "total", "kept")

    def _ready(self, priority: int) -> int:
        return self.now - priority * HEAD_START_MS

    def _count(self, task: Task, step: int, *names: str) -> None:
        if task.wish.batch:
            self.batches.update({(task.wish.batch, name): step for name in names})

    def _end(self, task: Task, state: State, *, told: bool = False) -> None:
        task.state, task.at, task.claim, task.asked, task.arrival, task.told = state, self.now, None, False, None, told
        task.forget_at = None if task.wish.retain is None else self.now + task.wish.retain
        if state is not State.DEAD:
            task.fault = ""
        self.counts[state] += 1
        self._count(task, 1, state)

    def _wait(self, task: Task, state: State, at: int) -> None:
        """Go back to the queue, unless it was asked to cancel."""
        if task.asked:
            self._end(task, State.CANCELLED)
        else:
            task.state, task.at, task.claim, task.arrival = state, at, None, None

    def _cancel_waiting(self, task: Task) -> None:
        task.deadline = None
        self._end(task, State.CANCELLED)

    # -- acting -----------------------------------------------------------------------------------------------------

    def _states(self, ids: Iterable[str], act: Callable[[Task], None]) -> list[State | None]:
        """Act on tasks; gives the states they were in, None for unknown ones."""
        found = [self.tasks.get(task_id) for task_id in ids]
        states = [task.state if task else None for task in found]
        for task in filter(None, found):
            act(task)
        return states

    def cancel(self, ids: Sequence[str]) -> list[State | None]:
        """At once while they wait, by request while they run."""
        return self._states(ids, self._cancel)

    def _cancel(self, task: Task) -> None:
        task.asked = task.state is State.RUNNING
        if task.waits:
            self._cancel_waiting(task)

    def remove(self, ids: Sequence[str]) -> list[State | None]:
        """Forget them, unless they run."""
        return self._states(ids, self._remove)

    def _remove(self, task: Task) -> None:
        if task.waits:
            self._count(task, 1, "removed")
        if task.state is not State.RUNNING:
            self._forget(task)

    def _forget(self, task: Task) -> None:
        del self.tasks[task.id]
        kept = self.keys.get(task.wish.key)
        if kept and kept.holder == task.id and kept.until is None:
            del self.keys[task.wish.key]
        self._count(task, -1, "kept")
        if task.wish.batch and not self.batches[task.wish.batch, "kept"]:
            self.batches = Counter({name: count for name, count in self.batches.items() if name[0] != task.wish.batch})

    def retry(self, ids: Sequence[str], sources: Collection[State], reset: bool) -> list[tuple[State | None, bool]]:
        """Make them pending now, unless another keeps their key; gives the states they were in, and if it was done."""
        return [self._retry(self.tasks.get(task_id), sources, reset) for task_id in ids]

    def _retry(self, task: Task | None, sources: Collection[State], reset: bool) -> tuple[State | None, bool]:
        if task is None:
            return None, False
        was = task.state
        if was not in sources or not (task.lives or self._take_key_back(task)):
            return was, False
        if not task.lives:
            self._count(task, -1, was)
            task.told, task.forget_at = False, None
        task.fault = ""
        if reset:
            task.failed, task.crashes, task.past, task.logs = 0, 0, False, set()
        self._wait(task, State.PENDING, self._ready(task.priority))
        self.token = True
        return was, True

    def _take_key_back(self, task: Task) -> bool:
        kept, key = self.keys.get(task.wish.key), task.wish.key
        if not key or (kept and kept.holder == task.id):
            return True
        if self._holder(key):
            return False
        self.keys[key] = Key(task.id, False, None)
        return True

    def edit(self, task_id: str, priority: int, tags: tuple[str, ...], run_at: int | None) -> tuple[State | None, bool]:
        """Change a waiting task, which moves to its new place; gives the state it is in, and if it was done."""
        task = self.tasks.get(task_id)
        if task is None or not task.waits:
            return task.state if task else None, False
        old, task.priority, task.tags = task.priority, priority, tags
        if task.arrival is None or run_at is not None:
            self._move(task, run_at, task.at + old * HEAD_START_MS)
            self.token = True
        return task.state, True

    def _move(self, task: Task, run_at: int | None, ready: int) -> None:
        if task.state is State.RETRYING:
            task.at = task.at if run_at is None else run_at
        elif run_at is not None and run_at > self.now:
            self._wait(task, State.SCHEDULED, run_at)
        elif run_at is not None:
            self._wait(task, State.PENDING, self._ready(task.priority))
        elif task.state is State.PENDING:
            task.at = ready - task.priority * HEAD_START_MS

    def configure(self, changes: dict[str, str]) -> dict[str, str]:
        """Change settings, an empty value taking one away; gives all of them."""
        self.settings = {name: value for name, value in (self.settings | changes).items() if value}
        self.token = True
        return self.settings

    # -- working ----------------------------------------------------------------------------------------------------

    def open(self, lease: str) -> None:
        self.leases[lease], self.holding[lease] = self.now + LEASE_MS, 0

    def renew(self, lease: str) -> bool:
        if lease in self.leases:
            self.leases[lease] = self.now + LEASE_MS
        return lease in self.leases

    def exchange(self, lease: str, limit: int, slots: int, succeeded: Sequence[str], reports: Sequence[Report]) -> dict[str, Any] | None:
        """Settle, promote, claim; None when the lease is gone and nothing was done."""
        if lease not in self.leases:
            return None
        if self.leases[lease] - self.now < LEASE_MS * RENEW_BELOW:
            self.renew(lease)
        before = len(self.held_by(lease))
        refused = [one.id for one in reports if not self._report(lease, one)]
        refused += [task_id for task_id in succeeded if not self._succeed(lease, task_id)]
        self._expire()
        promoted, late = self._promote()
        paused = "paused" in self.settings
        claims = [self._claim(task, lease, place < slots) for place, task in enumerate(self.line()[: 0 if paused else limit])]
        self.token |= bool((claims or promoted) and self.line())
        self.holding[lease] += len(self.held_by(lease)) - before
        return {
            "claims": [claim for claim in claims if claim[2] < SUSPECT_AT],
            "suspects": [claim for claim in claims if claim[2] >= SUSPECT_AT],
            "refused": refused, "late": late, "due_in_us": self.due_in_us(), "holding": self.holding[lease],
            "cancel": {task.id for task in self.held_by(lease) if task.asked}, "paused": paused, "newest": self._newest(),
        }  # fmt: skip

    def _newest(self) -> int:
        return max((task.arrival for task in self.tasks.values() if task.arrival is not None), default=0)

    def _held(self, lease: str, task_id: str) -> Task | None:
        """The task, if this lease holds it: nobody else has a say."""
        task = self.tasks.get(task_id)
        return task if task and task.claim and task.claim.lease == lease else None

    def _claim(self, task: Task, lease: str, starts: bool) -> tuple[Any, ...]:
        if task.past or task.checkpoint:
            starts = task.crashes < SUSPECT_AT  # even when it is only prefetched: it may be what its worker is lost for
        claim = task.claim = Claim(lease, starts, False, task.failed + 1, task.crashes, self.now, task.at)
        task.state = State.RUNNING
        self.counts["claimed"] += 1
        return task.id, claim.attempt, claim.crashes, task.at + task.priority * HEAD_START_MS, task.checkpoint

    def _succeed(self, lease: str, task_id: str) -> bool:
        task = self._held(lease, task_id)
        if task:
            self._end(task, State.SUCCEEDED, told=True)
        return task is not None

    def _report(self, lease: str, report: Report) -> bool:
        task = self._held(lease, report.id)
        if task:
            getattr(self, "_report_" + report.verb)(task, report)
        return task is not None

    def _report_retry(self, task: Task, report: Report) -> None:
        task.failed, task.past = task.failed + 1, True
        self._mark(task, report.fault)
        self.counts["retried"] += not task.asked
        self._wait(task, State.RETRYING, self.now + report.delay)

    def _report_dead(self, task: Task, report: Report) -> None:
        task.failed, task.past = task.failed + 1, True
        self._mark(task, report.fault)
        self._end(task, State.DEAD, told=True)

    def _report_cancel(self, task: Task, _: Report) -> None:
        self._end(task, State.CANCELLED, told=True)

    def _report_snooze(self, task: Task, report: Report) -> None:
        self._wait(task, State.SCHEDULED, self.now + report.delay)

    def _report_release(self, task: Task, _: Report) -> None:
        self.token |= not task.asked
        self._give_back(task)

    def _give_back(self, task: Task) -> None:
        assert task.claim
        self._wait(task, State.PENDING, task.claim.at)

    def _report_hold(self, task: Task, _: Report) -> None:
        self._give_back(task)
        if task.lives:
            task.arrival = self.arrived = max(self.now, self.arrived + 1)

    def _report_start(self, task: Task, _: Report) -> None:
        self._start(task, alone=False)

    def _report_start_alone(self, task: Task, _: Report) -> None:
        self._start(task, alone=True)

    def _start(self, task: Task, *, alone: bool) -> None:
        assert task.claim
        task.claim = replace(task.claim, started=True, alone=alone)

    def _report_log(self, task: Task, _: Report) -> None:
        task.logs.add(task.failed + task.crashes + 1)

    def _report_progress(self, task: Task, _: Report) -> None:
        task.progressed = True

    def _report_save(self, task: Task, _: Report) -> None:
        task.checkpoint = True

    def _mark(self, task: Task, fault: str) -> None:
        """It fails with this error now, as one of a group."""
        if fault:
            task.fault = fault
            count, first, _ = self.groups.get(fault, (0, self.now, 0))
            self.groups[fault] = count + 1, first, self.now

    def release(self, lease: str, ids: Sequence[str], holding: int, close: bool) -> int:
        """Give tasks back to where they stood, at no cost to them; -1 when the lease is gone."""
        if lease not in self.leases:
            return -1
        back = list(filter(None, (self._held(lease, task_id) for task_id in dict.fromkeys(ids))))
        for task in back:
            self._give_back(task)
        self.token |= bool(back)
        self.holding[lease] = holding
        if close:
            self._close(lease)
        return len(back)

    def _close(self, lease: str) -> None:
        self.leases.pop(lease, None)
        self.holding.pop(lease, None)

    def adopt(self, ids: Sequence[str]) -> int:
        """A worker knows them after all: they stand where their age puts them."""
        held = [task for task_id in dict.fromkeys(ids) if (task := self.tasks.get(task_id)) and task.arrival is not None]
        for task in held:
            self._wait(task, State.PENDING, created_ms_of(task.id) - task.priority * HEAD_START_MS)
        self.token |= bool(held)
        return len(held)

    # -- upkeep -----------------------------------------------------------------------------------------------------

    def promote(self) -> tuple[int, int, int, int]:
        """Gives: promoted, worst lateness, deadlines that passed, µs to the next due task."""
        passed = self._expire()
        count, late = self._promote()
        self.token |= count > 0
        self.keys = {name: key for name, key in self.keys.items() if key.until is None or key.until > self.now}
        return count, late, passed, self.due_in_us()

    def _promote(self) -> tuple[int, int]:
        due = [task for task in self.in_state(State.SCHEDULED, State.RETRYING) if task.at <= self.now]
        late = max((self.now - task.at for task in due), default=0)
        for task in due:
            self._wait(task, State.PENDING, task.at - task.priority * HEAD_START_MS)
        return len(due), late

    def _expire(self) -> int:
        """A deadline is for the waiting: one that passes while the task runs is void."""
        passed = [task for task in self.tasks.values() if task.deadline is not None and task.deadline <= self.now]
        for task in passed:
            task.deadline = None
            if task.waits:
                self._end(task, State.EXPIRED)
        return len(passed)

    def patrol(self, pause: int) -> list[str]:
        """Leases that ran out. At first, after a silence or a step back of the clock everybody has one lease's time to renew."""
        if self.looked is None or self.now - self.looked > pause or self.now < self.looked:
            self.patient_until = self.now + LEASE_MS
        self.looked = self.now
        self.leases = {lease: end if end < self.now + 2 * LEASE_MS else self.now + LEASE_MS for lease, end in self.leases.items()}
        if self.now < self.patient_until:
            return []
        return [lease for lease, end in sorted(self.leases.items(), key=lambda item: item[::-1]) if end <= self.now]

    def reap(self, lease: str, seen: Sequence[tuple[str, Claim]]) -> int:
        """End a lease that ran out and take back the claims that were seen on it; -1 when it lives."""
        if self.leases.get(lease, self.now) > self.now:
            return -1
        self._close(lease)
        lost = [self.tasks[task_id] for task_id, claim in seen if task_id in self.tasks and self.tasks[task_id].claim == claim]
        for task in lost:
            self._lose(task)
        self.counts["lost"] += len(lost)
        self.token |= bool(lost)
        return len(lost)

    def _lose(self, task: Task) -> None:
        assert task.claim
        alone, task.past = task.claim.alone, True
        if not task.claim.started or task.asked:
            task.crashes += task.claim.started
            self._give_back(task)
            return
        delay = CRASH_DELAYS_MS[min(task.crashes, len(CRASH_DELAYS_MS) - 1)]
        task.crashes += 1
        if task.crashes >= (CRASHES_MAX if alone else UNPROVEN_MAX):
            self._mark(task, "lost")
            self._end(task, State.DEAD, told=True)
        elif delay:
            self._mark(task, "lost")
            self._wait(task, State.RETRYING, self.now + delay)
        else:
            self._give_back(task)

    def prune(self, state: State, age: int, keep: int) -> int:
        """Forget ended tasks whose own time is up, and those of a state that are too old or too many."""
        over = [task for task in self.tasks.values() if task.forget_at is not None and task.forget_at <= self.now]
        rest = [task for task in self.in_state(state) if task not in over]
        over += [task for place, task in enumerate(rest) if task.at <= self.now - age or place < len(rest) - keep]
        for task in over:
            self._forget(task)
        return len(over)

    def take_token(self) -> None:
        """An idle worker wakes up."""
        self.token = False
