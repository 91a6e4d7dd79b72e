"""The store behind the verbs of the model, on a clock that moves only when it is told to.

The scripts are the product's own, but that the fragment which reads Redis' clock is replaced by one that reads a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, TypeVar

import uvloop

from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Ending, Failure, Outcome, Progress, Record, Submission, Unique, fault_of
from _taskqueue.domain.task import Claim as Claimed
from _taskqueue.metrics import Metrics
from _taskqueue.store import wire
from _taskqueue.store.answers import Count, Exchange, Held, Sight, pack_number
from _taskqueue.store.calls import BeatStore
from _taskqueue.store.connect import Connector
from _taskqueue.store.keys import QUEUE_KEYS
from _taskqueue.store.scripts import build_scripts, read_texts
from _taskqueue.store.store import Store
from _taskqueue.upkeep.reaper import Reaper
from _taskqueue.upkeep.witness import Witness
from tests.keyspace import Keyspace, check_keyspace, read_queue
from tests.model.queue import CRASHES_MAX, HEAD_START_MS, LEASE_MS
from tests.model.values import Claim, Report, Wish

QUEUE = "default"
CLOCK = "the clock of the model"
NOW = f"local now, past_us = tonumber(redis.call('GET', '{CLOCK}')), 0"
TASK = "echo"
ERRORS = {"boom": Failure("ValueError", "boom"), "bang": Failure("KeyError", "bang"), "lost": Failure("WorkerLost", "")}
ATTEMPT = wire.encode(Attempt(1, Ending.ERROR, 1, 1, "worker", ERRORS["boom"]))
PROGRESS = wire.encode(Progress(1, 2, None, 1))
OUTCOME = wire.encode(Outcome(1, 1, 1, "worker", b'"done"'))

T = TypeVar("T")


class Bench:
    """One queue of a store; every verb returns when the store has answered."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._store = Store(
            Connector(url), metrics, namespace="model", lease_ms=LEASE_MS, head_start_ms=HEAD_START_MS, max_crashes=CRASHES_MAX
        )
        self._store._scripts = build_scripts({**read_texts(), "_now": NOW})
        self._beats = BeatStore(self._store)
        self._reaper = Reaper(self._store, metrics, pause_ms=0)
        self._all = [self._store.key(name, QUEUE) for name in QUEUE_KEYS]
        self._run(self._store.route(QUEUE))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def _command(self, *args: Any) -> Any:
        return self._run(self._store.command("test", *args))

    def clear(self, now: int) -> None:
        """An empty queue at this time."""
        self._command("UNLINK", *self._all)
        self.set_clock(now)

    def set_clock(self, now: int) -> None:
        self._command("SET", CLOCK, now)

    def close(self) -> None:
        self._command("UNLINK", *self._all, CLOCK)
        self._beats.close()
        self._run(self._store.aclose())
        self._runner.close()

    # -- reading ----------------------------------------------------------------------------------------------------

    def read(self) -> Keyspace:
        return self._run(read_queue(self._store, QUEUE))

    def check(self) -> None:
        """All that is checked after any other test as well."""
        self._run(check_keyspace(self._store))

    def count(self) -> Count:
        return self._run(self._store.count(QUEUE))

    def sight(self, task_id: str) -> Sight | None:
        return self._run(self._store.inspect(QUEUE, task_id))

    def place(self, task_id: str) -> int | None:
        return self._run(self._store.place(QUEUE, task_id))

    def held_by(self, lease: str) -> set[str]:
        return {held.id.decode() for held in self._run(self._store.held_by(QUEUE, lease))}

    # -- the verbs --------------------------------------------------------------------------------------------------

    def submit(self, wishes: Sequence[Wish]) -> dict[str, tuple[str, str]]:
        denied = self._run(self._store.submit(QUEUE, [(wish.id, _submission(wish)) for wish in wishes]))
        return {task_id: (denial.why, denial.holder) for task_id, denial in denied.items()}

    def cancel(self, ids: Sequence[str]) -> list[State | None]:
        return self._run(self._store.cancel(QUEUE, *ids))

    def remove(self, ids: Sequence[str]) -> list[State | None]:
        return self._run(self._store.remove(QUEUE, *ids))

    def retry(self, ids: Sequence[str], sources: Collection[State], reset: bool) -> list[tuple[State | None, bool]]:
        tasks = [(task_id, record.priority if record else 0) for task_id, record in zip(ids, self._records(ids), strict=True)]
        return self._run(self._store.retry(QUEUE, tasks, sources, reset=reset))

    def _records(self, ids: Sequence[str]) -> list[Record | None]:
        return self._run(self._store.records(QUEUE, [task_id.encode() for task_id in ids]))

    def edit(self, task_id: str, priority: int, tags: tuple[str, ...], run_at: int | None) -> tuple[State | None, bool]:
        raw = self._run(self._store.raw_record(QUEUE, task_id))
        if raw is None:
            return None, False
        new = wire.decode_record(raw)
        new = Record(new.task, True, priority=priority, tags=tags, batch=new.batch)
        state, done = self._run(self._store.edit(QUEUE, task_id, raw, new, run_at))
        return state, bool(done)

    def configure(self, changes: dict[str, str]) -> dict[str, str]:
        return self._run(self._store.configure(QUEUE, changes))

    def open(self, lease: str) -> None:
        self._run(self._store.open_lease(QUEUE, lease))

    def renew(self, lease: str) -> bool:
        return self._beats.renew(QUEUE, lease)

    def exchange(self, lease: str, limit: int, slots: int, succeeded: Sequence[str], reports: Sequence[Report]) -> dict[str, Any] | None:
        pairs = [part for task_id in succeeded for part in (task_id, OUTCOME)]
        records = self._records([report.id for report in reports])
        flat = [part for report, record in zip(reports, records, strict=True) for part in _report(report, record)]
        answer = self._run(self._store.settle_and_claim(QUEUE, lease, Exchange(limit, slots, pairs, flat)))
        if answer is None:
            return None
        assert answer.missing == []
        return {
            "claims": _claims(answer.claims), "suspects": _claims(answer.suspects),
            "refused": [one.decode() for one in answer.refused], "late": answer.late_ms, "due_in_us": answer.due_in_us,
            "holding": answer.holding, "cancel": {one.decode() for one in answer.cancel}, "paused": answer.paused,
            "newest": answer.newest_unroutable,
        }  # fmt: skip

    def release(self, lease: str, ids: Sequence[str], holding: int, close: bool) -> int:
        return self._run(self._store.release(QUEUE, lease, [one.encode() for one in ids], holding=holding, close=close))

    def adopt(self, ids: Sequence[str]) -> int:
        found = [(task_id.encode(), record) for task_id, record in zip(ids, self._records(ids), strict=True) if record]
        return self._run(self._store.adopt(QUEUE, found))

    def promote(self) -> tuple[int, int, int, int]:
        return self._run(self._store.promote(QUEUE))

    def patrol(self, pause: int) -> list[str]:
        return self._run(self._store.patrol(QUEUE, pause))

    def reap(self, lease: str, seen: Sequence[tuple[str, Claim]]) -> int:
        """With the verdicts of the product's own reaper."""
        records = self._records([task_id for task_id, _ in seen])
        verdicts = [
            self._reaper._judge(_held(task_id, claim), record, Witness(None))
            for (task_id, claim), record in zip(seen, records, strict=True)
        ]
        return self._run(self._store.reap(QUEUE, lease, verdicts))

    def prune(self, state: State, age: int, keep: int) -> int:
        return self._run(self._store.prune(QUEUE, state, age_s=age / 1000, keep=keep))

    def take_token(self) -> None:
        self._command("LPOP", self._store.key("wake", QUEUE))


