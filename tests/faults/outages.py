"""The store goes away and comes back: killed, restarted in order, slow to load, with a full disk."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.faults.ledger import until_true
from tests.faults.load import Load
from tests.faults.servers import Server, until
from tests.faults.trial import BACK_S, LEASE_S, SLOTS, Trial, scenario
from tests.program import Program

LATE_WRITES = 2 * SLOTS
"""What may run twice after a kill -9 of a store that syncs each second: while a sync of its is under way, Redis answers
before it has written to the file, for up to 2 s (redis.conf, "no-appendfsync-on-rewrite" and aof.c, "postpone"). The claims
of that moment are forgotten, and their tasks start again. Acknowledged submissions could go the same way; none may here."""
REFUSED_S = 2.0
"""How soon a submission is answered 503 when the store is away."""


def whole(trial: Trial, *flags: str) -> tuple[Server, Program, Program]:
    """A server, an API and a worker, which must all outlive what comes."""
    server = trial.server(*flags)
    return server, trial.program("api"), trial.program("worker")


def judge_answers(trial: Trial, load: Load) -> None:
    """Every submission was answered, by 202 or an honest 503, and in time."""
    odd = {name: n for name, n in load.answers.items() if name not in ("202", "503")}
    trial.expect(f"answers but 202 and 503: {odd or 'none'}", not odd and not load.errors)
    trial.within("slowest answer", load.seconds[-1] if load.seconds else None, REFUSED_S)


def out_for(trial: Trial, server: Server, seconds: float, *flags: str) -> float:
    """kill -9, a pause, and a start on the same data; gives when the server answered again."""
    server.kill()
    time.sleep(seconds)
    server.start(*flags)
    return time.time()


def resumed(trial: Trial, back: float) -> float | None:
    """Seconds from the server's answer to the next end of a task."""
    until_true(lambda: trial.ledger.first_end_after(back) is not None, 30)
    return trial.ledger.first_end_after(back)


@scenario("store-killed-1s", "The store is killed and away for a second: nothing is lost, no mass of second runs, work goes on by itself.")
def killed_1s(trial: Trial) -> None:
    """R10 in the small: kill -9 of Redis under load, back after 1 s."""
    server, api, _ = whole(trial)
    load = trial.load(api, rate=300)
    time.sleep(3)
    back = out_for(trial, server, 1.0)
    trial.recovered(resumed(trial, back), BACK_S)
    time.sleep(2)
    load.stop()
    trial.drained()
    trial.faults, trial.duplicates_max = "1 × kill -9, 1 s", LATE_WRITES
    judge_answers(trial, load)


@scenario("store-killed-30s-loading", "The store is away for six leases and then loads its data for long: no mass of second runs.")
def killed_30s(trial: Trial) -> None:
    """R13 and row 7: Redis killed for 30 s, then LOADING; readiness goes red and green again."""
    server, api, _ = whole(trial)
    load = trial.load(api, rate=80, seconds=0.2)
    time.sleep(4)
    server.kill()
    red = seconds_until(lambda: ready(api) != 200)
    time.sleep(max(2 * LEASE_S, 30 * trial.scale))
    loading_s = max(3.0, 10 * trial.scale)
    delay_us = int(loading_s * 10**6 / max(server.log_commands(), 1))
    began = time.time()
    server.start("--key-load-delay", str(delay_us), wait=False)
    until(server.answers, 120, "the end of loading")
    back = time.time()
    green = seconds_until(lambda: ready(api) == 200)
    trial.recovered(resumed(trial, back), BACK_S)
    time.sleep(2)
    load.stop()
    trial.drained()
    trial.faults, trial.duplicates_max = f"1 × kill -9, {back - began:.0f} s of LOADING", LATE_WRITES
    trial.expect(f"loading took {back - began:.1f} s ≥ {loading_s / 3:.1f} s", back - began >= loading_s / 3)
    trial.within("unready after", red, 2.5)
    trial.within("ready after", green, 2.5)
    judge_answers(trial, load)


