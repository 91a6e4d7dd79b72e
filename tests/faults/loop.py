"""Handlers that stop their own process from doing anything else."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from tests.faults.trial import LEASE_S, Trial, scenario
from tests.program import Program


@scenario("loop-blocked", "A handler that blocks the event loop for two leases loses neither its own task nor its neighbours.")
def loop_blocked(trial: Trial) -> None:
    """Row 4: time.sleep in a coroutine, below the stall limit."""
    trial.server()
    api, _ = trial.program("api"), trial.program("worker")
    other = trial.program("worker")
    trial.bulk(api, 10, seconds=0.5)
    blocks = trial.count(5, 1)
    for _ in range(blocks):
        trial.bulk(api, 1, "block", seconds=2 * LEASE_S)
        trial.bulk(api, 20, seconds=0.5)
        time.sleep(1.2 * LEASE_S)
    trial.drained()
    trial.faults = f"{blocks} × time.sleep({2 * LEASE_S:g})"
    crashes = sum(one["crashes"] for one in trial.states(api, sorted(trial.ids)))
    trial.expect(f"lost leases {crashes} = 0", crashes == 0)
    trial.expect("the other worker lives", other.process.poll() is None)


@scenario(
    "loop-blocked-for-good", "A loop that is blocked beyond the stall limit is given up: its neighbours run elsewhere, liveness says so."
)
def blocked_for_good(trial: Trial) -> None:
    """R31 with a stall limit of 4 s; in the other process the blocking task, which comes too, does not block."""
    trial.server()
    api, victim = trial.program("api"), trial.program("worker", "--stall-limit", "4s")
    neighbours = trial.bulk(api, 10, seconds=3.0)
    trial.ledger.until_started(10, 10)
    trial.bulk(api, 1, "block", counted=False, seconds=120.0)
    trial.ledger.until_started(11, 10)
    began = time.time()
    trial.program("worker", "--concurrency", "30", environ={"SPARED": "1"})
    time.sleep(5.5)
    status = _live(victim)
    trial.drained(30)
    ends = [entry.at for entry in trial.ledger.entries() if entry.what == "E" and entry.number in neighbours]
    trial.end(victim)
    trial.faults = "1 × blocked loop"
    trial.duplicates_max = len(neighbours) + 1
    trial.recovered(max(ends, default=began + 999) - began, 4 + LEASE_S + 5 + 3)
    trial.expect(f"/livez {status} = 503", status == 503)


def _live(program: Program) -> int:
    """The status of /livez, which must come from a process whose loop stands; 503 when it does not answer."""
    try:
        with urllib.request.urlopen(program.metrics + "/livez", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 503


@scenario("gil-held", "A handler that holds the interpreter for two leases runs again at most; its neighbours all end.")
def gil_held(trial: Trial) -> None:
    """R30: a regular expression in C that silences every thread of the process."""
    trial.server()
    api = trial.program("api")
    workers = [trial.program("worker") for _ in range(2)]
    neighbours = trial.bulk(api, 20, seconds=0.5)
    bad = trial.bulk(api, 1, "hold_gil", counted=False, seconds=2 * LEASE_S)
    neighbours += trial.bulk(api, trial.count(200, 50), seconds=0.2)
    trial.drained(90)
    (end,) = _end_of(trial, api, bad)
    runs = trial.ledger.runs()[bad[0]]
    trial.faults = f"1 × {2 * LEASE_S:g} s of C"
    trial.duplicates_max = len(neighbours)
    trial.expect(f"runs of the holder {runs} ≤ 3", runs <= 3)
    trial.expect(f"the holder is {end['state']} {end.get('reason') or ''}", end["state"] in ("succeeded", "dead"))
    dead = [one for one in trial.states(api, neighbours) if one["state"] != "succeeded"]
    trial.expect(f"neighbours that did not succeed {len(dead)} = 0", not dead)
    trial.expect("the workers live", all(one.process.poll() is None for one in workers))
    for one in workers:  # its last run may go on, and no signal reaches a process whose interpreter is held
        trial.end(one)


def _end_of(trial: Trial, api: Program, numbers: list[int], limit_s: float = 120.0) -> list[dict[str, object]]:
    """These tasks once they have ended, or as they are when the time is up."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        states = trial.states(api, numbers)
        if all(one["state"] in ("succeeded", "dead", "cancelled") for one in states):
            break
        time.sleep(0.2)
    return trial.states(api, numbers)
