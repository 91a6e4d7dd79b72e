"""The store answers, but with a refusal: full, read-only, forgetful, busy, closed to us."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis

from tests.faults.outages import judge_answers, ready, resumed, seconds_until, whole
from tests.faults.trial import BACK_S, LEASE_S, SLOTS, Trial, scenario
from tests.program import Program


@contextlib.contextmanager
def meanwhile(action: Callable[[], object], every_s: float) -> Iterator[list[int]]:
    """Do something again and again for the length of the block; gives how often it was done, as one number."""
    stop, done = threading.Event(), [0]

    def run() -> None:
        while not stop.wait(every_s):
            with contextlib.suppress(redis.RedisError):
                action()
                done[0] += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(5)


@scenario(
    "store-full",
    "A store at its memory limit refuses submissions; whoever starts then starts, and all that waits drains; nothing runs twice.",
)
def store_full(trial: Trial) -> None:
    """Row 8: maxmemory with noeviction, set below what is used, under load; API and worker are replaced meanwhile."""
    server, first_api, first_worker = whole(trial, "--maxmemory-policy", "noeviction")
    waiting = trial.bulk(first_api, trial.count(2000, 300), seconds=0.1)
    server.call("CONFIG", "SET", "maxmemory", "1mb")
    full_at = time.time()
    statuses = [_end_in_order(trial, program) for program in (first_worker, first_api)]
    api, _ = trial.program("api"), trial.program("worker")
    load = trial.load(api, rate=100)
    full_s = max(2 * LEASE_S, 20 * trial.scale)
    time.sleep(full_s)
    left = set(waiting) - trial.ledger.finished()
    ends = [one["state"] for one in trial.states(api, waiting)]
    full_s = time.time() - full_at
    server.call("CONFIG", "SET", "maxmemory", "0")
    cured = time.time()
    trial.recovered(resumed(trial, cured), BACK_S)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"1 × OOM, {full_s:.0f} s"
    trial.expect(f"statuses of those that were told to stop {statuses} = [0, 0]", statuses == [0, 0])
    trial.expect(f"of {len(waiting)} that waited when the store got full {len(left)} did not run then", not left)
    trial.expect(f"of these {ends.count('succeeded')} were recorded then", ends.count("succeeded") == len(waiting))
    trial.expect(f"refused with 503: {load.answers['503']} > 0", load.answers["503"] > 0)
    judge_answers(trial, load)


def _end_in_order(trial: Trial, program: Program) -> int:
    """SIGTERM, which is meant; gives the exit status."""
    trial.ended.append(program)
    return program.stop()


@scenario("store-read-only", "The master becomes a replica of nothing for a while: workers wait, running tasks are recorded after it.")
def read_only(trial: Trial) -> None:
    """R16: REPLICAOF on the live master."""
    server, api, _ = whole(trial)
    load = trial.load(api, rate=30, seconds=0.5)
    time.sleep(3)
    server.call("REPLICAOF", "127.0.0.1", "1")
    away_s = max(2 * LEASE_S, 20 * trial.scale)
    time.sleep(away_s)
    server.call("REPLICAOF", "NO", "ONE")
    cured = time.time()
    trial.recovered(resumed(trial, cured), BACK_S)
    time.sleep(2)
    load.stop()
    trial.drained()
    trial.faults = f"1 × READONLY, {away_s:g} s"
    judge_answers(trial, load)


@scenario("scripts-flushed", "The store forgets the scripts ten times a second: no client notices.")
def scripts_flushed(trial: Trial) -> None:
    """R17: SCRIPT FLUSH."""
    server, api, _ = whole(trial)
    with meanwhile(lambda: server.call("SCRIPT", "FLUSH"), 0.1) as done:
        load = trial.load(api, rate=300)
        time.sleep(max(3.0, 30 * trial.scale))
        load.stop()
    trial.drained()
    trial.faults = f"{done[0]} × SCRIPT FLUSH"
    trial.expect(f"answers but 202: {load.answers.total() - load.answers['202']} = 0", set(load.answers) == {"202"})


@scenario("connections-killed", "Every connection to the store is closed five times a second: nothing is lost, stuck or run twice.")
def connections_killed(trial: Trial) -> None:
    """R18: CLIENT KILL TYPE normal."""
    server, api, _ = whole(trial)
    with meanwhile(lambda: server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), 0.2) as done:
        load = trial.load(api, rate=200)
        time.sleep(max(4.0, 60 * trial.scale))
        stopped = time.time()
        load.stop()
    trial.drained()
    trial.faults = f"{done[0]} × CLIENT KILL"
    last = max(entry.at for entry in trial.ledger.entries())
    trial.recovered(max(0.0, last - stopped), 2 * LEASE_S)
    judge_answers(trial, load)


@scenario("snapshots-fail", "The store stops taking writes because its snapshots fail: what runs is recorded once that is cured.")
def snapshots_fail(trial: Trial) -> None:
    """R14: MISCONF with 20 running tasks."""
    server, api, _ = whole(trial, "--appendonly", "no")
    ran = trial.bulk(api, SLOTS, seconds=3.0)
    trial.ledger.until_started(SLOTS, 10)
    shutil.rmtree(server.folder)
    server.call("CONFIG", "SET", "save", "1 1")
    with contextlib.suppress(redis.RedisError):
        server.call("BGSAVE")
    refuses = seconds_until(lambda: ready(api) != 200)
    away_s = max(4.0, 20 * trial.scale)
    load = trial.load(api, rate=20)
    time.sleep(away_s)
    server.call("CONFIG", "SET", "save", "")
    cured = time.time()
    load.stop()
    trial.recovered(resumed(trial, cured), BACK_S)
    trial.drained()
    ends = trial.states(api, ran)
    trial.faults = f"1 × MISCONF, {away_s:g} s"
    trial.within("unready after", refuses, 10)
    trial.expect(f"refused with 503: {load.answers['503']} > 0", load.answers["503"] > 0)
    trial.expect(f"recorded {sum(one['state'] == 'succeeded' for one in ends)} = {SLOTS}", {one["state"] for one in ends} == {"succeeded"})
    judge_answers(trial, load)


@scenario("store-busy", "Somebody else's script blocks the store for 3 s: everything waits and goes on.")
def store_busy(trial: Trial) -> None:
    """R19: BUSY."""
    server, api, _ = whole(trial, "--busy-reply-threshold", "100")
    load = trial.load(api, rate=200)
    rounds = trial.count(3, 1)
    for _ in range(rounds):
        time.sleep(2)
        with contextlib.suppress(redis.RedisError):
            server.call("EVAL", "while true do end", 0, socket_timeout=3)
        server.call("SCRIPT", "KILL")
    cured = time.time()
    trial.recovered(resumed(trial, cured), BACK_S)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"{rounds} × BUSY 3 s"
    judge_answers(trial, load)


@scenario(
    "password-changed", "The store's password is changed at run time: nobody exits or storms it, and work goes on when it is right again."
)
def password_changed(trial: Trial) -> None:
    """R19: WRONGPASS for those who come, the others are thrown out."""
    server, api, _ = whole(trial)
    load = trial.load(api, rate=50)
    time.sleep(2)
    server.call("CONFIG", "SET", "requirepass", "another")
    server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password="another")  # noqa: S106 - of a server of ours
    before = _connections(server.call("INFO", "stats", password="another"))  # noqa: S106 - as above
    away_s = max(2 * LEASE_S, 20 * trial.scale)
    time.sleep(away_s)
    tries = _connections(server.call("INFO", "stats", password="another")) - before  # noqa: S106 - as above
    server.call("CONFIG", "SET", "requirepass", "", password="another")  # noqa: S106 - as above
    cured = time.time()
    trial.recovered(resumed(trial, cured), BACK_S)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"wrong password, {away_s:g} s"
    trial.expect(f"connections a second {tries / away_s:.0f} ≤ 60 (20 a second are asked for by clients)", tries / away_s <= 60)
    judge_answers(trial, load)


def _connections(said: object) -> int:
    assert isinstance(said, dict)
    return int(said["total_connections_received"])


@scenario("store-takes-no-clients", "The store accepts no more connections: those that exist go on, and all recovers by itself.")
def no_clients(trial: Trial) -> None:
    """R19: maxclients, with the old connections closed."""
    server, api, _ = whole(trial)
    load = trial.load(api, rate=100)
    time.sleep(2)
    ours = server.client()
    ours.config_set("maxclients", 1)
    ours.client_kill_filter(_type="normal", skipme=True)
    away_s = max(2 * LEASE_S, 20 * trial.scale)
    time.sleep(away_s)
    ours.config_set("maxclients", 10_000)
    cured = time.time()
    ours.close()
    trial.recovered(resumed(trial, cured), BACK_S)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"maxclients, {away_s:g} s"
    judge_answers(trial, load)


@scenario("everything-flushed", "Somebody runs FLUSHALL: nothing exits or spins, and new tasks work at once.")
def flushed(trial: Trial) -> None:
    """R24. What was in the store is gone, which no queue can mend: only what comes after counts."""
    server, api, worker = whole(trial)
    load = trial.load(api, rate=100, seconds=0.5)
    time.sleep(3)
    load.stop()
    server.call("FLUSHALL")
    flushed_at = time.time()
    time.sleep(1)
    gone = set(trial.acknowledged)
    trial.acknowledged.clear()
    later = trial.load(api, rate=100)
    time.sleep(3)
    later.stop()
    trial.drained(30)
    starts = [entry.at for entry in trial.ledger.entries() if entry.what == "S" and entry.number in trial.acknowledged]
    trial.recovered(min(starts, default=flushed_at + 99) - flushed_at - 1.0, 2 * LEASE_S)
    time.sleep(10 * max(trial.scale, 0.3))
    share = _cpu_share(worker.process.pid, 3.0)
    trial.faults = f"1 × FLUSHALL of {len(gone)} tasks"
    trial.expect(f"idle processor time {100 * share:.0f} % < 10 %", share < 0.1)
    judge_answers(trial, later)


def _cpu_share(pid: int, seconds: float) -> float:
    """How much of one processor a process takes."""
    before = _cpu_s(pid)
    time.sleep(seconds)
    return (_cpu_s(pid) - before) / seconds


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
