"""The network between a process and the store goes bad, and clocks disagree."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.crash import refusals
from tests.faults.servers import until
from tests.faults.trial import BACK_S, DRAIN_S, LEASE_S, RECOVERED_S, SLOTS, Trial, scenario
from tests.program import Program

FAKETIME = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1")
EXIT_STORE_AWAY = 75


@scenario(
    "slow-and-lossy", "With 200 ± 100 ms each way and one reset in 200 pieces, no lease ends falsely and nothing is lost or run twice."
)
def slow_and_lossy(trial: Trial) -> None:
    """R25: every party behind one bad network, from its start on."""
    proxy = trial.proxy(trial.server().port)
    proxy.latency_s, proxy.jitter_s, proxy.reset_share = 0.1, 0.05, 0.005
    api = trial.program("api", url=proxy.url)
    workers = [trial.program("worker", url=proxy.url) for _ in range(2)]
    load = trial.load(api, rate=20, threads=16, seconds=0.2)
    time.sleep(max(10.0, 300 * trial.scale))
    load.stop()
    trial.drained()
    trial.faults = f"{proxy.resets} resets"
    false = sum(one.output.count("worker.lost") for one in workers)
    trial.expect(f"leases that ended falsely {false} = 0", false == 0)
    refused = sum(map(refusals, workers))
    trial.expect(f"answers of a worker refused {refused:.0f} = 0", refused == 0)
    odd = {name: n for name, n in load.answers.items() if name not in ("202", "503")}
    trial.expect(f"answers but 202 and 503: {odd or 'none'}", not odd and not load.errors)


@scenario(
    "black-hole", "The store takes connections and never answers: no call waits for ever, and SIGTERM still ends the process in time."
)
def black_hole(trial: Trial) -> None:
    """R26: silence, then a SIGTERM within it."""
    server = trial.server()
    proxy = trial.proxy(server.port)
    api, worker = trial.program("api", url=proxy.url), trial.program("worker", url=proxy.url)
    trial.bulk(api, SLOTS, seconds=2.0)
    trial.ledger.until_started(SLOTS, 10)
    proxy.silent = True
    silent_s = max(3.0, 30 * trial.scale)
    load = trial.load(api, rate=20)
    time.sleep(silent_s)
    statuses = _stop(trial, [worker, api])
    trial.faults = f"1 × silence, {silent_s:g} s"
    trial.expect(f"exit of the worker {statuses[0]} = {EXIT_STORE_AWAY}", statuses[0] == EXIT_STORE_AWAY)
    trial.within("slowest refusal", max(load.seconds, default=None), 2.0)
    other = trial.program("worker")
    load.stop(0)
    trial.drained()
    trial.duplicates_max = SLOTS
    trial.expect("the other worker lives", other.process.poll() is None)


def _stop(trial: Trial, programs: list[Program]) -> list[int | None]:
    """SIGTERM to these; bounds how long they take, gives their statuses."""
    trial.ended += programs
    began = time.monotonic()
    for one in programs:
        one.process.terminate()
    limit = (DRAIN_S + 3) * trial.slack
    until_gone = [_wait(one, began + limit + 5) for one in programs]
    trial.within("gone after", time.monotonic() - began, DRAIN_S + 3)
    return until_gone


def _wait(program: Program, give_up: float) -> int | None:
    while program.process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return program.process.poll()


@scenario("one-worker-cut-off", "One of three workers is cut off for three leases: its tasks move on, and its late answers are refused.")
def cut_off(trial: Trial) -> None:
    """R28: one party behind a proxy of its own that goes silent."""
    server = trial.server()
    proxy = trial.proxy(server.port)
    api, lonely = trial.program("api"), trial.program("worker", url=proxy.url)
    others = [trial.program("worker") for _ in range(2)]
    load = trial.load(api, rate=60, seconds=0.8)
    time.sleep(3)
    proxy.silent, moment = True, time.time()
    held = _open_runs(trial, lonely.process.pid)
    time.sleep(3 * LEASE_S)
    proxy.silent = False
    proxy.cut()
    time.sleep(3)
    load.stop()
    trial.drained()
    trial.faults = f"1 × {3 * LEASE_S:g} s of silence"
    trial.duplicates_max = len(_touched(trial, lonely.process.pid, moment))
    returned = trial.ledger.back_after(held, moment)
    trial.recovered(returned, RECOVERED_S)
    most = max(trial.ledger.runs().values())
    trial.expect(f"most runs of one task {most} ≤ 2", most <= 2)
    until(lambda: refusals(lonely) > 0, RECOVERED_S, "the refusal of the late answers")
    trial.expect(f"refused answers of the others {sum(map(refusals, others)):.0f} = 0", sum(map(refusals, others)) == 0)


def _open_runs(trial: Trial, pid: int) -> set[int]:
    started = {entry.number for entry in trial.ledger.entries() if entry.pid == pid and entry.what == "S"}
    return started - trial.ledger.finished()


def _touched(trial: Trial, pid: int, moment: float) -> set[int]:
    """What a process had under way at a moment, or began or ended after it."""
    before = {entry.number for entry in trial.ledger.entries() if entry.pid == pid and entry.what == "E" and entry.at < moment - 0.1}
    return {entry.number for entry in trial.ledger.entries() if entry.pid == pid} - before


@scenario("clocks-apart", "A worker's clock is ten minutes ahead, another's ten behind: only the store's clock counts.")
def clocks_apart(trial: Trial) -> None:
    """R33 between hosts: libfaketime on each worker; short freezes would be taken for long ones by a client's clock."""
    library = next((path for path in FAKETIME if Path(path).exists()), None)
    if library is None:
        trial.faults, trial.keyspace = "none: libfaketime is not installed", False
        return
    trial.server()
    api = trial.program("api")
    fake = {"LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    workers = [trial.program("worker", environ={**fake, "FAKETIME": shift}) for shift in ("+600s", "-600s")]
    count = trial.count(2000, 200)
    trial.bulk(api, count // 2, seconds=0.1)
    delayed, sent = trial.bulk(api, count // 2, seconds=0.1, terms={"delay": "3s"}), time.time()
    trial.drained()
    took = time.time() - sent
    trial.faults = "± 600 s"
    trial.expect(f"delayed by 3 s, ended after {took:.1f} s ≥ 3 s", took >= 3.0 and bool(delayed))
    trial.expect(f"refused answers {sum(map(refusals, workers)):.0f} = 0", sum(map(refusals, workers)) == 0)


@scenario("store-clock-jumps", "The store's clock jumps ten minutes ahead and back: no task runs twice for it and none is stuck.")
def clock_jumps(trial: Trial) -> None:
    """R33 in the store: libfaketime moves its clock while it runs. It is Valkey: Redis' allocator clashes with libfaketime."""
    library = next((path for path in FAKETIME if Path(path).exists()), None)
    if library is None:
        trial.faults, trial.keyspace = "none: libfaketime is not installed", False
        return
    clock = trial.folder / "clock"
    clock.write_text("+0s")
    fake = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    server = trial.server(kind="valkey", environ={"LD_PRELOAD": library, **fake})
    api, _ = trial.program("api"), trial.program("worker")
    load = trial.load(api, rate=20, seconds=0.5)
    jumps = []
    for shift in ("+600s", "+0s"):
        time.sleep(3)
        clock.write_text(shift)
        time.sleep(2 * LEASE_S + 2)
        jumps.append(round(server.call("TIME")[0] - time.time()))
    back = time.time()
    load.stop()
    trial.drained()
    last = max(entry.at for entry in trial.ledger.entries())
    trial.faults = "+600 s, -600 s"
    trial.expect(f"the clock was ahead by {jumps[0]} s, then by {jumps[1]} s", jumps[0] > 500 and abs(jumps[1]) < 5)
    trial.recovered(max(0.0, last - back), BACK_S)
