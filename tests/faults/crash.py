"""Processes that die or freeze: workers, the scheduler, the API, all of them; and tasks that kill."""

from __future__ import annotations

import os
import signal
import time
import urllib.request

from tests.faults.servers import free_port, until
from tests.faults.trial import LEASE_S, RECOVERED_S, SLOTS, Trial, scenario
from tests.program import Program

RUN_S = 0.035
"""What a task takes, on the whole."""


@scenario("kill-workers", "The tasks of a worker that is killed run elsewhere within a lease and a few seconds.")
def kill_workers(trial: Trial) -> None:
    """R01: kill -9 at random moments under load; each victim is started again at once."""
    trial.server()
    api = trial.program("api")
    workers = [trial.program("worker", "--max-crashes", "20") for _ in range(2)]
    load = trial.load(api, rate=400, seconds=RUN_S)
    kills = trial.count(50, 2)
    victims = []
    for _ in range(kills):
        time.sleep(trial.random.uniform(0.3, 1.3))
        victims.append(_kill_one(trial, workers))
    load.stop()
    trial.drained()
    trial.faults = f"{kills} × kill -9"
    trial.duplicates_max = sum(len(trial.ledger.in_flight(pid)) for pid, _ in victims)
    first, again = _longest_returns(trial, api, victims)
    trial.recovered(first, RECOVERED_S)
    trial.within("after a second loss, which waits 10 s,", again, RECOVERED_S + 10)
    failed = [one for one in trial.ledger.entries() if one.attempt > 1]
    trial.expect(f"error attempts {len(failed)} = 0", not failed)


def _kill_one(trial: Trial, workers: list[Program]) -> tuple[int, float]:
    """kill -9 one of the workers and start another; gives the pid and the time."""
    at = trial.random.randrange(len(workers))
    victim = workers[at]
    trial.end(victim)
    moment = time.time()
    workers[at] = trial.program("worker", "--max-crashes", "20")
    return victim.process.pid, moment


def _longest_returns(trial: Trial, api: Program, victims: list[tuple[int, float]]) -> tuple[float | None, float | None]:
    """The longest wait for the next start of what was lost once, and of what was lost more often; None for never."""
    flights = {pid: trial.ledger.in_flight(pid) for pid, _ in victims}
    flown = sorted(set[int]().union(*flights.values()))
    once = {number for number, end in zip(flown, trial.states(api, flown), strict=True) if end["crashes"] <= 1}
    first = [trial.ledger.back_after(flights[pid] & once, moment) for pid, moment in victims]
    again = [trial.ledger.back_after(flights[pid] - once, moment) for pid, moment in victims]
    return _longest(first), _longest(again)


def _longest(returns: list[float | None]) -> float | None:
    return None if None in returns else max((one or 0.0 for one in returns), default=0.0)


@scenario("freeze-below-the-lease", "A worker that stands still for less than its lease keeps its tasks; nothing runs twice.")
def freeze_below(trial: Trial) -> None:
    """R04: SIGSTOP for 0.7 leases, while another worker stands by."""
    trial.server()
    api, victim, other = trial.program("api"), trial.program("worker"), trial.program("worker")
    load = trial.load(api, rate=30, seconds=1.0)
    rounds = trial.count(20, 1)
    for _ in range(rounds):
        time.sleep(trial.random.uniform(0.5, 1.5))
        _freeze(victim, 0.7 * LEASE_S)
    load.stop()
    trial.drained()
    trial.faults = f"{rounds} × SIGSTOP {0.7 * LEASE_S:g} s"
    refused = refusals(victim) + refusals(other)
    trial.expect(f"refused answers {refused:.0f} = 0", refused == 0)


@scenario("freeze-beyond-the-lease", "A worker that wakes up after its lease has ended is refused: its tasks are the others' now.")
def freeze_beyond(trial: Trial) -> None:
    """R02, R04: SIGSTOP for 1.6 leases, with tasks whose ends fall into the freeze."""
    trial.server()
    api, victim = trial.program("api"), trial.program("worker")
    trial.bulk(api, SLOTS, seconds=1.0)
    trial.ledger.until_started(SLOTS, 10)
    other = trial.program("worker")
    began = time.time()
    _freeze(victim, 1.6 * LEASE_S)
    trial.drained()
    held = len(trial.ledger.in_flight(victim.process.pid)) or SLOTS
    until(lambda: refusals(victim) >= 1, RECOVERED_S, "the refusal of the late answers")
    trial.faults = f"1 × SIGSTOP {1.6 * LEASE_S:g} s"
    trial.duplicates_max = held
    trial.recovered(trial.ledger.back_after(trial.acknowledged, began), RECOVERED_S)
    trial.expect(f"late answers refused {refusals(victim):.0f} = {SLOTS}", refusals(victim) == SLOTS)
    trial.expect(f"of the other's {refusals(other):.0f} = 0", refusals(other) == 0)
    outcomes = [one["worker"].split(":")[1] for one in trial.states(api, sorted(trial.ids))]
    trial.expect("the results are those of the other worker", set(outcomes) == {str(other.process.pid)})


def _freeze(program: Program, seconds: float) -> None:
    os.kill(program.process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(program.process.pid, signal.SIGCONT)


def refusals(program: Program) -> float:
    """How many late answers of this process were refused, by its own count."""
    return metric(program, "taskqueue_settlements_refused_total")


def metric(program: Program, name: str) -> float:
    """The sum of a metric over its labels."""
    with urllib.request.urlopen(program.metrics + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + "{", name + " ")))


