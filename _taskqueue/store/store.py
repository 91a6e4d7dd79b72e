"""The store: one method per verb. Only scripts change a task's state; everything here is safe to call twice."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from _taskqueue.domain import ids
from _taskqueue.domain.beat import Beat, read_beat
from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import UsageError
from _taskqueue.domain.states import State
from _taskqueue.domain.task import MAX_CRASHES_DEFAULT, Claim, Outcome, Record, Submission
from _taskqueue.metrics import Metrics
from _taskqueue.store import wire
from _taskqueue.store.answers import (
    Answer,
    Count,
    Denial,
    Exchange,
    Held,
    Sight,
    Verdict,
    pack_number,
    pairs,
    read_count,
    read_denials,
    read_sight,
    score_pairs,
)
from _taskqueue.store.connect import BLOCK_S, Client, Connector
from _taskqueue.store.direct import DirectClient
from _taskqueue.store.durable import DurableCalls

CLAIM_MAX = 200
SUBMIT_MAX = 1_000
"""Tasks a call; Lua's unpack takes at most about 8,000 values."""
CLAIM_BYTES_MAX = 4 * 1024 * 1024
ATTEMPTS_SHOWN_MAX = 50
PAGE = 500
SEEK_PAGE = 100
"""Records are read with their payloads."""
MINUTES_KEPT, HOURS_KEPT = 180, 168
"""Statistics: three hours by the minute, a week by the hour."""

_TERMS = [str(priority) for priority in range(10)]