def ready(program: Program) -> int:
    """The status of /readyz."""
    try:
        with urllib.request.urlopen(program.metrics + "/readyz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def seconds_until(true: Callable[[], object], limit_s: float = 20.0) -> float | None:
    """How long it takes for something to come true; None when it does not."""
    began = time.monotonic()
    try:
        until(true, limit_s, "")
    except RuntimeError:
        return None
    return time.monotonic() - began


@scenario("orderly-restarts", "The store is restarted in order again and again at 500 submissions a second: every refusal is a quick 503.")
def orderly(trial: Trial) -> None:
    """R09: SIGTERM and start, ten times."""
    server, api, _ = whole(trial)
    trial.program("worker", "--concurrency", "50")
    load = trial.load(api, rate=500, threads=16)
    restarts, slowest = trial.count(10, 2), 0.0
    for _ in range(restarts):
        time.sleep(trial.random.uniform(1, 4))
        server.stop()
        time.sleep(trial.random.uniform(0.2, 1.5))
        server.start()
        slowest = max(slowest, resumed(trial, time.time()) or 99.0)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"{restarts} × restart"
    trial.recovered(slowest, BACK_S)
    judge_answers(trial, load)


@scenario("store-killed-aof-always", "With every write on disk before its answer, ten kills of the store lose nothing.")
def killed_always(trial: Trial) -> None:
    """R10 with appendfsync always."""
    _kill_often(trial, "--appendfsync", "always")


@scenario("store-killed-aof-everysec", "With a disk write each second, ten kills of the store's process lose nothing either.")
def killed_everysec(trial: Trial) -> None:
    """R10 with appendfsync everysec: what the process wrote is the kernel's, whatever becomes of the process.

    Redis' own exception is LATE_WRITES.
    """
    _kill_often(trial, "--appendfsync", "everysec")
    trial.duplicates_max = trial.count(10, 2) * LATE_WRITES


def _kill_often(trial: Trial, *flags: str) -> None:
    server, api, _ = whole(trial, *flags)
    load = trial.load(api, rate=300)
    kills, slowest = trial.count(10, 2), 0.0
    for _ in range(kills):
        time.sleep(trial.random.uniform(0.5, 2.5))
        slowest = max(slowest, resumed(trial, out_for(trial, server, trial.random.uniform(0.05, 0.5))) or 99.0)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults = f"{kills} × kill -9"
    trial.recovered(slowest, BACK_S)
    judge_answers(trial, load)


@scenario("store-frozen", "A store that stands still and thaws has done what was given up as lost: nothing is done twice for it.")
def frozen(trial: Trial) -> None:
    """Row 14: commands that timed out run later; claims for nobody are handed back, submissions stay single."""
    server, api, _ = whole(trial)
    load = trial.load(api, rate=200)
    rounds = trial.count(5, 1)
    for _ in range(rounds):
        time.sleep(trial.random.uniform(1, 3))
        server.freeze()
        time.sleep(7)
        server.thaw()
    thawed = time.time()
    trial.recovered(resumed(trial, thawed), 2 * LEASE_S)
    time.sleep(2)
    load.stop()
    trial.drained()
    trial.faults = f"{rounds} × SIGSTOP 7 s"
    judge_answers(trial, load)


@scenario(
    "disk-full", "The embedded store cannot write any more: submissions are refused, what was accepted is kept and done after the cure."
)
def disk_full(trial: Trial) -> None:
    """Row 10: its data folder is a disk of 3 MB, which is then made larger."""
    data = trial.folder / "data"
    data.mkdir()
    if not _mount(data, "size=3m"):
        trial.faults, trial.keyspace = "none: only root may mount a small disk", False
        return
    trial.stack.callback(subprocess.run, ["umount", "--lazy", str(data)], check=False)
    program = trial.program("embedded", "--data-dir", str(data))
    load = trial.load(program, rate=200, filler="x" * 2000)
    until_true(lambda: load.answers["503"] > 20, 60)
    full_s = max(4.0, 20 * trial.scale)
    time.sleep(full_s)
    _mount(data, "remount,size=512m")
    cured = time.time()
    trial.recovered(resumed(trial, cured), 2 * LEASE_S)
    time.sleep(1)
    load.stop()
    trial.drained()
    trial.faults, trial.data = f"1 × disk full, {full_s:g} s", data
    trial.expect(f"refused with 503: {load.answers['503']} > 0", load.answers["503"] > 0)
    judge_answers(trial, load)


def _mount(folder: Path, options: str) -> bool:
    """A disk in memory of a given size; False for who may not do that."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
