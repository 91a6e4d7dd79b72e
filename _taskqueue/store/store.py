"""The store: one method per verb. Only scripts change a task's state; everything here is safe to call twice.

Every method raises StoreUnavailable when Redis is out of reach or not ready (the outcome is then unknown) and StoreFull
when it refuses to grow; other errors of Redis are defects and pass through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError

from _taskqueue.domain import ids
from _taskqueue.domain.errors import StoreUnavailable, StoreUnsuitable, UsageError
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Attempt, Claim, Outcome, Progress, Record, Submission
from _taskqueue.metrics import Metrics
from _taskqueue.store import faults, wire
from _taskqueue.store.connect import BLOCK_S, Client, Connector
from _taskqueue.store.keys import QueueKeys, global_key
from _taskqueue.store.scripts import Script, load_scripts

CLAIM_MAX = 500
SUBMIT_MAX = 1_000
"""Tasks a call; Lua's unpack takes at most about 8,000 values."""
CLAIM_BYTES_MAX = 8 * 1024 * 1024
ATTEMPTS_SHOWN_MAX = 50
PAGE = 500
WORKER_SILENT_MS = 600_000
"""A worker that did not beat for this long is forgotten."""
VERSION_MIN = (6, 2)

_TERMS = [str(priority) for priority in range(10)]


@dataclass(slots=True)
class Exchange:
    """What a worker tells the store in one call, and what it asks for."""

    limit: int
    slots: int
    """how many of the claimed start at once; the rest is prefetched"""
    succeeded: list[Any] = field(default_factory=list)
    """id, packed outcome, id, packed outcome, …"""
    reports: list[Any] = field(default_factory=list)
    """verb, id, number, text, text, … for everything else"""


@dataclass(slots=True)
class Answer:
    """What the store answers to an Exchange."""

    now_ms: int
    due_in_ms: int
    """-1: nothing waits for its time"""
    holding: int
    newest_unroutable: int
    late_ms: int
    refused: list[bytes]
    cancel: list[bytes]
    claims: list[Claim]
    missing: list[bytes]