def _submission(wish: Wish) -> Submission:
    unique = Unique(wish.key, wish.key_ms, "ttl" if wish.for_a_time else "active", wish.on_conflict) if wish.key else None
    record = Record(TASK, True, priority=wish.priority, tags=wish.tags, batch=wish.batch)
    return Submission(record, QUEUE, wish.delay, wish.run_at, wish.expires_in, unique, wish.retain)


def _report(report: Report, record: Record | None) -> tuple[Any, ...]:
    verb, texts = report.verb, (ATTEMPT, OUTCOME)
    if verb in ("log", "progress", "save"):
        texts = PROGRESS, b""
    elif verb in ("start", "start_alone"):
        verb, texts = "start", (b"a" if verb == "start_alone" else b"s", b"")
    fault = fault_of(TASK, ERRORS[report.fault]) if report.fault else ""
    return verb, report.id, pack_number(report.delay, record.priority if record else 0), *texts, fault


def _claims(claims: list[Claimed]) -> list[tuple[Any, ...]]:
    return [(one.id.decode(), one.attempt, one.crashes, one.ready_ms, one.checkpoint is not None) for one in claims]


def _held(task_id: str, claim: Claim) -> Held:
    flag = "a" if claim.alone else "s" if claim.started else "p"
    value = f"{claim.lease}|{flag}|{claim.attempt}|{claim.crashes}|{claim.since}|{claim.at}"
    return Held.read(task_id.encode(), value.encode())
