"""The cases. Each takes a peer through one run and gives its figures; names of figures end in their unit.

Counts are those of a system of full speed; slow ones get a share of them (``share`` in versions.toml).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.catalog import Peer
from benchmarks.peers.tally import WAIT_S
from benchmarks.stage import Snapshot, Stage, staged

Figures = dict[str, float]

SLOTS = 100
"""Concurrency of the worker where tasks wait."""
SINGLES, BULKS, DRAINED, WAITS = 2_000, 20_000, 20_000, 2_000
WARM_UP = 20
IDLE_TASKS, IDLE_RATE = 100, 20.0
BUSY_TASKS, BUSY_RATE = 2_000, 500.0
NAPS, NAP_SLOTS, NAPS_BEFORE_KILL = 200, 20, 40
CRASH_S = 90.0
"""How long a crashed worker's tasks are waited for."""
TWICE_S = 2.0
"""How long second runs are waited for once everything has run."""
NS_US = 1_000.0
NS_MS = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Case:
    """One case."""

    name: str
    run: Callable[[Peer, bool], Figures]
    """the figures of one run of a peer, pinned or not"""
    repeated: bool = True
    """False: run once, and several peers at a time, since it mostly waits"""


def enqueue(peer: Peer, pinned: bool) -> Figures:
    """Tasks a second one by one and in bulk, CPU of producer and server, bytes a pending task."""
    with staged(peer, pinned=pinned) as stage:
        singles, bulks = peer.count(SINGLES), peer.count(BULKS)
        single = stage.produce("noop", singles)
        bytes_before, before = stage.server.memory_bytes(), stage.server.figures()
        bulk = stage.produce("noop", bulks, bulk=True)
        server = stage.server.figures() - before
        return {
            "enqueue_single_per_s": single.count / single.seconds,
            "enqueue_single_cpu_us": single.cpu_s * 1e6 / single.count,
            "enqueue_bulk_per_s": bulk.count / bulk.seconds,
            "enqueue_bulk_cpu_us": bulk.cpu_s * 1e6 / bulk.count,
            "enqueue_bulk_redis_us": server.cpu_ns / NS_US / bulk.count,
            "pending_bytes": (stage.server.memory_bytes() - bytes_before) / bulk.count,
        }


def drain(peer: Peer, pinned: bool) -> Figures:
    """A full queue of no-ops and one worker: from the first start until all are settled."""
    with staged(peer, pinned=pinned) as stage:
        count = peer.count(DRAINED)
        before, after = _drained(stage, "noop", count, peer.brisk_slots)
        rss = stage.workers[-1].rss_bytes()
    server = after.server - before.server
    return {
        "drain_per_s": count / (after.at_s - before.at_s),
        "worker_cpu_us": (after.worker_cpu_ns - before.worker_cpu_ns) / NS_US / count,
        "redis_cpu_us": server.cpu_ns / NS_US / count,
        "redis_commands": server.commands / count,
        "redis_reads": server.reads / count,
        "rss_mb": rss / 1e6,
        "elsewhere_cores": _elsewhere_cores(before, after),
    }


def _elsewhere_cores(before: Snapshot, after: Snapshot) -> float:
    """How many cores other work took meanwhile: what makes figures by the clock worse than they are."""
    ours_s = (after.worker_cpu_ns - before.worker_cpu_ns + after.server.cpu_ns - before.server.cpu_ns) / 1e9
    return max(0.0, after.machine_busy_s - before.machine_busy_s - ours_s) / (after.at_s - before.at_s)


def waits(peer: Peer, pinned: bool) -> Figures:
    """Tasks that wait 50 ms: how much longer than tasks × 50 ms ÷ concurrency."""
    with staged(peer, pinned=pinned) as stage:
        count = peer.count(WAITS)
        before, after = _drained(stage, "wait", count, SLOTS)
    return {"waits_to_ideal": (after.at_s - before.at_s) / (count * WAIT_S / SLOTS)}


def _drained(stage: Stage, task: str, count: int, slots: int) -> tuple[Snapshot, Snapshot]:
    stage.produce(task, count, bulk=True)
    stage.work(slots, target=count)
    stage.signal("first")
    before = stage.snapshot()
    stage.signal("last")
    stage.settled()
    return before, stage.snapshot()


def latency(peer: Peer, pinned: bool) -> Figures:
    """From before the enqueueing call to the handler's start: on an idle queue, then under 500 tasks a second."""
    with staged(peer, pinned=pinned) as stage:
        stage.work(peer.brisk_slots)
        _latencies(stage, WARM_UP, IDLE_RATE)
        idle = _latencies(stage, IDLE_TASKS, IDLE_RATE)
        busy = _latencies(stage, BUSY_TASKS, BUSY_RATE)
    return {
        "idle_p50_ms": statistics.median(idle),
        "idle_p99_ms": _percentile(idle, 99),
        "busy_p50_ms": statistics.median(busy),
        "busy_p99_ms": _percentile(busy, 99),
    }


def _latencies(stage: Stage, count: int, rate: float) -> list[float]:
    stage.forget()
    stage.produce("stamp", count, rate=rate)
    if not stage.written(count):
        raise stage.failure(f"{len(stage.ledger())} of {count} tasks started in time")
    return [(int(started) - int(sent)) / NS_MS for sent, started in stage.ledger()]


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def crash(peer: Peer, pinned: bool) -> Figures:
    """Two workers at work, the busier one is killed with SIGKILL and replaced: what is lost, runs twice, and how long it takes."""
    with staged(peer, pinned=pinned, deadline_s=CRASH_S * 2) as stage:
        for _ in range(2):
            stage.work(NAP_SLOTS)
        stage.produce("nap", NAPS, bulk=True)
        if not stage.written(NAPS_BEFORE_KILL * 2):
            raise stage.failure("no tasks ran before the kill")
        held, killed = _kill_the_busier(stage), time.monotonic()
        stage.work(NAP_SLOTS)
        recovered_s = _until_all_ended(stage, killed)
        time.sleep(TWICE_S)
        starts, ends = _times(stage, "start"), _times(stage, "end")
    return {
        "crash_held": held,
        "crash_lost": NAPS - len(ends),
        "crash_run_twice": sum(times > 1 for times in ends.values()),
        "crash_started_again": sum(times > 1 for times in starts.values()),
        "crash_recovery_s": recovered_s,
    }


def _kill_the_busier(stage: Stage) -> int:
    """Kill the worker with more tasks running; gives how many those were."""
    for worker in stage.workers:
        worker.look()
    running = _running(stage)
    held = [sum(running[pid] for pid in worker.pids) for worker in stage.workers]
    stage.workers[held.index(max(held))].kill()
    return max(held)


def _running(stage: Stage) -> Counter[int]:
    """How many tasks have started and not ended, by process."""
    running: Counter[int] = Counter()
    for kind, _, pid in stage.ledger():
        running[int(pid)] += 1 if kind == "start" else -1
    return running


def _until_all_ended(stage: Stage, killed: float) -> float:
    """Seconds from the kill to the end of the last task, or to when we stopped waiting."""
    while time.monotonic() - killed < CRASH_S and len(_times(stage, "end")) < NAPS:
        time.sleep(0.1)
    return time.monotonic() - killed


def _times(stage: Stage, event: str) -> Counter[str]:
    return Counter(number for kind, number, _ in stage.ledger() if kind == event)


CASES = {
    case.name: case
    for case in (
        Case("enqueue", enqueue),
        Case("drain", drain),
        Case("latency", latency),
        Case("waits", waits),
        Case("crash", crash, repeated=False),
    )
}
