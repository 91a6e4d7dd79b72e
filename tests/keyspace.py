"""Checks the invariants of the whole keyspace of a store."""

from __future__ import annotations

from typing import Any

from _taskqueue.store.keys import GLOBAL_KEYS, QUEUE_KEYS
from _taskqueue.store.store import Store

INDEXES = ("pending", "unroutable", "scheduled", "retrying", "succeeded", "dead", "cancelled", "expired")


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
    for key in await every_key(store):
        known = GLOBAL_KEYS if key.startswith("{") else QUEUE_KEYS
        assert key.rpartition(":")[2] in known, f"{key} is no key of the schema"
    for queue in await store.queues():
        await _check_queue(store, queue)


async def _check_queue(store: Store, queue: str) -> None:
    client: Any = store._client
    records = set(await client.execute_command("HKEYS", store.key("records", queue)))
    seen: dict[bytes, str] = {}
    for name in (*INDEXES, "running"):
        command = ("HKEYS", store.key(name, queue)) if name == "running" else ("ZRANGE", store.key(name, queue), 0, -1)
        for task_id in await client.execute_command(*command):
            assert task_id not in seen, f"{task_id!r} is {seen[task_id]} and {name}"
            assert task_id in records, f"{task_id!r} is {name} but has no record"
            seen[task_id] = name
    assert set(seen) == records, f"in no state: {records - set(seen)}"
    for name in ("outcomes", "tries", "progress", "checkpoints", "cancelling"):
        left = set(await client.execute_command("HKEYS", store.key(name, queue)))
        assert left <= records, f"{name} holds {left - records} of forgotten tasks"
