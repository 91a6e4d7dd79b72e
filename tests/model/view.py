"""What can be seen of a queue, in the same words for the store and for the model."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from _taskqueue.domain.states import State
from _taskqueue.domain.task import fingerprint_of
from _taskqueue.store import wire
from _taskqueue.store.answers import Held
from tests.keyspace import INDEXES, Keyspace
from tests.model.bench import ERRORS, TASK
from tests.model.queue import Queue
from tests.model.values import Claim, Task

SERIES = ("submitted", "claimed", "succeeded", "retried", "dead", "cancelled", "expired", "lost")
FAULTS = {
    fingerprint_of(TASK, ERRORS["boom"]).encode(): "boom",
    fingerprint_of(TASK, ERRORS["bang"]).encode(): "bang",
}


class Seen(NamedTuple):
    """One task."""

    state: str
    place: float | None
    """its score; None while it runs"""
    claim: Claim | None
    asked: bool
    past: bool
    failed: int
    crashes: int
    priority: int
    deadline: int | None
    logs: frozenset[int]
    progressed: bool
    checkpoint: bool
    told: bool
    fault: str
    retain: int | None
    forget_at: int | None
    labels: frozenset[str]
    key: str
    batch: str


def tasks_of_store(space: Keyspace) -> dict[str, Seen]:
    """Every task by its id."""
    logs: dict[bytes, set[int]] = {}
    for field in space["logs"]:
        task_id, _, number = field.rpartition(b":")
        logs.setdefault(task_id, set()).add(int(number))
    places = {task_id: (name, score) for name in INDEXES for task_id, score in space[name].items()}
    places |= dict.fromkeys(space["running"], ("running", None))
    return {task_id.decode(): _seen(space, task_id, *place, logs.get(task_id, set())) for task_id, place in places.items()}


def _seen(space: Keyspace, task_id: bytes, index: str, place: float | None, logs: set[int]) -> Seen:
    failed, crashes = map(int, space["tries"].get(task_id, b"0|0").split(b"|"))
    return Seen(
        state=index,
        place=place,
        claim=_claim(task_id, space["running"].get(task_id)),
        asked=task_id in space["cancelling"],
        past=task_id in space["tries"],
        failed=failed,
        crashes=crashes,
        priority=wire.decode_record(space["records"][task_id]).priority,
        deadline=_number(space["expiries"].get(task_id)),
        logs=frozenset(logs),
        progressed=task_id in space["progress"],
        checkpoint=task_id in space["checkpoints"],
        told=task_id in space["outcomes"],
        fault=_fault(space["faults"].get(task_id)),
        retain=_number(space["retains"].get(task_id)),
        forget_at=_number(space["forgets"].get(task_id)),
        labels=frozenset(space["labelled"].get(task_id, b"").decode().split()),
        key=space["unique_of"].get(task_id, b"").decode(),
        batch=space["batch_of"].get(task_id, b"").decode(),
    )


def _claim(task_id: bytes, value: bytes | None) -> Claim | None:
    if value is None:
        return None
    held = Held.read(task_id, value)
    return Claim(held.lease, held.started, held.alone, held.attempt, held.crashes, held.claimed_ms, int(value.rpartition(b"|")[2]))


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _fault(print_: bytes | None) -> str:
    return FAULTS.get(print_, "lost") if print_ else ""


def tasks_of_model(queue: Queue) -> dict[str, Seen]:
    """Every task by its id."""
    return {task.id: _meant(task) for task in queue.tasks.values()}


def _meant(task: Task) -> Seen:
    wish = task.wish
    return Seen(
        state=task.state if task.arrival is None else "unroutable",
        place=_place(task),
        claim=task.claim,
        asked=task.asked,
        past=task.past,
        failed=task.failed,
        crashes=task.crashes,
        priority=task.priority,
        deadline=task.deadline,
        logs=frozenset(task.logs),
        progressed=task.progressed,
        checkpoint=task.checkpoint,
        told=task.told,
        fault=task.fault,
        retain=wish.retain,
        forget_at=task.forget_at,
        labels=frozenset([f"t:{tag}" for tag in task.tags] + [f"b:{wish.batch}"] * bool(wish.batch)),
        key=wish.key,
        batch=wish.batch,
    )


def _place(task: Task) -> float | None:
    if task.state is State.RUNNING:
        return None
    if task.state in (State.SCHEDULED, State.RETRYING):
        return task.at + task.priority / 16
    return task.at if task.arrival is None else task.arrival


def rest_of_store(space: Keyspace) -> dict[str, Any]:
    """What tasks share."""
    groups, patrols, ends = space["failures"], space["patrols"], space["unique_ends"]
    return {
        "leases": {lease.decode(): int(end) for lease, end in space["leases"].items()},
        "holding": {lease.decode(): int(count) for lease, count in space["holdings"].items()},
        "keys": {key.decode(): _key(held, _number(ends.get(key))) for key, held in space["uniques"].items()},
        "batches": {tuple(name.decode().split("|")): int(count) for name, count in space["batches"].items() if int(count)},
        "groups": {
            _fault(print_): (int(groups[print_ + b":count"]), int(groups[print_ + b":first"]), int(last))
            for print_, last in space["failing"].items()
        },
        "counts": _counts(space["stats"]),
        "settings": {name.decode(): value.decode() for name, value in space["settings"].items()},
        "token": bool(space["wake"]),
        "arrived": int(patrols.get(b"held", 0)),
        "looked": _number(patrols.get(b"last_ms")),
        "patient_until": int(patrols.get(b"hold_until_ms", 0)),
    }


def _key(held: bytes, until: int | None) -> tuple[str, bool, int | None]:
    holder, _, mode = held.decode().rpartition("|")
    return holder, mode == "t", until


def _counts(stats: dict[bytes, bytes]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for field, count in stats.items():
        sums[field.decode().partition(":")[2]] += int(count)
    return dict(sums)


def rest_of_model(queue: Queue) -> dict[str, Any]:
    """What tasks share."""
    return {
        "leases": queue.leases,
        "holding": queue.holding,
        "keys": {name: (key.holder, key.for_a_time, key.until) for name, key in queue.keys.items()},
        "batches": {name: count for name, count in queue.batches.items() if count},
        "groups": queue.groups,
        "counts": {series: queue.counts[series] for series in SERIES if queue.counts[series]},
        "settings": queue.settings,
        "token": queue.token,
        "arrived": queue.arrived,
        "looked": queue.looked,
        "patient_until": queue.patient_until,
    }


def differences(seen: dict[str, Any], meant: dict[str, Any]) -> str:
    """What differs, one line each."""
    lines = []
    for name in sorted(seen.keys() | meant.keys()):
        here, there = seen.get(name), meant.get(name)
        if isinstance(here, Seen) and isinstance(there, Seen):
            lines += [f"{name} {field}: {a!r}, not {b!r}" for field, a, b in zip(Seen._fields, here, there, strict=True) if a != b]
        elif here != there:
            lines.append(f"{name}: {here!r}, not {there!r}")
    return "\n".join(lines)
