"""Checks the invariants of the whole keyspace of a store."""

from __future__ import annotations

from collections import Counter
from typing import Any

from _taskqueue.store.keys import GLOBAL_FAMILIES, GLOBAL_KEYS, QUEUE_KEYS
from _taskqueue.store.store import Store

INDEXES = ("pending", "unroutable", "scheduled", "retrying", "succeeded", "dead", "cancelled", "expired")
ENDED = ("succeeded", "dead", "cancelled", "expired")
BY_ID = ("outcomes", "tries", "progress", "checkpoints", "cancelling", "labelled", "faults", "unique_of", "batch_of", "retains")
"""Hashes whose fields are ids of tasks."""
BY_NUMBER = ("history", "logs")
"""Hashes whose fields are ids with the number of an attempt."""
MORTAL = ("watched", "alive", *GLOBAL_FAMILIES)
"""Keys that must have a time to live."""


async def every_key(store: Store) -> set[str]:
    """All keys of the store's namespace."""
    client: Any = store._client
    return {
        key.decode()
        for pattern in (f"{store.namespace}:*", f"{{{store.namespace}}}:*")
        for key in await client.execute_command("KEYS", pattern)
    }


async def check_keyspace(store: Store) -> None:
    """Every key is in the schema, and every task is in exactly one state; fails with what is wrong."""
    client: Any = store._client
    for key in await every_key(store):
        name = key.partition("}:")[2].partition(":")[0]
        known = {**GLOBAL_KEYS, **GLOBAL_FAMILIES} if key.startswith("{") else QUEUE_KEYS
        assert name in known, f"{key} is no key of the schema"
        if name in MORTAL:
            assert await client.execute_command("PTTL", key) != -1, f"{key} never ends"
    for queue in await store.queues():
        await _check_queue(store, queue)


async def _check_queue(store: Store, queue: str) -> None:
    records = set(await _names(store, queue, "records"))
    states: dict[bytes, str] = {}
    for name in (*INDEXES, "running"):
        for task_id in await _names(store, queue, name):
            assert task_id not in states, f"{task_id!r} is {states[task_id]} and {name}"
            assert task_id in records, f"{task_id!r} is {name} but has no record"
            states[task_id] = name
    assert set(states) == records, f"in no state: {records - set(states)}"
    await _check_nothing_left(store, queue, records)
    await _check_labels(store, queue)
    await _check_uniques(store, queue, records)
    await _check_batches(store, queue, states)
    ended = {task_id for task_id, state in states.items() if state in ENDED}
    kept = set(await _hash(store, queue, "retains"))
    assert set(await _names(store, queue, "forgets")) == ended & kept, "forgets are not the ended tasks with a retention of their own"
    running = {task_id for task_id, state in states.items() if state == "running"}
    assert set(await _names(store, queue, "cancelling")) <= running, "tasks are asked to cancel that do not run"


async def _check_nothing_left(store: Store, queue: str, records: set[bytes]) -> None:
    for name in (*BY_ID, "expiries", "forgets"):
        left = set(await _names(store, queue, name)) - records
        assert not left, f"{name} holds {left} of forgotten tasks"
    for name in BY_NUMBER:
        left = {field for field in await _names(store, queue, name) if field.rpartition(b":")[0] not in records}
        assert not left, f"{name} holds {left} of forgotten tasks"


async def _check_labels(store: Store, queue: str) -> None:
    """The index says what the tasks say, no more and no less."""
    labelled, faults = await _hash(store, queue, "labelled"), await _hash(store, queue, "faults")
    meant = {label + b"\0" + task_id for task_id, lines in labelled.items() for label in lines.split(b"\n")}
    meant |= {b"f:" + print_ + b"\0" + task_id for task_id, print_ in faults.items()}
    assert set(await _names(store, queue, "labels")) == meant, "labels are not those of labelled and failing tasks"


async def _check_uniques(store: Store, queue: str, records: set[bytes]) -> None:
    ends = set(await _names(store, queue, "unique_ends"))
    uniques, unique_of = await _hash(store, queue, "uniques"), await _hash(store, queue, "unique_of")
    assert ends <= set(uniques), f"keys have an end but no holder: {ends - set(uniques)}"
    for key, held in uniques.items():
        holder = held.rpartition(b"|")[0]
        assert holder in records or key in ends, f"the unique key {key!r} is held by {holder!r}, which is forgotten"
        assert holder not in records or unique_of.get(holder) == key, f"{holder!r} does not know that it holds {key!r}"


async def _check_batches(store: Store, queue: str, states: dict[bytes, str]) -> None:
    """Each batch counts what it has, and what it had."""
    batches, batch_of = await _hash(store, queue, "batches"), await _hash(store, queue, "batch_of")
    kept, alive = Counter(batch_of.values()), Counter(batch for task_id, batch in batch_of.items() if states[task_id] not in ENDED)
    now = Counter((batch, states[task_id]) for task_id, batch in batch_of.items())
    assert {field.partition(b"|")[0] for field in batches} == set(kept), "batches without tasks are kept, or the reverse"
    for batch, count in kept.items():
        numbers = {name: int(batches.get(batch + b"|" + name.encode(), 0)) for name in ("total", "kept", "removed", *ENDED)}
        assert numbers["kept"] == count, f"the batch {batch!r} keeps {count}: {numbers}"
        assert all(numbers[state] >= now[batch, state] for state in ENDED), f"the batch {batch!r} has more ended tasks than {numbers}"
        gone = sum(numbers[name] for name in ("removed", *ENDED))
        assert numbers["total"] == gone + alive[batch], f"the batch {batch!r} has {alive[batch]} living tasks: {numbers}"


async def _names(store: Store, queue: str, name: str) -> list[bytes]:
    """The members of a sorted set, or the fields of a hash."""
    client: Any = store._client
    key = store.key(name, queue)
    kind = await client.execute_command("TYPE", key)
    if kind in (b"zset", "zset"):
        return list(await client.execute_command("ZRANGE", key, 0, -1))
    return list(await client.execute_command("HKEYS", key))


async def _hash(store: Store, queue: str, name: str) -> dict[bytes, bytes]:
    client: Any = store._client
    found = await client.execute_command("HGETALL", store.key(name, queue))
    return dict(found) if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
