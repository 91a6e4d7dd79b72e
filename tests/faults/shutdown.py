"""The end of processes under load: in order, in a hurry, without a store, with handlers that do not let go."""

from __future__ import annotations

import signal
import time

from tests.faults.load import Load
from tests.faults.network import EXIT_STORE_AWAY
from tests.faults.servers import free_port
from tests.faults.trial import DRAIN_S, SLOTS, Trial, scenario
from tests.program import Program

ROLLING_P99_S = 0.25


def _stop(trial: Trial, program: Program, *signals: int) -> tuple[int | None, float]:
    """Send signals, wait; gives the status and how long it took."""
    trial.ended.append(program)
    began = time.monotonic()
    for number in signals or (signal.SIGTERM,):
        program.process.send_signal(number)
        time.sleep(0.3 if len(signals) > 1 else 0)
    while program.process.poll() is None and time.monotonic() - began < 30:
        time.sleep(0.01)
    return program.process.poll(), time.monotonic() - began


@scenario("sigterm-under-load", "After SIGTERM running tasks finish, the rest is done elsewhere, the exit is 0; nothing runs twice.")
def sigterm(trial: Trial) -> None:
    """R34: tasks shorter than the drain."""
    trial.server()
    api, worker = trial.program("api"), trial.program("worker", "--concurrency", "40")
    trial.bulk(api, 200, seconds=2.0)
    trial.ledger.until_started(40, 10)
    status, took = _stop(trial, worker)
    stopped = time.time()
    trial.program("worker", "--concurrency", "100")
    trial.drained()
    trial.faults = "1 × SIGTERM"
    trial.within("gone after", took, DRAIN_S + 1)
    trial.recovered(trial.ledger.first_end_after(stopped), 6)
    trial.expect(f"exit {status} = 0", status == 0)


@scenario("sigterm-long-tasks", "What does not finish in the drain goes back to the front, at no cost, and starts elsewhere within 2 s.")
def sigterm_long(trial: Trial) -> None:
    """R35: tasks longer than the drain, while another worker has room."""
    trial.server()
    api, worker = trial.program("api"), trial.program("worker")
    long = trial.bulk(api, SLOTS, seconds=8.0)
    trial.ledger.until_started(SLOTS, 10)
    trial.program("worker")
    status, took = _stop(trial, worker)
    stopped = time.time()
    trial.drained()
    ends = trial.states(api, long)
    trial.faults = "1 × SIGTERM"
    trial.duplicates_max = SLOTS
    trial.within("gone after", took, DRAIN_S + 2)
    trial.recovered(trial.ledger.back_after(long, stopped - 0.5), 2.5)
    trial.expect(f"exit {status} = 0", status == 0)
    spent = [one for one in ends if one["attempt"] != 1 or one["crashes"]]
    trial.expect(f"tasks that paid for it {len(spent)} = 0", not spent)


@scenario("sigterm-twice", "A second SIGTERM ends the process within 2 s; what ran is given back.")
def sigterm_twice(trial: Trial) -> None:
    """R36."""
    trial.server()
    api, worker = trial.program("api"), trial.program("worker")
    trial.bulk(api, SLOTS, seconds=7.0)
    trial.ledger.until_started(SLOTS, 10)
    trial.program("worker")
    _, took = _stop(trial, worker, signal.SIGTERM, signal.SIGTERM)
    stopped = time.time()
    trial.drained()
    trial.faults = "2 × SIGTERM"
    trial.duplicates_max = SLOTS
    trial.within("gone after", took, 2.6)
    trial.recovered(trial.ledger.back_after(trial.acknowledged, stopped - 2.6), 5)


@scenario("sigterm-without-a-store", "SIGTERM while the store is down: gone within the drain and 3 s, exit 75, and the leases do the rest.")
def sigterm_alone(trial: Trial) -> None:
    """Row 26."""
    server = trial.server()
    api, worker = trial.program("api"), trial.program("worker")
    trial.bulk(api, SLOTS, seconds=6.0)
    trial.ledger.until_started(SLOTS, 10)
    server.kill()
    time.sleep(1)
    status, took = _stop(trial, worker)
    server.start()
    trial.program("worker")
    trial.drained()
    trial.faults = "1 × SIGTERM, store down"
    trial.duplicates_max = SLOTS
    trial.within("gone after", took, DRAIN_S + 3)
    trial.expect(f"exit {status} = {EXIT_STORE_AWAY}", status == EXIT_STORE_AWAY)


@scenario("stuck-handlers", "A thread that never returns and a handler that swallows its cancellation do not keep the process.")
def stuck(trial: Trial) -> None:
    """R38."""
    trial.server()
    api, worker = trial.program("api"), trial.program("worker")
    trial.bulk(api, 5, "stuck", counted=False)
    trial.bulk(api, 5, "stubborn", counted=False)
    trial.ledger.until_started(10, 10)
    status, took = _stop(trial, worker)
    trial.bulk(api, 10, seconds=0.1)
    next_one = trial.program("worker", "--concurrency", "50")
    trial.drained()
    trial.end(next_one)
    trial.faults = "10 stuck handlers"
    trial.duplicates_max = 10
    trial.within("gone after", took, DRAIN_S + 3)
    trial.expect(f"exit {status} in (0, {EXIT_STORE_AWAY})", status in (0, EXIT_STORE_AWAY))


@scenario("sigterm-while-blocked", "SIGTERM is obeyed while a handler blocks the event loop; what ran is done elsewhere after the lease.")
def blocked(trial: Trial) -> None:
    """The loop hears nothing: the watchdog does."""
    trial.server()
    api, worker = trial.program("api"), trial.program("worker")
    trial.bulk(api, 1, "block", seconds=40.0)
    trial.ledger.until_started(1, 10)
    status, took = _stop(trial, worker)
    trial.program("worker", environ={"SPARED": "1"})
    trial.drained()
    trial.faults = "1 × SIGTERM, loop blocked"
    trial.duplicates_max = 1
    trial.within("gone after", took, DRAIN_S + 3)
    trial.expect(f"exit {status} = {EXIT_STORE_AWAY}", status == EXIT_STORE_AWAY)


@scenario("rolling-restart", "Three replicas are restarted one after the other under load: clients that try again see no loss.")
def rolling(trial: Trial) -> None:
    """R39: each replica has its port; a request goes to another one when its connection ends."""
    trial.server()
    ports = [free_port() for _ in range(3)]
    replicas = [_replica(trial, port) for port in ports]
    load = Load(trial.numbers, trial.acknowledged, trial.ids, lambda: [one.api for one in replicas], 200, trial.item, 8).start()
    rounds = trial.count(10, 1)
    for _ in range(rounds):
        for at, port in enumerate(ports):
            status, _took = _stop(trial, replicas[at])
            trial.expect(f"exit {status} = 0", status == 0)
            replicas[at] = _replica(trial, port)
    load.stop()
    trial.drained()
    trial.bounds = [bound for bound in trial.bounds if not bound.held or "exit" not in bound.text]
    trial.faults = f"{3 * rounds} × SIGTERM"
    odd = {name: n for name, n in load.answers.items() if name.isdigit() and name not in ("202", "503")}
    trial.expect(f"statuses but 202 and 503: {odd or 'none'}", not odd and not load.errors)
    trial.within("p99 of an answer", load.seconds[int(len(load.seconds) * 0.99)], ROLLING_P99_S)


def _replica(trial: Trial, port: int) -> Program:
    return trial.program("all", "--port", str(port), "--metrics-port", "0")
