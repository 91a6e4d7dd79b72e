"""Checks the invariants of the whole keyspace of a store.

A queue is read in one go, as a Keyspace: name of the key → what it holds. The checks are functions of that value, so that
a test can make them after each of thousands of steps.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from _taskqueue.store.answers import pairs, score_pairs
from _taskqueue.store.keys import GLOBAL_FAMILIES, GLOBAL_KEYS, QUEUE_KEYS
from _taskqueue.store.store import Store

INDEXES = ("pending", "unroutable", "scheduled", "retrying", "succeeded", "dead", "cancelled", "expired")
ENDED = ("succeeded", "dead", "cancelled", "expired")
BY_ID = (
    "outcomes", "tries", "progress", "checkpoints", "cancelling", "labelled", "faults", "unique_of", "batch_of", "retains",
    "expiries", "forgets", "unfit",
)  # fmt: skip
"""Keys whose fields or members are ids of tasks."""
BY_NUMBER = ("history", "logs")
"""Hashes whose fields are ids with the number of an attempt."""
MORTAL = ("watched", "durable", "alive", *GLOBAL_FAMILIES)
"""Keys that must have a time to live; no other may have one."""
CLAIM = re.compile(rb"(?P<lease>.+)\|(?P<flag>[psa])\|(?P<attempt>[1-9]\d*)\|(?P<crashes>\d+)\|(?P<claimed>\d+)\|(?P<score>-?\d+)")
"""A value in ``running``."""
TRIES = re.compile(rb"(\d+)\|(\d+)")

Keyspace = dict[str, Any]
"""Name of a queue's key → a hash or sorted set as a dict, a list as a list; strings and streams are left out."""

_READ: dict[str, tuple[Any, ...]] = {"hash": ("HGETALL",), "sorted": ("ZRANGE", 0, -1, "WITHSCORES"), "list": ("LRANGE", 0, -1)}
_KINDS = {name: kind for name, text in QUEUE_KEYS.items() if (kind := text.partition(" ")[0]) in _READ}


async def every_key(store: Store) -> set[str]:
    """All keys of the store's namespace."""
    return {
        key.decode()
        for pattern in (f"{store.namespace}:*", f"{{{store.namespace}}}:*")
        for key in await store.command("test", "KEYS", pattern)
    }


async def check_keyspace(store: Store) -> None:
    """Every key is in the schema, and every queue is sound; fails with what is wrong."""
    for key in await every_key(store):
        name = key.partition("}:")[2].partition(":")[0]
        known = {**GLOBAL_KEYS, **GLOBAL_FAMILIES} if key.startswith("{") else QUEUE_KEYS
        assert name in known, f"{key} is no key of the schema"
        life = await store.command("test", "PTTL", key)
        assert (life != -1) == (name in MORTAL) or life == -2, f"{key} lives {life} ms"
    for queue in await store.queues():
        check_queue(await read_queue(store, queue))


async def read_queue(store: Store, queue: str) -> Keyspace:
    """All there is of a queue, in one round trip; fails when a key is not of the type that the schema names."""
    keys = {name: store.key(name, queue) for name in _KINDS}
    replies = await store.pipeline("test", keys["records"], *(_reading(keys[name], kind) for name, kind in _KINDS.items()))
    return {name: _read(name, kind, reply) for (name, kind), reply in zip(_KINDS.items(), replies, strict=True)}


def _reading(key: str, kind: str) -> tuple[Any, ...]:
    command, *rest = _READ[kind]
    return command, key, *rest


def _read(name: str, kind: str, reply: Any) -> Any:
    assert not isinstance(reply, Exception), f"{name}: {reply}"
    if kind == "hash":
        return dict(pairs(reply))
    return dict(score_pairs(reply)) if kind == "sorted" else reply


def check_queue(space: Keyspace) -> None:
    """Every task is in exactly one state, and all that hangs on tasks agrees with it; fails with what is wrong."""
    states = check_states(space)
    for check in (_check_nothing_left, _check_claims, _check_pasts, _check_ends, _check_batches):
        check(space, states)
    for look in (_check_leases, _check_labels, _check_uniques, _check_failures):
        look(space)


def check_states(space: Keyspace) -> dict[bytes, str]:
    states: dict[bytes, str] = {}
    for name in (*INDEXES, "running"):
        for task_id in space[name]:
            assert task_id not in states, f"{task_id!r} is {states[task_id]} and {name}"
            assert task_id in space["records"], f"{task_id!r} is {name} but has no record"
            states[task_id] = name
    assert set(states) == set(space["records"]), f"in no state: {set(space['records']) - set(states)}"
    return states


def _check_nothing_left(space: Keyspace, states: dict[bytes, str]) -> None:
    for name in BY_ID:
        left = set(space[name]) - set(states)
        assert not left, f"{name} holds {left} of forgotten tasks"
    for name in BY_NUMBER:
        left = {field for field in space[name] if field.rpartition(b":")[0] not in states}
        assert not left, f"{name} holds {left} of forgotten tasks"


