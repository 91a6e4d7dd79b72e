"""The key schema: every Redis key the product uses is built here.

A queue's keys share one hash tag, ``<namespace>:{<queue>}:<name>``, and those of no queue another,
``{<namespace>}:<name>``, so all keys of a script lie in one cluster slot.
A task is in exactly one of the state indexes; the index is the state, no second copy can disagree.
"""

from __future__ import annotations

QUEUE_KEYS: dict[str, str] = {
    # the record and what hangs on it
    "records": "hash id → packed record; never read by scripts; removed by prune",
    "outcomes": "hash id → packed outcome of finished tasks; removed by prune",
    "tries": "hash id → failed attempts|crashes; only tasks that failed or lost a worker; removed by prune",
    "history": "hash id:number → packed attempt; only those tasks; removed by prune",
    "progress": "hash id → packed progress; only tasks that reported; removed by prune",
    "logs": "hash id:number → text of an attempt's log, capped; removed by prune",
    "checkpoints": "hash id → what the handler saved between attempts; removed by prune",
    "unfit": "hash id → signatures of handlers that its payload does not fit; only tasks that met one; removed by prune",
    "faults": "hash id → fingerprint of the error a task fails with now; leaves with success or prune",
    "labels": "sorted set of label\\0id, all of score 0: t:tag, m:key=value, b:batch, f:fingerprint; removed by prune",
    "labelled": "hash id → its labels, one a line; only tasks that have some; removed by prune",
    "retains": "hash id → ms; only tasks with a retention of their own; removed by prune",
    "forgets": "sorted set id → when to forget; finished tasks of the above; removed by prune",
    # state indexes
    "pending": "sorted set id → ready ms − priority × head start; state pending",
    "unroutable": "sorted set id → arrival number; state pending, but no worker so far knows the name",
    "scheduled": "sorted set id → due ms + priority/16; state scheduled",
    "retrying": "sorted set id → due ms + priority/16; state retrying",
    "running": "hash id → lease|start or prefetched|attempt|crashes|claimed ms|score; state running",
    "succeeded": "sorted set id → finish ms; bounded by retention",
    "dead": "sorted set id → finish ms; bounded by retention",
    "cancelled": "sorted set id → finish ms; bounded by retention",
    "expired": "sorted set id → finish ms; bounded by retention",
    # leases and signals
    "leases": "sorted set lease → expiry ms; one per live worker session",
    "lengths": "hash lease → how long it lasts, ms; as above",
    "holdings": "hash lease → how many tasks it holds; compared by the holder at each call",
    "turns": "hash lease → number of its last call that was done; one that comes again settles nothing",
    "patrols": "hash last_ms, hold_until_ms (when the reaper last looked), held (how many tasks were ever held); three fields",
    "cancelling": "hash id → lease: running tasks asked to cancel; removed when the task leaves running",
    "expiries": "sorted set id → expiry ms; only tasks with expires_in; removed when due or pruned",
    # what tasks share
    "uniques": "hash unique key → id|a or t; taken by submit, free when its holder ended or its time is up; removed by prune",
    "unique_of": "hash id → unique key; removed by prune",
    "unique_ends": "sorted set unique key → when it is free; removed by promote",
    "batch_of": "hash id → batch; removed by prune",
    "batches": "hash batch|total, batch|kept, batch|state … → count; removed with the last task of the batch",
    "failures": "hash fingerprint → sample, fingerprint:count, fingerprint:first; at most 1,000 groups",
    "failing": "sorted set fingerprint → last time; at most 1,000",
    "settings": "hash paused, max_length; a field each",
    "stats": "hash m<minute>:series → count for three hours, h<hour>:series for a week; trimmed",
    "watched": "string that watchers of events keep alive; lives 10 s",
    "events": "stream of what, count, ids; at most about 2,000 entries, written only while watched",
    "durable": "string written after a write that is waited for; lives 10 s",
    "wake": "list of at most one token that idle workers block on",
}
"""Name → type, what it holds, its bound or life."""

GLOBAL_KEYS: dict[str, str] = {
    "queues": "hash queue → route number; grows by one per queue ever used, at most 65,535",
    "workers": "hash worker → JSON of its last beat; removed at exit or after a long silence",
    "beats": "sorted set worker → time of its last beat; removed with the above",
    "orders": "hash worker → quiet, resume or stop; taken by its next beat",
    "handlers": "hash task → JSON of its description; forgotten when nobody names it for long",
    "handler_times": "sorted set task → when it was last named; as above",
    "operations": "hash id → JSON of a bulk operation; at most 200",
    "operating": "set of operations that have not ended",
    "operators": "hash operation → process|until ms that works on it; removed with the operation",
    "audit": "stream of who did what; at most about 1,000 entries",
    "secret": "string that signs cursors; made once",
    "alive": "string that readiness writes; lives 10 s",
}

GLOBAL_FAMILIES: dict[str, str] = {
    "idempotency": "string per idempotency key: what was answered; lives 24 h",
}
"""Keys of which there is one for each of something: the name, a colon, what."""


class QueueKeys:
    """The keys of one queue."""

    def __init__(self, namespace: str, queue: str) -> None:
        self._stem = f"{namespace}:{{{queue}}}:"

    def key(self, name: str) -> str:
        """The Redis key of this name in the table above. Raises KeyError for any other name."""
        if name not in QUEUE_KEYS:
            raise KeyError(name)
        return self._stem + name


def global_key(namespace: str, name: str) -> str:
    """A key that belongs to no queue. Raises KeyError for a name not in the table above."""
    if name not in GLOBAL_KEYS and name.partition(":")[0] not in GLOBAL_FAMILIES:
        raise KeyError(name)
    return f"{{{namespace}}}:{name}"
