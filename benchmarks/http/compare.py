"""Drives each contestant with wrk, interleaved; every run has a fresh Redis and a fresh process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalog import ROOT, VENVS, http_pins
from benchmarks.progress import Progress
from benchmarks.server import Server, free_port
from benchmarks.stage import Process
from benchmarks.venvs import NotInstalled, make_python

HOME = VENVS / "http"
SCRIPT = Path(__file__).with_name("post.lua")
ROUNDS, RUN_S, WARM_UP_S = 3, 5, 1
CONNECTIONS = 32
BATCH = 500
START_S, DEADLINE_S = 15.0, 30.0
PAUSE_S = 0.05
LOG_CHARS = 200


class NoFigures(Exception):
    """A contestant that did not start or that wrk could not measure."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One program that takes submissions.

    Args:
        batch: tasks in each request; 0 means the single-task call.
    """

    name: str
    title: str
    command: tuple[str, ...]
    path: str = "/tasks"
    batch: int = 0


OURS = (sys.executable, str(ROOT / "taskqueue.py"), "--role", "api", "--metrics-port", "0", "--log-level", "warning")
CONTESTANTS = (
    Contestant("ours", "taskqueue, `POST /tasks`", OURS),
    Contestant("quart", "Quart on Hypercorn, one Redis SET", (sys.executable, "-m", "benchmarks.http.plain")),
    Contestant("fastapi", "FastAPI on uvicorn, arq enqueue", (str(HOME / "bin/python"), "-m", "benchmarks.http.fastarq")),
    Contestant("ours_batch", f"taskqueue, `POST /tasks/batch` of {BATCH}", OURS, "/tasks/batch", BATCH),
)


def compare_http() -> dict[str, Any]:
    """Medians by contestant, each with ``title`` and either figures or ``failure``; empty without wrk."""
    if shutil.which("wrk") is None:
        return {"wrk": {"title": "all", "failure": "wrk is not installed (a package of that name exists in most systems)"}}
    progress = Progress(ROUNDS * len(CONTESTANTS))
    found: dict[str, list[dict[str, float]]] = {one.name: [] for one in CONTESTANTS}
    failures: dict[str, str] = {}
    for _ in range(ROUNDS):
        for one in CONTESTANTS:
            try:
                found[one.name].append(_measure(one))
            except (NoFigures, NotInstalled, OSError, ValueError) as error:
                failures[one.name] = str(error)
            progress.end(f"http: {one.name}")
    progress.close()
    return {one.name: {"title": one.title, **_medians(found[one.name], failures.get(one.name, ""))} for one in CONTESTANTS}


def _medians(runs: list[dict[str, float]], failure: str) -> dict[str, Any]:
    if not runs:
        return {"failure": failure}
    figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {**figures, "runs": [run["per_s"] for run in runs]}


def _measure(one: Contestant) -> dict[str, float]:
    if one.name == "fastapi":
        make_python(HOME, http_pins())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Server(Path(folder)) as server:
        port = free_port()
        process = Process(_command(one, server.url, port), _environment(server.url, port), Path(folder, "app.log"))
        try:
            _await_port(port, process)
            _load(one, port, WARM_UP_S)
            process.look()
            before = process.cpu_ns()
            said = _load(one, port, RUN_S)
            return _figures(said, process.cpu_ns() - before, max(one.batch, 1))
        finally:
            process.stop()


def _figures(said: dict[str, int], cpu_ns: int, tasks: int) -> dict[str, float]:
    if not said["requests"]:
        raise NoFigures("no request was answered")
    return {
        "per_s": said["requests"] * tasks * 1e6 / said["us"],
        "cpu_us": cpu_ns / 1e3 / said["requests"] / tasks,
        "p50_ms": said["p50_us"] / 1e3,
        "p99_ms": said["p99_us"] / 1e3,
        "errors": said["errors"],
    }


def _command(one: Contestant, url: str, port: int) -> list[str]:
    flags = ["--redis-url", url, "--port", str(port)] if one.command is OURS else []
    return [*one.command, *flags]


def _environment(url: str, port: int) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_URL": url, "BENCH_PORT": str(port)}


def _await_port(port: int, process: Process) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and not process.ended():
        with socket.socket() as probe:
            probe.settimeout(PAUSE_S)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(PAUSE_S)
    raise NoFigures(f"it did not start: {process.log.read_text(errors='replace').strip()[-LOG_CHARS:]}")


def _load(one: Contestant, port: int, seconds: int) -> dict[str, int]:
    """One run of wrk; gives what post.lua says."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}{one.path}"]
    environment = {**os.environ, "BENCH_BATCH": str(one.batch)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=DEADLINE_S + seconds, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise NoFigures((done.stderr or "wrk said nothing").strip()[-LOG_CHARS:])
    found: dict[str, int] = json.loads(lines[-1])
    return found