@dataclass(frozen=True, slots=True)
class Held:
    """A running task as its index shows it."""

    id: bytes
    value: bytes
    lease: str
    started: bool
    attempt: int
    crashes: int
    claimed_ms: int

    @property
    def worker(self) -> str:
        """The process that holds it: a lease is the worker's name, a slash and its secret."""
        return self.lease.rpartition("/")[0]

    @classmethod
    def read(cls, task_id: bytes, value: bytes) -> Held:
        lease, flag, attempt, crashes, claimed, _ = value.decode().split("|")
        return cls(task_id, value, lease, flag == "s", int(attempt), int(crashes), int(claimed))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task whose worker was lost."""

    held: Held
    verdict: str
    """pending, retry or dead"""
    delay_ms: int
    priority: int
    attempt: Attempt
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """All there is about one task at one moment."""

    id: str
    queue: str
    now_ms: int
    state: State
    record: Record
    score: float | None
    held: Held | None
    failed_attempts: int
    crashes: int
    outcome: Outcome | None
    progress: Progress | None
    cancel_asked: bool
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Count:
    """How many tasks of a queue are in which state."""

    queue: str
    now_ms: int
    states: dict[str, int]
    unroutable: int
    workers: int
    next_score: float | None
    next_record: Record | None


def pack_number(delay_ms: int, priority: int) -> int:
    """A delay and a priority in the one number that the scripts take."""
    return delay_ms * 16 + priority


class Store:
    """The queue's state in Redis, for one namespace.

    Args:
        lease_ms: how long a lease lasts without renewal.
        head_start_ms: head start of each priority level.
    """

    def __init__(
        self, connector: Connector, metrics: Metrics, *, namespace: str, lease_ms: int = 30_000, head_start_ms: int = 60_000
    ) -> None:
        self.connector = connector
        self.namespace = namespace
        self.lease_ms = lease_ms
        self.head_start_ms = head_start_ms
        self._metrics = metrics
        self._client = connector.client()
        self._scripts = load_scripts()
        self._calls: dict[tuple[str, str, str], tuple[Script, list[str]]] = {}
        self._timers: dict[str, Any] = {}
        self._routes: dict[str, int] = {}
        self._queues: dict[int, str] = {}
        self._queues_read_at = -math.inf

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    # -- the connection ---------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """See that the store can be used.

        Raises:
            StoreUnsuitable: older than 6.2, evicts keys, or refuses what the scripts need.
            StoreUnavailable: no answer, or still loading.
        """
        if self.connector.in_memory:
            return
        info = await self._command("check", "INFO")
        fields = _read_info(info)
        version = str(fields.get("redis_version", "0"))
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < VERSION_MIN:
            raise StoreUnsuitable(f"the Redis at {self.connector.shown} is version {version}; 6.2 or newer is needed")
        policy = fields.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreUnsuitable(
                f"the Redis at {self.connector.shown} may evict keys (maxmemory-policy {policy}), so tasks could vanish; "
                "run: redis-cli config set maxmemory-policy noeviction"
            )

    async def ping(self) -> None:
        """Prove that the store takes writes (PING alone is fine in a wedged Redis)."""
        await self._command("ping", "SET", global_key(self.namespace, "alive"), "1", "PX", "10000")

    async def _command(self, op: str, *args: Any) -> Any:
        began = time.perf_counter()
        try:
            return await self._client.execute_command(*args)
        except NoScriptError:
            raise
        except NoPermissionError as error:
            raise StoreUnsuitable(f"the Redis user lacks a permission: {error}") from None
        except Exception as error:
            raise self.translated(error) from error
        finally:
            timer = self._timers.get(op)
            if timer is None:
                timer = self._timers[op] = self._metrics.redis_command_seconds.labels(op)
            timer.observe(time.perf_counter() - began)

    def translated(self, error: Exception) -> Exception:
        """The product's own error for one of redis-py; counts it."""
        self._metrics.redis_errors.labels(faults.kind_of(error)).inc()
        return faults.translate(error) or error

    async def _run(self, verb: str, queue: str, *args: Any, index: str = "") -> Any:
        script, keys = self.bound(verb, queue, index)
        try:
            return await self._command(verb, "EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:  # first use, or the server was restarted or flushed; EVAL also caches it
            return await self._command(verb, "EVAL", script.source, len(keys), *keys, *args)

    def bound(self, verb: str, queue: str = "", index: str = "") -> tuple[Script, list[str]]:
        """A script with its keys, for a queue or (without one) for the whole namespace."""
        found = self._calls.get((verb, queue, index))
        if found is None:
            script = self._scripts[verb]
            found = self._calls[verb, queue, index] = script, [self._key(name, queue, index) for name in script.keys]
        return found

    def _key(self, name: str, queue: str, index: str = "") -> str:
        if not queue:
            return global_key(self.namespace, name)
        return QueueKeys(self.namespace, queue).key(index if name == "index" else name)

    # -- queues -----------------------------------------------------------------------------------------------------

    async def route(self, queue: str) -> int:
        """The queue's route number; the queue is registered when it is new."""
        known = self._routes.get(queue)
        if known is not None:
            return known
        number = int(await self._run("register", "", queue, ids.ROUTES_MAX))
        if number < 0:
            raise UsageError(f"no more than {ids.ROUTES_MAX - 1} queues can exist")
        self._routes[queue], self._queues[number] = number, queue
        return number

    async def queues(self, max_age_s: float = 0.0) -> list[str]:
        """Every queue ever used, by name; from memory when it was read less than ``max_age_s`` ago."""
        if time.monotonic() - self._queues_read_at >= max_age_s:
            self._queues_read_at = time.monotonic()
            for name, number in _pairs(await self._command("queues", "HGETALL", global_key(self.namespace, "queues"))):
                self._routes[name.decode()], self._queues[int(number)] = int(number), name.decode()
        return sorted(self._routes)

    async def queue_of(self, task_id: str) -> str | None:
        """The queue that a task id names, or None when it names none."""
        number = ids.route_of(task_id)
        if number is None:
            return None
        if number not in self._queues:
            await self.queues()
        return self._queues.get(number)

    # -- producing --------------------------------------------------------------------------------------------------

    async def submit(self, queue: str, batch: Sequence[tuple[str, Submission]]) -> int:
        """Accept up to SUBMIT_MAX new tasks of one queue; gives how many were new."""
        args: list[Any] = [self.head_start_ms]
        for task_id, submission in batch:
            args += (task_id, wire.encode(submission.record), _terms(submission))
        fresh, _ = await self._run("submit", queue, *args)
        return int(fresh)

    async def cancel(self, queue: str, task_id: str) -> State | None:
        """Cancel at once, or ask a running task to; gives the state it was in, None when unknown."""
        was = await self._run("cancel", queue, task_id)
        return State(was.decode()) if was else None

    async def inspect(self, queue: str, task_id: str) -> Sight | None:
        """Read one task; None when it is unknown."""
        found = await self._run("inspect", queue, task_id, ATTEMPTS_SHOWN_MAX)
        return _read_sight(task_id, queue, found) if found else None

    async def count(self, queue: str) -> Count:
        """Count a queue by state."""
        now, scheduled, pending, unroutable, running, retrying, *rest = await self._run("count", queue)
        succeeded, dead, cancelled, expired, workers, score, record = rest
        states = {
            "scheduled": scheduled, "blocked": 0, "pending": pending + unroutable, "running": running, "retrying": retrying,
            "succeeded": succeeded, "dead": dead, "cancelled": cancelled, "expired": expired,
        }  # fmt: skip
        head = wire.decode_record(record) if record else None
        return Count(queue, now, states, unroutable, workers, float(score) if score else None, head)

    # -- working ----------------------------------------------------------------------------------------------------

    async def open_lease(self, queue: str, lease: str) -> None:
        """Start a worker session on a queue."""
        await self._run("open", queue, lease, self.lease_ms)

    async def settle_and_claim(self, queue: str, lease: str, exchange: Exchange) -> Answer | None:
        """Settle, promote, claim; None when the lease is gone and nothing was done."""
        reply = await self._run(
            "settle_and_claim", queue, lease, self.lease_ms, self.head_start_ms, exchange.limit, exchange.slots,
            CLAIM_BYTES_MAX, len(exchange.succeeded) // 2, *exchange.succeeded, *exchange.reports,
        )  # fmt: skip
        return self._read_answer(queue, lease, reply) if reply else None

    def _read_answer(self, queue: str, lease: str, reply: list[Any]) -> Answer:
        now, due_in, holding, newest, late, refused, cancel, flat, pasts, missing = reply
        head_start, decode = self.head_start_ms, wire.decode_record
        claims = []
        for task_id, score, body in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            record = decode(body)
            claims.append(Claim(task_id, record, int(score) + record.priority * head_start, 1, 0, lease, queue))
        for at, tries, checkpoint in zip(pasts[::3], pasts[1::3], pasts[2::3], strict=True):
            failed, crashes = tries.split(b"|")
            claim = claims[at]
            claim.attempt, claim.crashes, claim.checkpoint = int(failed) + 1, int(crashes), checkpoint or None
        return Answer(now, due_in, holding, newest, late, refused, cancel, claims, missing)

    async def release(self, queue: str, lease: str, ids: Iterable[bytes], *, holding: int = 0, close: bool = False) -> int:
        """Give tasks back to where they stood, at no cost to them; -1 when the lease is gone."""
        return int(await self._run("release", queue, lease, int(close), holding, *ids))

    async def held_by(self, queue: str, lease: str) -> list[Held]:
        """Everything the store thinks this lease holds."""
        cursor, found = 0, []
        while True:
            cursor, page = await self.running(queue, cursor)
            found += [held for held in page if held.lease == lease]
            if not cursor:
                return found

    async def running(self, queue: str, cursor: int) -> tuple[int, list[Held]]:
        """A page of running tasks; a cursor of 0 begins and ends the walk."""
        cursor, flat = await self._command("running", "HSCAN", self._key("running", queue), cursor, "COUNT", PAGE)
        return int(cursor), [Held.read(task_id, value) for task_id, value in _pairs(flat)]

    async def wait_for_token(self, client: Client, queue: str) -> bool:
        """Block on a connection of its own until a task may be there; False after BLOCK_S without one."""
        try:
            return await client.execute_command("BLPOP", self._key("wake", queue), BLOCK_S) is not None
        except Exception as error:
            raise self.translated(error) from error

    async def unroutable(self, queue: str, after: int) -> list[tuple[bytes, int, Record]]:
        """A page of held tasks that came after this arrival number: id, number, record."""
        index = self._key("unroutable", queue)
        flat = await self._command("unroutable", "ZRANGE", index, f"({after}", "+inf", "BYSCORE", "LIMIT", 0, PAGE, "WITHSCORES")
        numbered = _score_pairs(flat)
        records = await self.records(queue, [task_id for task_id, _ in numbered])
        return [(task_id, int(number), record) for (task_id, number), record in zip(numbered, records, strict=True) if record is not None]

    async def adopt(self, queue: str, tasks: Iterable[tuple[bytes, Record]]) -> int:
        """Make held tasks pending again, in the order they would have had."""
        args: list[Any] = []
        for task_id, record in tasks:
            args += (task_id, record.created_ms - record.priority * self.head_start_ms)
        return int(await self._run("adopt", queue, *args))

    # -- upkeep -----------------------------------------------------------------------------------------------------

    async def promote(self, queue: str) -> tuple[int, int, int, int]:
        """Gives: promoted, worst lateness ms, expired, ms to the next due task or -1."""
        promoted, late, expired, due_in = await self._run("promote", queue, self.head_start_ms, PAGE)
        return promoted, late, expired, due_in

    async def patrol(self, queue: str, pause_ms: int) -> list[str]:
        """Leases that have run out, unless everybody was away for longer than ``pause_ms``."""
        return [lease.decode() for lease in await self._run("patrol", queue, self.lease_ms, pause_ms, 100)]

    async def live_leases(self, queue: str) -> set[str]:
        """Leases that exist, run out or not."""
        return {lease.decode() for lease in await self._command("leases", "ZRANGE", self._key("leases", queue), 0, -1)}

    async def records(self, queue: str, ids: Sequence[bytes]) -> list[Record | None]:
        """The records of these tasks, in order; None where there is none."""
        if not ids:
            return []
        bodies = await self._command("records", "HMGET", self._key("records", queue), *ids)
        return [wire.decode_record(body) if body else None for body in bodies]

    async def reap(self, queue: str, lease: str, verdicts: Iterable[Verdict]) -> int:
        """End an expired lease and take these tasks back; -1 when the lease lives after all."""
        args: list[Any] = []
        for one in verdicts:
            outcome = wire.encode(one.outcome) if one.outcome else b""
            number = pack_number(one.delay_ms, one.priority)
            args += (one.held.id, one.held.value, one.verdict, number, wire.encode(one.attempt), outcome)
        return int(await self._run("reap", queue, lease, *args))

    async def prune(self, queue: str, state: State, *, age_s: float, keep: int) -> int:
        """Forget up to PAGE finished tasks beyond an age or a count."""
        return int(await self._run("prune", queue, int(age_s * 1000), keep, PAGE, index=state.value))

    # -- workers ----------------------------------------------------------------------------------------------------

    async def muster(self) -> tuple[int, int]:
        """How many worker processes live, and how many fell silent."""
        live, silent = await self._run("muster", "", self.lease_ms)
        return live, silent

    async def forget_worker(self, worker: str) -> None:
        """Remove the beat of a worker that ends in order."""
        await self._command("workers", "HDEL", global_key(self.namespace, "workers"), worker)
        await self._command("workers", "ZREM", global_key(self.namespace, "beats"), worker)


class BeatStore:
    """What the heartbeat thread does, on a blocking connection of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = store.connector.thread_client()

    def renew(self, queue: str, lease: str) -> bool:
        """Extend a lease; False when it is gone. Raises StoreError."""
        return bool(self._run("renew", queue, lease, self._store.lease_ms))

    def beat(self, worker: str, text: bytes) -> None:
        """Tell everybody that this worker lives. Raises StoreError."""
        self._run("beat", "", worker, text, WORKER_SILENT_MS)

    def _run(self, verb: str, queue: str, *args: Any) -> Any:
        script, keys = self._store.bound(verb, queue)
        try:
            try:
                return self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:
                return self._client.execute_command("EVAL", script.source, len(keys), *keys, *args)
        except Exception as error:
            raise self._store.translated(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _terms(submission: Submission) -> str:
    """The waiting terms as the submit script reads them; the common case is the priority alone."""
    priority = submission.record.priority
    if not submission.delay_ms and submission.run_at_ms is None and submission.expires_in_ms is None:
        return _TERMS[priority]
    run_at = "" if submission.run_at_ms is None else submission.run_at_ms
    expires = "" if submission.expires_in_ms is None else submission.expires_in_ms
    return f"{priority};{submission.delay_ms or ''};{run_at};{expires}"


def _pairs(flat: Any) -> Iterable[tuple[bytes, bytes]]:
    """Field and value, from the flat shape of RESP2 or the map of RESP3."""
    return flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)


def _score_pairs(flat: list[Any]) -> list[tuple[bytes, float]]:
    """Members with scores, from the flat shape of RESP2 or the nested one of RESP3."""
    if flat and isinstance(flat[0], (list, tuple)):
        return [(member, float(score)) for member, score in flat]
    return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]


def _read_info(info: Any) -> dict[str, Any]:
    if isinstance(info, dict):
        nested = [value for value in info.values() if isinstance(value, dict)]
        return nested[0] if nested and "redis_version" in nested[0] else info  # a cluster answers by node
    lines = (line.partition(":") for line in info.decode().splitlines())
    return {key: value.strip() for key, _, value in lines}


def _read_sight(task_id: str, queue: str, found: list[Any]) -> Sight:
    now, record, state, score, claim, tries, outcome, progress, asked, attempts = found
    if not state:
        raise StoreUnavailable(f"{task_id} has a record but is in no state; it is being repaired")
    failed, crashes = (int(part) for part in tries.split(b"|")) if tries else (0, 0)
    return Sight(
        id=task_id,
        queue=queue,
        now_ms=now,
        state=State(state.decode()),
        record=wire.decode_record(record),
        score=float(score) if score else None,
        held=Held.read(task_id.encode(), claim) if claim else None,
        failed_attempts=failed,
        crashes=crashes,
        outcome=wire.decode_outcome(outcome) if outcome else None,
        progress=wire.decode_progress(progress) if progress else None,
        cancel_asked=bool(asked),
        attempts=[wire.decode_attempt(entry) for entry in attempts if entry],
    )
