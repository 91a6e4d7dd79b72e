"""``python -m tests.faults.soak``: everything at once for a long time, and what it leaves behind.

Half an hour of tasks of every kind, with dashboards open and people searching, under a retention of seconds: after the
warm-up nothing may grow any more.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.progress import Progress
from tests.faults.load import Load
from tests.faults.report import machine, write_soak
from tests.faults.servers import Server
from tests.faults.trial import Trial
from tests.faults.volume import memory_mib
from tests.program import Program

REPORT = Path(__file__).parent / "REPORT.md"
RATE = 200.0
TABS = 5
EVERY_S = 3.0
WARM_UP_S = 120.0
"""Retention (30 and 45 s) has begun to forget, caches are full, and the allocator has met every size."""
GROWTH_MIB_MAX = 1.0
"""In five minutes: at 200 tasks a second that is 17 bytes a task, less than the smallest object of Python."""
GROWTH_S = 300.0
RETENTION = ("--retain-succeeded", "30s", "--retain-failed", "45s", "--retain-max", "20000")


@dataclass(frozen=True)
class Sample:
    """One look at everything."""

    at: float
    """seconds since the start"""
    rss_mib: dict[str, float]
    files: dict[str, int]
    threads: dict[str, int]
    connections: int
    memory_mib: float
    keys: int
    records: int


def mixed(numbers: random.Random, number: int) -> dict[str, Any]:
    """A submission of one of many kinds."""
    draw, payload = numbers.random(), {"number": number}
    kinds: list[tuple[float, dict[str, Any]]] = [
        (0.50, {"task": "work", "payload": {**payload, "seconds": 0.02}}),
        (0.58, {"task": "fail", "payload": payload}),
        (0.62, {"task": "doomed", "payload": payload}),
        (0.64, {"task": "discarded", "payload": payload}),
        (0.70, {"task": "work", "payload": payload, "delay": "2s"}),
        (0.73, {"task": "work", "payload": payload, "delay": "5s", "expires_in": "1s"}),
        (0.78, {"task": "work", "payload": payload, "unique": {"key": f"key-{number % 50}"}}),
        (0.84, {"task": "work", "payload": payload, "batch_id": f"batch-{number // 500}", "tags": [f"tag-{number % 7}"]}),
        (0.92, {"task": "talkative", "payload": payload, "meta": {"customer": str(number % 30)}}),
        (0.93, {"task": "threaded", "payload": {**payload, "filler": "x" * 100_000}}),
    ]
    return next((item for limit, item in kinds if draw < limit), {"task": "threaded", "payload": payload, "priority": 5, "retain": "5s"})


def repeat(stop: threading.Event, action: Callable[[int], None], pause_s: float) -> threading.Thread:
    """Do something again and again in a thread, whatever comes of it."""

    def run() -> None:
        for turn in itertools.count():
            if stop.wait(pause_s):
                return
            try:
                action(turn)
            except (OSError, http.client.HTTPException, KeyError):
                continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def search(api: Program, turn: int) -> None:
    """What people look at, one after the other."""
    paths = ("/tasks?q=host", "/tasks?state=dead&limit=50", "/failures", "/queues", "/stats", "/workers", "/tasks?tag=tag-3", "/metrics")
    base = api.metrics if paths[turn % len(paths)] == "/metrics" else api.api
    with urllib.request.urlopen(base + paths[turn % len(paths)], timeout=10) as answer:
        answer.read()


def cancel_one(api: Program, turn: int) -> None:
    """Submit for later, and cancel."""
    _, answer = api.request("/tasks", {"task": "work", "payload": {"number": -turn - 1}, "delay": "1h"})
    api.request(f"/tasks/{answer['task_id']}/cancel", {})


def watch(api: Program, stop: threading.Event, life_s: float) -> None:
    """A tab of the dashboard: the stream of events, for a while."""
    parts = urlsplit(api.api)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
    response, give_up = connection.getresponse(), time.monotonic() + life_s
    while time.monotonic() < give_up and not stop.is_set() and response.read1(65_536):
        pass
    connection.close()


def take(began: float, server: Server, programs: dict[str, Program]) -> Sample:
    """Look at everything."""
    pids = {name: one.process.pid for name, one in programs.items()}
    with server.client() as client:
        return Sample(
            time.monotonic() - began,
            {name: memory_mib(one) for name, one in programs.items()},
            {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in pids.items()},
            {name: len(list(Path(f"/proc/{pid}/task").iterdir())) for name, pid in pids.items()},
            int(client.info("clients")["connected_clients"]),
            client.info("memory")["used_memory"] / 2**20,
            int(client.dbsize()),
            int(client.execute_command("HLEN", "taskqueue:{default}:records")),
        )


def run(trial: Trial, minutes: float, progress: Progress) -> tuple[list[Sample], Load]:
    """Everything at once; gives the samples."""
    server = trial.server()
    api = trial.program("api", *RETENTION)
    programs = {"api": api, "worker": trial.program("worker", "--concurrency", "50", *RETENTION)}
    stop, draws = threading.Event(), random.Random(trial.seed)  # noqa: S311 - to be the same again
    load = Load(trial.numbers, set(), {}, lambda: [api.api], RATE, lambda number: mixed(draws, number), keyed=False).start()
    threads = [repeat(stop, lambda turn: search(api, turn), 0.5), repeat(stop, lambda turn: cancel_one(api, turn), 0.25)]
    threads += [repeat(stop, lambda _, life=20.0 + 15 * tab: watch(api, stop, life), 0.1) for tab in range(TABS)]  # type: ignore[misc]
    began, samples = time.monotonic(), list[Sample]()
    while time.monotonic() - began < minutes * 60:
        time.sleep(EVERY_S)
        samples.append(take(began, server, programs))
        progress.end(", ".join(f"{name} {mib:.0f} MiB" for name, mib in samples[-1].rss_mib.items()) + f", {samples[-1].records} tasks")
    stop.set()
    load.stop()
    for thread in threads:
        thread.join(30)
    return samples, load


def slope(samples: list[Sample], value: Callable[[Sample], float]) -> float:
    """Growth in five minutes, by least squares."""
    times, values = [one.at for one in samples], [value(one) for one in samples]
    return statistics.linear_regression(times, values).slope * GROWTH_S if len(samples) > 2 else 0.0


def judge(trial: Trial, samples: list[Sample]) -> list[tuple[str, float, float, float]]:
    """Bounds on everything after the warm-up; gives (what, at its begin, at its end, growth in 5 min)."""
    warm = [one for one in samples if one.at > min(WARM_UP_S, samples[-1].at / 2)]
    lines = []
    for what, value, limit in series(samples):
        growth, edge = slope(warm, value), max(1, len(warm) // 5)
        first, last = (statistics.median(map(value, part)) for part in (warm[:edge], warm[-edge:]))
        lines.append((what, first, last, growth))
        trial.expect(f"{what} grows by {growth:+.2f} in 5 min ≤ {limit:g}", growth <= limit)
    return lines


def series(samples: list[Sample]) -> Iterator[tuple[str, Callable[[Sample], float], float]]:
    """What is followed: its name, how to read it, how much it may grow in five minutes."""
    for name in samples[0].rss_mib:
        yield f"RSS of the {name}, MiB", lambda one, name=name: one.rss_mib[name], GROWTH_MIB_MAX  # type: ignore[misc]
        yield f"open files of the {name}", lambda one, name=name: one.files[name], 2  # type: ignore[misc]
        yield f"threads of the {name}", lambda one, name=name: one.threads[name], 1  # type: ignore[misc]
    yield "connections of the store", lambda one: one.connections, 2
    yield "memory of the store, MiB", lambda one: one.memory_mib, GROWTH_MIB_MAX
    yield "keys", lambda one: one.keys, 1
    yield "tasks kept", lambda one: one.records, 500


def text_of(trial: Trial, samples: list[Sample], load: Load, lines: list[tuple[str, float, float, float]], lost_text: str) -> str:
    """The section of the report."""
    answers = ", ".join(f"{count:,} × {name}" for name, count in sorted(load.answers.items()))
    parts = [
        f"{samples[-1].at / 60:.0f} min at {RATE:g} submissions a second of every kind (success, retries, dead, discarded, delayed, ",
        "expired, cancelled, unique, batches, logs and results, 100 kB payloads, threads), ",
        f"{TABS} dashboards' event streams, searches twice a second; retention 30 and 45 s. {machine()}, seed {trial.seed}. ",
        f"Answers: {answers}. {lost_text}\n\n",
        f"| after {WARM_UP_S:g} s of warm-up | at its begin | at its end | growth in 5 min |\n|---|--:|--:|--:|\n",
        *(f"| {what} | {first:.1f} | {last:.1f} | {growth:+.2f} |\n" for what, first, last, growth in lines),
        "\n",
        *(f"- {'held' if bound.held else '**not held**'}: {bound.text}\n" for bound in trial.bounds),
    ]
    return "".join(parts)


def main() -> int:
    """Run, judge, write; 1 when something grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description="A long run, and what it leaves behind.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 - printed
    parser.add_argument("--folder", type=Path, default=None, help="where it keeps its files; they stay there")
    parser.add_argument("--no-report", action="store_true", help="leave the report as it is")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    trial = Trial(options.folder or Path(tempfile.mkdtemp(prefix="soak-")), options.seed, duplicates_max=None)
    progress = Progress(int(options.minutes * 60 / EVERY_S))
    with trial.stack:
        samples, load = run(trial, options.minutes, progress)
        trial.expect(f"answers but 202: {load.answers.total() - load.answers['202']} = 0; errors {load.errors[:3]}", not load.errors)
        lines = judge(trial, samples)
        row = trial.finish("soak", "", samples[-1].at)
    progress.close()
    for bound in trial.bounds:
        progress.say(f"  {'ok ' if bound.held else 'NOT'} {bound.text}")
    if not options.no_report:
        write_soak(REPORT, text_of(trial, samples, load, lines, ""))
    return 0 if row.ok else 1


if __name__ == "__main__":
    sys.exit(main())