class Store(DurableCalls):
    """The queue's state in Redis, for one namespace."""

    def __init__(
        self,
        connector: Connector,
        metrics: Metrics,
        *,
        namespace: str,
        lease_ms: int = 30_000,
        head_start_ms: int = 60_000,
        max_crashes: int = MAX_CRASHES_DEFAULT,
    ) -> None:
        super().__init__(
            connector, metrics, namespace=namespace, lease_ms=lease_ms, head_start_ms=head_start_ms, max_crashes=max_crashes
        )  # fmt: skip
        self._routes: dict[str, int] = {}
        self._queues: dict[int, str] = {}
        self._queues_read_at = -math.inf

    # -- queues -----------------------------------------------------------------------------------------------------

    async def route(self, queue: str) -> int:
        """The queue's route number; the queue is registered when it is new."""
        known = self._routes.get(queue)
        if known is not None:
            return known
        number = int(await self.run("register", "", queue, ids.ROUTES_MAX))
        if number < 0:
            raise UsageError(f"no more than {ids.ROUTES_MAX - 1} queues can exist")
        self._routes[queue], self._queues[number] = number, queue
        return number

    async def queues(self, max_age_s: float = 0.0) -> list[str]:
        """Every queue ever used, by name; from memory when it was read less than ``max_age_s`` ago."""
        if time.monotonic() - self._queues_read_at >= max_age_s:
            self._queues_read_at = time.monotonic()
            before = set(self._routes)
            read = pairs(await self.command("queues", "HGETALL", self.key("queues")))
            found = {name.decode(): int(number) for name, number in read}
            for name in before - found.keys():  # it vanished and is registered anew; what was registered meanwhile stays
                self._queues.pop(self._routes.pop(name, -1), None)
            self._routes.update(found)  # in place, since a twin shares it
            self._queues.update((number, name) for name, number in found.items())
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

    async def submit(
        self, queue: str, batch: Sequence[tuple[str, Submission]], level: Durability = Durability.PRIMARY
    ) -> dict[str, Denial]:
        """Accept up to SUBMIT_MAX new tasks of one queue; gives those that were not accepted. Ids known before are fine."""
        plain: list[Any] = []
        rich: list[Any] = []
        for task_id, submission in batch:
            record = wire.encode(submission.record)
            if is_plain(submission):
                plain += (task_id, record, _terms(submission))
            else:
                rich += (task_id, record, _terms(submission), *_extras(submission))
        now, _, _, *denied = await self.run_durably(level, "submit", queue, self.head_start_ms, len(plain) // 3, *plain, *rich)
        self.clock.note(now)
        return read_denials(denied)

    async def cancel(self, queue: str, *ids: str) -> list[State | None]:
        """Cancel at once, or ask running tasks to; gives the states they were in, None for unknown ones."""
        return _states(await self.run("cancel", queue, *ids))

    async def inspect(self, queue: str, task_id: str) -> Sight | None:
        """Read one task; None when it is unknown."""
        found = await self.run("inspect", queue, task_id, ATTEMPTS_SHOWN_MAX)
        return read_sight(task_id, queue, found) if found else None

    async def count(self, queue: str) -> Count:
        """Count a queue by state."""
        found = read_count(queue, await self.run("count", queue, wire.CUT_BYTES))
        self.clock.note(found.now_ms)
        return found

    # -- working ----------------------------------------------------------------------------------------------------

    async def open_lease(self, queue: str, lease: str) -> None:
        """Start a worker session on a queue."""
        await self.run("open", queue, lease, self.lease_ms)

    async def settle_and_claim(self, queue: str, lease: str, exchange: Exchange) -> Answer | None:
        """Settle, promote, claim; None when the lease is gone and nothing was done."""
        reply = await self.run("settle_and_claim", queue, *self._words(lease, exchange))
        return self._read_answer(queue, lease, reply) if reply else None

    async def wait_and_claim(self, client: Client, queue: str, lease: str, exchange: Exchange) -> Answer | None:
        """Block until a task may be there, at most BLOCK_S, and claim.

        The claim waits at the server behind the wake-up, so a task that comes is claimed without a further round trip:
        what a blocked client has sent is done when it is unblocked (processInputBuffer in networking.c, of Redis and
        Valkey alike). It may arrive late, so it settles nothing and has no turn.

        Returns:
            None when the caller should claim by itself: the lease is gone, the server was restarted, or it is a Cluster
            or in memory, whose clients cannot send behind a call that blocks.
        """
        wait = ("BLPOP", self.key("wake", queue), BLOCK_S)
        script, keys = self.bound("settle_and_claim", queue)
        try:
            if not isinstance(client, DirectClient):
                await client.execute_command(*wait)
                return None
            _, reply = await client.execute_together(wait, ("EVALSHA", script.sha, len(keys), *keys, *self._words(lease, exchange)))
        except Exception as error:
            raise self.translated(error) from error
        if isinstance(reply, Exception) and not isinstance(reply, NoScriptError):
            raise self.translated(reply) from reply
        return self._read_answer(queue, lease, reply) if isinstance(reply, list) else None

    def _words(self, lease: str, exchange: Exchange) -> tuple[Any, ...]:
        return (
            lease, exchange.turn, self.lease_ms, self.head_start_ms, exchange.limit, exchange.slots, CLAIM_BYTES_MAX,
            self.max_crashes - 1, len(exchange.succeeded) // 2, *exchange.succeeded, *exchange.reports,
        )  # fmt: skip

    def _read_answer(self, queue: str, lease: str, reply: list[Any]) -> Answer:
        now, due_in, holding, newest, late, refused, cancel, paused, flat, pasts, missing = reply
        head_start, decode = self.head_start_ms, wire.decode_record
        self.clock.note(now)
        claims, suspects = [], []
        for task_id, score, body in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            record = decode(body)
            claims.append(Claim(task_id, record, int(score) + record.priority * head_start, 1, 0, lease, queue))
        for at, tries, checkpoint in zip(pasts[::3], pasts[1::3], pasts[2::3], strict=True):
            failed, crashes = tries.split(b"|")
            claim = claims[at]
            claim.attempt, claim.crashes, claim.checkpoint = int(failed) + 1, int(crashes), checkpoint or None
            if 0 < claim.crashes >= self.max_crashes - 1:
                suspects.append(claim)
        if suspects:
            claims = [claim for claim in claims if claim not in suspects]
        return Answer(now, due_in, holding, newest, late, refused, cancel, bool(paused), claims, suspects, missing)

    async def release(self, queue: str, lease: str, ids: Iterable[bytes], *, holding: int = 0, close: bool = False) -> int:
        """Give tasks back to where they stood, at no cost to them; -1 when the lease is gone."""
        return int(await self.run("release", queue, lease, int(close), holding, *ids))

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
        cursor, flat = await self.command("running", "HSCAN", self.key("running", queue), cursor, "COUNT", PAGE)
        return int(cursor), [Held.read(task_id, value) for task_id, value in pairs(flat)]

    async def unroutable(self, queue: str, after: int) -> list[tuple[bytes, int, Record]]:
        """A page of held tasks that came after this arrival number: id, number, record."""
        index = self.key("unroutable", queue)
        flat = await self.command("unroutable", "ZRANGE", index, f"({after}", "+inf", "BYSCORE", "LIMIT", 0, PAGE, "WITHSCORES")
        numbered = score_pairs(flat)
        records = await self.records(queue, [task_id for task_id, _ in numbered])
        return [(task_id, int(number), record) for (task_id, number), record in zip(numbered, records, strict=True) if record is not None]

    async def unfit(self, queue: str, ids: Sequence[bytes]) -> list[frozenset[str]]:
        """The signatures of handlers that these tasks were reported a misfit for, in order."""
        if not ids:
            return []
        found = await self.command("unfit", "HMGET", self.key("unfit", queue), *ids)
        return [frozenset(one.decode().split()) if one else frozenset() for one in found]

    async def still_held(self, queue: str, tasks: Sequence[tuple[bytes, Record]]) -> list[tuple[bytes, Record]]:
        """Those of these tasks that wait for a worker that knows them."""
        if not tasks:
            return []
        scores = await self.command("unroutable", "ZMSCORE", self.key("unroutable", queue), *(task_id for task_id, _ in tasks))
        return [one for one, score in zip(tasks, scores, strict=True) if score is not None]

    async def adopt(self, queue: str, tasks: Iterable[tuple[bytes, Record]], *, quietly: bool = False) -> int:
        """Make held tasks pending again, in the order they would have had; quietly: no other worker is woken for them."""
        args: list[Any] = [0 if quietly else 1]
        for task_id, record in tasks:
            args += (task_id, ids.created_ms_of(task_id.decode()) - record.priority * self.head_start_ms)
        return int(await self.run("adopt", queue, *args))

    async def place(self, queue: str, task_id: str) -> int | None:
        """How many pending tasks are ahead of this one; None when it is not pending or held."""
        found = await self.command("place", "ZRANK", self.key("pending", queue), task_id)
        return None if found is None else int(found)

    # -- acting -----------------------------------------------------------------------------------------------------

    async def retry(
        self, queue: str, tasks: Iterable[tuple[str, int]], sources: Iterable[State], *, reset: bool = False
    ) -> list[tuple[State | None, bool]]:
        """Make tasks (id, priority) pending that are in one of these states; gives the states they were in, and whether it was done."""
        names = " ".join(state.value for state in sources)
        flat = [part for pair in tasks for part in pair]
        reply = await self.run("retry", queue, names, int(reset), self.head_start_ms, *flat)
        return list(zip(_states(reply[::2]), map(bool, reply[1::2]), strict=True))

    async def remove(self, queue: str, *ids: str) -> list[State | None]:
        """Delete tasks that do not run; gives the states they were in."""
        return _states(await self.run("remove", queue, *ids))

    async def retain_ms(self, queue: str, task_id: str) -> int | None:
        """How long after its end the task is forgotten; None when its queue's own rule holds."""
        kept = await self.command("retain", "HGET", self.key("retains", queue), task_id)
        return int(kept) if kept else None

    async def raw_record(self, queue: str, task_id: str) -> bytes | None:
        """A record as it is stored, to be compared with when it is replaced; None when there is none."""
        found: bytes | None = await self.command("records", "HGET", self.key("records", queue), task_id)
        return found

    async def edit(self, queue: str, task_id: str, seen: bytes, record: Record, run_at_ms: int | None) -> tuple[State | None, int]:
        """Replace the record of a waiting task; gives its state, and 1 for done, 0 for a wrong state, -1 for a race."""
        state, done = await self.run(
            "edit", queue, task_id, seen, wire.encode(record), wire.decode_record(seen).priority, record.priority,
            "" if run_at_ms is None else run_at_ms, "\n".join(record.labels), self.head_start_ms,
        )  # fmt: skip
        return (State(state.decode()) if state else None), done

    async def configure(self, queue: str, changes: Mapping[str, str]) -> dict[str, str]:
        """Change settings of a queue, an empty value taking one away; gives all of them."""
        flat = [part for pair in changes.items() for part in pair]
        return {name.decode(): value.decode() for name, value in pairs(await self.run("configure", queue, *flat))}

    # -- upkeep -----------------------------------------------------------------------------------------------------

    async def promote(self, queue: str) -> tuple[int, int, int, int]:
        """Gives: promoted, worst lateness ms, expired, µs to the next due task or -1."""
        promoted, late, expired, due_in = await self.run("promote", queue, self.head_start_ms, PAGE)
        return promoted, late, expired, due_in

    async def patrol(self, queue: str, pause_ms: int) -> list[str]:
        """Leases that have run out, unless everybody was away for longer than ``pause_ms``."""
        return [lease.decode() for lease in await self.run("patrol", queue, self.lease_ms, pause_ms, 100)]

    async def live_leases(self, queue: str) -> set[str]:
        """Leases that exist, run out or not."""
        return {lease.decode() for lease in await self.command("leases", "ZRANGE", self.key("leases", queue), 0, -1)}

    async def records(self, queue: str, ids: Sequence[bytes]) -> list[Record | None]:
        """The records of these tasks, in order; None where there is none."""
        if not ids:
            return []
        bodies = await self.command("records", "HMGET", self.key("records", queue), *ids)
        return [wire.decode_record(body) if body else None for body in bodies]

    async def last_beat(self, worker: str) -> tuple[Beat, float] | None:
        """What a worker said last, and how many seconds ago; None when that is forgotten."""
        text = await self.command("last_beat", "HGET", self.key("workers"), worker)
        at_ms = await self.command("last_beat", "ZSCORE", self.key("beats"), worker)
        beat = read_beat(text) if text else None
        return (beat, max(0.0, (self.clock.now_ms() - float(at_ms)) / 1000)) if beat and at_ms else None

    async def live_beats(self) -> list[Beat]:
        """What each worker said last that is not late by more than a lease."""
        texts = pairs(await self.command("workers", "HGETALL", self.key("workers")))
        times = dict(score_pairs(await self.command("workers", "ZRANGE", self.key("beats"), 0, -1, "WITHSCORES")))
        oldest_ms = self.clock.now_ms() - self.lease_ms
        beats = [read_beat(text) for name, text in texts if times.get(name, 0.0) >= oldest_ms]
        return [beat for beat in beats if beat is not None]

    async def reap(self, queue: str, lease: str, verdicts: Iterable[Verdict]) -> int:
        """End an expired lease and take these tasks back; -1 when the lease lives after all."""
        args: list[Any] = []
        for one in verdicts:
            outcome = wire.encode(one.outcome) if one.outcome else b""
            number = pack_number(one.delay_ms, one.priority)
            args += (one.held.id, one.held.value, one.verdict, number, wire.encode(one.attempt), outcome, one.fault)
        return int(await self.run("reap", queue, lease, *args))

    async def outcomes(self, queue: str, ids: Sequence[bytes]) -> list[Outcome | None]:
        """How these tasks ended, in order; None for those that did not."""
        packed = await self.command("outcomes", "HMGET", self.key("outcomes", queue), *ids)
        return [wire.decode_outcome(one) if one else None for one in packed]

    async def stateless(self, queue: str, cursor: int) -> tuple[int, list[bytes]]:
        """A page of ids whose records are in no state; a cursor of 0 begins and ends the walk."""
        cursor, found = await self.run("seek", queue, cursor, SEEK_PAGE)
        return int(cursor), found

    async def mend(self, queue: str, places: Iterable[tuple[bytes, State, int]]) -> int:
        """Give tasks in no state one: id, state (pending, succeeded or dead), priority; gives how many."""
        flat = [part for task_id, state, priority in places for part in (task_id, state.value, priority)]
        return int(await self.run("mend", queue, self.head_start_ms, *flat))

    async def trim(self, queue: str) -> int:
        """Roll old minutes of the statistics up into hours."""
        return int(await self.run("trim", queue, MINUTES_KEPT, HOURS_KEPT))

    async def prune(self, queue: str, state: State, *, age_s: float, keep: int) -> int:
        """Forget up to PAGE finished tasks beyond an age or a count."""
        return int(await self.run("prune", queue, int(age_s * 1000), keep, PAGE, index=state.value))

    # -- workers ----------------------------------------------------------------------------------------------------

    async def muster(self) -> tuple[int, int]:
        """How many worker processes live, and how many fell silent."""
        live, silent = await self.run("muster", "", self.lease_ms)
        return live, silent

    async def order(self, place: str, name: str, order: str) -> None:
        """Leave a word for a worker or an operation in the hash of this name that it looks at."""
        await self.run("order", "", name, order, index=place)

    async def forget_worker(self, worker: str) -> None:
        """Remove the beat of a worker that ends in order."""
        await self.command("workers", "HDEL", self.key("workers"), worker)
        await self.command("workers", "ZREM", self.key("beats"), worker)


def _states(names: Iterable[bytes]) -> list[State | None]:
    return [State(name.decode()) if name else None for name in names]


def is_plain(submission: Submission) -> bool:
    """Nothing about it has to be looked up or indexed: the fast way."""
    record = submission.record
    return not (submission.unique or record.tags or record.meta or record.batch or submission.retain_ms is not None)


def _extras(submission: Submission) -> tuple[Any, ...]:
    unique, record = submission.unique, submission.record
    key = (unique.key, unique.mode, "" if unique.ttl_ms is None else unique.ttl_ms, unique.on_conflict) if unique else ("", "", "", "")
    retain = "" if submission.retain_ms is None else submission.retain_ms
    return *key, record.batch, retain, "\n".join(record.labels)


def _terms(submission: Submission) -> str:
    """The waiting terms as the submit script reads them; the common case is the priority alone."""
    priority = submission.record.priority
    if not submission.delay_ms and submission.run_at_ms is None and submission.expires_in_ms is None:
        return _TERMS[priority]
    run_at = "" if submission.run_at_ms is None else submission.run_at_ms
    expires = "" if submission.expires_in_ms is None else submission.expires_in_ms
    return f"{priority};{submission.delay_ms or ''};{run_at};{expires}"