@scenario("kill-the-promoter", "Due tasks start in time although the process that promotes them is killed again and again.")
def kill_promoter(trial: Trial) -> None:
    """R05: the scheduler is killed every 2 s while tasks come due; the worker and its own scheduler are the safety net."""
    trial.server()
    api, promoter = trial.program("api"), trial.program("scheduler")
    worker = trial.program("worker", "--concurrency", "100")
    count, over_s = trial.count(10_000, 200), trial.count(20, 4)
    due = _submit_delayed(trial, api, count, over_s)
    kills = 0
    while time.time() < max(due.values()):
        time.sleep(2)
        trial.end(promoter)
        promoter, kills = trial.program("scheduler"), kills + 1
    trial.drained()
    late = [entry.at - due[entry.number] for entry in trial.ledger.entries() if entry.what == "S"]
    trial.faults = f"{kills} × kill -9"
    trial.recovered(max(late, default=None), 4.0)
    trial.expect(f"started before their time {sum(one < -0.1 for one in late)} = 0", min(late) >= -0.1)
    trial.expect("the worker lives", worker.process.poll() is None)


def _submit_delayed(trial: Trial, api: Program, count: int, over_s: float) -> dict[int, float]:
    """Tasks that come due evenly; gives when each does."""
    due, head_s, parts = dict[int, float](), 6.0 + count / 2000, 20
    began = time.time()
    for part in range(parts):
        delay_s = head_s + over_s * part / parts - (time.time() - began)
        sent = time.time()
        for number in trial.bulk(api, count // parts, seconds=0.0, terms={"delay": f"{delay_s:.3f}s"}):
            due[number] = sent + delay_s
    return due


@scenario("kill-the-api", "What was answered 202 is kept, and a client that sends again under its key makes no second task.")
def kill_api(trial: Trial) -> None:
    """R06: kill -9 of the API in the middle of submissions; it comes back on its port."""
    server = trial.server()
    port = str(free_port())
    ports = ("--port", port, "--metrics-port", "0")
    api = trial.program("api", *ports)
    trial.program("worker", "--concurrency", "100")
    load = trial.load(api, rate=500, threads=16, seconds=0.0)
    kills = trial.count(20, 2)
    for _ in range(kills):
        time.sleep(trial.random.uniform(0.5, 1.5))
        trial.end(api)
        api = trial.program("api", *ports)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"{kills} × kill -9"
    kept = server.call("HLEN", "taskqueue:{default}:records")
    trial.expect(f"tasks in the store {kept} = submissions {len(trial.acknowledged)}", kept == len(trial.acknowledged))
    odd = {name: n for name, n in load.answers.items() if name.isdigit() and name not in ("202", "503")}
    trial.expect(f"answers but 202 and 503: {odd or 'none'}", not odd and not load.errors)


@scenario("all-workers-dead", "When every worker has died the next one that starts goes on, without anybody's help.")
def all_dead(trial: Trial) -> None:
    """R07: all workers killed under load; one is started much later."""
    trial.server()
    api = trial.program("api")
    workers = [trial.program("worker") for _ in range(2)]
    load = trial.load(api, rate=100, seconds=0.1)
    time.sleep(3)
    for one in workers:
        trial.end(one)
    moment, away_s = time.time(), max(10.0, 60 * trial.scale)
    time.sleep(away_s)
    load.stop()
    back = time.time()
    trial.program("worker", "--concurrency", "100")
    trial.drained()
    flying = set[int]().union(*(trial.ledger.in_flight(one.process.pid) for one in workers))
    trial.faults = f"2 × kill -9, {away_s:g} s"
    trial.duplicates_max = len(flying)
    returned = trial.ledger.back_after(flying, moment)
    trial.recovered(None if returned is None else returned - (back - moment), 2 * LEASE_S + 6)


@scenario("poison", "Tasks that kill their process end as poison; the good tasks around them all succeed.")
def poison(trial: Trial) -> None:
    """R08: tasks that call os._exit or end in SIGSEGV among good ones; a supervisor starts the dead worker again."""
    trial.server()
    api = trial.program("all", "--concurrency", "1", "--queues", "elsewhere")
    good = trial.bulk(api, trial.count(2000, 100) // 2, seconds=0.5)
    bad = [*trial.bulk(api, 3, "poison", counted=False, how="exit"), *trial.bulk(api, 2, "poison", counted=False, how="segv")]
    good += trial.bulk(api, trial.count(2000, 100) // 2, seconds=0.5)
    deaths = _supervise(trial, set(good), api, bad)
    ends = trial.states(api, good)
    dead = [one for one in ends if one["state"] != "succeeded"]
    poisoned = [(one["state"], one.get("reason")) for one in trial.states(api, bad)]
    trial.faults = f"{len(bad)} poison tasks"
    trial.duplicates_max = None
    trial.expect(f"good tasks that did not succeed {len(dead)} = 0", not dead)
    trial.expect(
        f"poison tasks that are dead as poison {poisoned.count(('dead', 'poison'))} = {len(bad)}", set(poisoned) == {("dead", "poison")}
    )
    trial.expect(f"process deaths {deaths} ≤ {3 * len(bad)}", deaths <= 3 * len(bad))


def _supervise(trial: Trial, good: set[int], api: Program, bad: list[int]) -> int:
    """One worker, started again whenever it dies, until all has ended; gives how often it died."""
    deaths, worker, give_up = 0, trial.program("worker"), time.monotonic() + 300
    while time.monotonic() < give_up:
        if worker.process.poll() is not None:
            deaths += 1
            trial.ended.append(worker)
            worker = trial.program("worker", wait=False)
        states = {one["state"] for one in trial.states(api, bad)}
        if states == {"dead"} and all(
            one["state"] in ("succeeded", "dead") for one in trial.states(api, sorted(good - trial.ledger.finished()))
        ):
            break
        time.sleep(0.5)
    return deaths
