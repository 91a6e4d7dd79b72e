"""Stores of several servers: Sentinel changes the master, a Cluster loses one or moves a slot."""

from __future__ import annotations

import time

from redis.crc import key_slot

from tests.faults.outages import resumed
from tests.faults.servers import DOWN_AFTER_MS, NODE_TIMEOUT_MS, Cluster, SentinelGroup, until
from tests.faults.trial import SLOTS, Trial, scenario
from tests.program import Program

FAILOVER_S = DOWN_AFTER_MS / 1000 + 5
SLOT = key_slot(b"default")


@scenario(
    "failover-primary",
    "Sentinel changes the master: work goes on within 6 s. What only the dead master had may be lost; told here, not bounded.",
)
def failover_primary(trial: Trial) -> None:
    """R21 with durability=primary, the default."""
    before = _fail_over(trial, "primary")
    lost = trial.acknowledged - trial.ledger.finished()
    trial.expect(f"acknowledged on the dead masters alone, and lost: {len(lost)} of {before} (told, not bounded)", True)
    trial.acknowledged -= lost


@scenario("failover-replica", "With durability=replica a change of the master loses nothing that was acknowledged.")
def failover_replica(trial: Trial) -> None:
    """R21 with durability=replica."""
    _fail_over(trial, "replica")


def _fail_over(trial: Trial, level: str) -> int:
    """kill -9 the master under load, again and again; gives how many were acknowledged."""
    group = SentinelGroup(trial.folder)
    trial.stack.callback(group.stop)
    trial.store_url = group.start().url
    api, _ = trial.program("api", "--durability", level), trial.program("worker")
    load = trial.load(api, rate=300, threads=16)
    rounds, slowest, killed = trial.count(5, 1), 0.0, 0
    for _ in range(rounds):
        time.sleep(3)
        moment = time.time()
        dead, _new = group.fail_over()
        killed += SLOTS
        slowest = max(slowest, _pause(trial, moment))
        group.revive(dead)
    time.sleep(1)
    load.stop()
    trial.drained(30)
    trial.faults = f"{rounds} × kill -9 of the master"
    trial.duplicates_max = None
    trial.recovered(slowest, FAILOVER_S)
    trial.expect(
        f"extra runs {trial.ledger.duplicates()} ≤ {2 * killed} (a master's slots and their answers)",
        trial.ledger.duplicates() <= 2 * killed,
    )
    odd = {name: n for name, n in load.answers.items() if name not in ("202", "503")}
    trial.expect(f"answers but 202 and 503: {odd or 'none'}", not odd and not load.errors)
    return len(trial.acknowledged)


def _pause(trial: Trial, moment: float) -> float:
    """From the kill to the first task that ended after a second of silence, or to the first at all."""
    time.sleep(1)
    after = resumed(trial, moment + 0.9)
    return 99.0 if after is None else after + 0.9


@scenario("cluster-master-killed", "A master of a Cluster dies: its replica takes over, and work goes on within the node timeout and 5 s.")
def cluster_killed(trial: Trial) -> None:
    """R23, first half, on three masters with one replica for the one that is killed."""
    cluster, api = _cluster(trial)
    load = trial.load(api, rate=200)
    time.sleep(3)
    moment = time.time()
    cluster.owner().kill()
    until(cluster.promoted, 30, "the promotion of the replica")
    pause = _pause(trial, moment)
    time.sleep(2)
    load.stop()
    trial.drained(30)
    trial.faults = "1 × kill -9 of a master"
    trial.duplicates_max = 2 * SLOTS
    trial.recovered(pause, NODE_TIMEOUT_MS / 1000 + 5)
    lost = trial.acknowledged - trial.ledger.finished()
    trial.expect(f"acknowledged on the dead master alone, and lost: {len(lost)} (told, not bounded)", True)
    trial.acknowledged -= lost
    odd = {name: n for name, n in load.answers.items() if name not in ("202", "503")}
    trial.expect(f"answers but 202 and 503: {odd or 'none'}", not odd and not load.errors)


@scenario(
    "cluster-slot-moved", "The slot of the queue moves to another master under load: nothing is lost, clients see at most a short 503."
)
def cluster_moved(trial: Trial) -> None:
    """R23, second half: MIGRATE of one key at a time, so that for a while a queue lies on two masters."""
    cluster, api = _cluster(trial)
    load = trial.load(api, rate=100)
    time.sleep(3)
    source = cluster.owner()
    target = next(one for one in cluster.masters if one is not source)
    moment = time.time()
    moved = cluster.move_slot(source, target)
    took = time.time() - moment
    trial.recovered(resumed(trial, moment + took), 3.0)
    time.sleep(2)
    load.stop()
    trial.drained(30)
    trial.faults = f"1 × slot of {moved} keys in {took:.1f} s"
    odd = {name: n for name, n in load.answers.items() if name not in ("202", "503")}
    trial.expect(f"answers but 202 and 503: {odd or 'none'} (503: {load.answers['503']})", not odd and not load.errors)


def _cluster(trial: Trial) -> tuple[Cluster, Program]:
    cluster = Cluster(trial.folder, SLOT)
    trial.stack.callback(cluster.stop)
    trial.store_url = cluster.start().url
    api = trial.program("api")
    trial.program("worker")
    return cluster, api