def _check_claims(space: Keyspace, states: dict[bytes, str]) -> None:
    """A claim can be read, agrees with the task's past, and is the one that a cancellation is meant for."""
    for task_id, value in space["running"].items():
        claim = CLAIM.fullmatch(value)
        assert claim, f"the claim of {task_id!r} cannot be read: {value!r}"
        failed, crashes = _tries(space, task_id)
        assert (int(claim["attempt"]), int(claim["crashes"])) == (failed + 1, crashes), f"{task_id!r} is claimed as {value!r}"
        assert space["cancelling"].get(task_id, claim["lease"]) == claim["lease"], f"another lease is asked to cancel {task_id!r}"
    assert set(space["cancelling"]) <= set(space["running"]), "tasks are asked to cancel that do not run"


def _check_pasts(space: Keyspace, states: dict[bytes, str]) -> None:
    """Each attempt that counted is in the history, and no log is of one that never was."""
    counted = {task_id: sum(_tries(space, task_id)) for task_id in states}
    meant = {b"%b:%d" % (task_id, number) for task_id, count in counted.items() for number in range(1, count + 1)}
    assert set(space["history"]) == meant, f"the history is not that of the tries: {set(space['history']) ^ meant}"
    for field in space["logs"]:
        task_id, _, number = field.rpartition(b":")
        assert 1 <= int(number) <= counted[task_id] + 1, f"the log {field!r} is of no attempt"


def _tries(space: Keyspace, task_id: bytes) -> tuple[int, int]:
    past = TRIES.fullmatch(space["tries"].get(task_id, b"0|0"))
    assert past, f"the tries of {task_id!r} cannot be read"
    return int(past[1]), int(past[2])


def _check_ends(space: Keyspace, states: dict[bytes, str]) -> None:
    ended = {task_id for task_id, state in states.items() if state in ENDED}
    told = {task_id for task_id, state in states.items() if state in ("succeeded", "dead")}
    assert told <= set(space["outcomes"]) <= ended, "outcomes are not those of ended tasks"
    assert set(space["forgets"]) == ended & set(space["retains"]), "forgets are not the ended tasks with a retention of their own"
    well = {task_id for task_id, state in states.items() if state in ("succeeded", "cancelled", "expired")}
    assert not well & set(space["faults"]), "tasks are marked as failing that do not fail"


def _check_batches(space: Keyspace, states: dict[bytes, str]) -> None:
    """Each batch counts what it has, and what it had."""
    batches, batch_of = space["batches"], space["batch_of"]
    kept, alive = Counter(batch_of.values()), Counter(batch for task_id, batch in batch_of.items() if states[task_id] not in ENDED)
    now = Counter((batch, states[task_id]) for task_id, batch in batch_of.items())
    assert {field.partition(b"|")[0] for field in batches} == set(kept), "batches without tasks are kept, or the reverse"
    for batch, count in kept.items():
        numbers = {name: int(batches.get(batch + b"|" + name.encode(), 0)) for name in ("total", "kept", "removed", *ENDED)}
        assert numbers["kept"] == count, f"the batch {batch!r} keeps {count}: {numbers}"
        assert all(numbers[state] >= now[batch, state] for state in ENDED), f"the batch {batch!r} has more ended tasks than {numbers}"
        gone = sum(numbers[name] for name in ("removed", *ENDED))
        assert numbers["total"] == gone + alive[batch], f"the batch {batch!r} has {alive[batch]} living tasks: {numbers}"


def _check_leases(space: Keyspace) -> None:
    for name in ("holdings", "lengths"):
        assert set(space[name]) == set(space["leases"]), f"{name} are kept for other leases than those that exist"
    assert set(space["turns"]) <= set(space["leases"]), "turns are counted for leases that do not exist"
    assert len(space["wake"]) <= 1, "more than one token wakes idle workers"


def _check_labels(space: Keyspace) -> None:
    """The index says what the tasks say, no more and no less."""
    meant = {label + b"\0" + task_id for task_id, lines in space["labelled"].items() for label in lines.split(b"\n")}
    meant |= {b"f:" + print_ + b"\0" + task_id for task_id, print_ in space["faults"].items()}
    assert set(space["labels"]) == meant, "labels are not those of labelled and failing tasks"


def _check_uniques(space: Keyspace) -> None:
    ends, uniques, unique_of, records = (space[name] for name in ("unique_ends", "uniques", "unique_of", "records"))
    assert set(ends) <= set(uniques), f"keys have an end but no holder: {set(ends) - set(uniques)}"
    for key, held in uniques.items():
        holder = held.rpartition(b"|")[0]
        assert holder in records or key in ends, f"the unique key {key!r} is held by {holder!r}, which is forgotten"
        assert holder not in records or unique_of.get(holder) == key, f"{holder!r} does not know that it holds {key!r}"


def _check_failures(space: Keyspace) -> None:
    """A group of equal errors is a sample, a count and a time, or not there at all."""
    meant = {print_ + part for print_ in space["failing"] for part in (b"", b":count", b":first")}
    assert set(space["failures"]) == meant, "groups of equal errors are not those that have a last time"
