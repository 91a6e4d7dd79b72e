"""Runs cases and peers interleaved: round by round, so that a noisy minute hits everyone and not one.

A run that fails is noted with its reason, and the rest goes on.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from benchmarks.cases import Case
from benchmarks.catalog import ROOT, Peer
from benchmarks.progress import Progress
from benchmarks.server import NoServer, find_server, version
from benchmarks.stage import RunFailed
from benchmarks.venvs import NotInstalled, prepare

PREPARED_AT_ONCE = 2
GIT_S = 5.0
CRASHES_AT_ONCE = 4
"""The crash case mostly waits: so many peers go through it at a time, each with its own server."""
FAILURES = (RunFailed, NoServer, RedisError, OSError, ValueError, KeyError)
"""What a broken peer can raise; everything else is a defect of ours."""


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run, or why there are none."""

    peer: str
    case: str
    figures: dict[str, float] = field(default_factory=dict)
    failure: str = ""


@dataclass(slots=True)
class Plan:
    """What is to be run.

    Args:
        rounds: how often each repeated case is run.
        pinned: server and worker each on a core of their own.
    """

    peers: Sequence[Peer]
    cases: Sequence[Case]
    rounds: int = 3
    pinned: bool = False

    def steps(self) -> int:
        """How many runs that makes."""
        return len(self.peers) * sum(self.rounds if case.repeated else 1 for case in self.cases)


def prepare_all(peers: Sequence[Peer], progress: Progress) -> tuple[list[Peer], list[Run]]:
    """Make the environments; gives the peers that can run, and a failure for each that cannot."""

    def attempt(peer: Peer) -> str:
        try:
            prepare(peer)
        except NotInstalled as error:
            return str(error)
        finally:
            progress.end(f"environment of {peer.title}")
        return ""

    with ThreadPoolExecutor(PREPARED_AT_ONCE) as pool:
        reasons = list(pool.map(attempt, peers))
    ready = [peer for peer, reason in zip(peers, reasons, strict=True) if not reason]
    return ready, [Run(peer.name, "install", failure=reason) for peer, reason in zip(peers, reasons, strict=True) if reason]


def run_plan(plan: Plan, runs: list[Run], progress: Progress) -> None:
    """Add all runs of the plan, in the order they end; what was measured before an interrupt is kept."""
    for number in range(plan.rounds):
        order = rotated(plan.peers, number)
        for case in plan.cases:
            if case.repeated:
                runs.extend(run_one(peer, case, plan.pinned, progress) for peer in order)
    for case in plan.cases:
        if not case.repeated:
            runs.extend(_at_once(plan, case, progress))


def rotated(peers: Sequence[Peer], number: int) -> list[Peer]:
    """The peers in another order each round."""
    first = number * 4 % max(len(peers), 1)
    return [*peers[first:], *peers[:first]]


def _at_once(plan: Plan, case: Case, progress: Progress) -> list[Run]:
    with ThreadPoolExecutor(CRASHES_AT_ONCE) as pool:
        return list(pool.map(lambda peer: run_one(peer, case, False, progress), plan.peers))


def run_one(peer: Peer, case: Case, pinned: bool, progress: Progress) -> Run:
    """One run; what goes wrong becomes part of the result."""
    label = f"{case.name}: {peer.title}"
    progress.begin(label)
    try:
        run = Run(peer.name, case.name, figures=case.run(peer, pinned))
    except FAILURES as error:
        run = Run(peer.name, case.name, failure=f"{type(error).__name__}: {error}".removeprefix("RunFailed: "))
        progress.say(f"{label} failed: {run.failure}")
    progress.end(label)
    return run


def machine() -> dict[str, Any]:
    """What all this ran on."""
    binary = find_server()
    return {
        "commit": _commit(),
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "server": version(binary),
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def _commit() -> str:
    """What of ours was measured; empty outside a clone."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
