"""One run of one peer: a fresh server, a ledger, a pipe for signals, and processes that are all gone at the end.

Everything that waits does so against the run's deadline; what goes wrong is a RunFailed with the last line that the
peer's own log has to say.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalog import ROOT, Peer
from benchmarks.measure import cpu_ns, die_with_parent, machine_busy_s, rss_bytes, tree
from benchmarks.server import Figures, Server

RUN_S_MAX = 150.0
"""The deadline of a run unless its case says otherwise."""
STOP_S = 3.0
TICK_S = 0.05
POLL_S = 0.002
LINE_CHARS_MAX = 200
ERROR = re.compile(r"\w*(?:Error|Exception|ERROR|CRITICAL)\b")
"""Lines that say more than the last one."""


class RunFailed(Exception):
    """A run that gave no figures; the text says why."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What a producer did."""

    count: int
    seconds: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Clock, worker and server at one moment."""

    at_s: float
    worker_cpu_ns: int
    machine_busy_s: float
    server: Figures


class Process:
    """A worker in a process group of its own, so that it is ended with all its children."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as sink:
            self._popen = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - prctl takes no lock
            )  # fmt: skip
        self.pids = [self._popen.pid]

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self._popen.pid

    def ended(self) -> bool:
        """Whether the first process has ended."""
        return self._popen.poll() is not None

    def look(self) -> None:
        """Note which children there are now."""
        self.pids = tree(self.pid)

    def cpu_ns(self) -> int:
        """CPU of all processes noted."""
        return sum(map(cpu_ns, self.pids))

    def rss_bytes(self) -> int:
        """Resident memory of the whole tree now."""
        self.look()
        return sum(map(rss_bytes, self.pids))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self) -> None:
        """End it, politely first."""
        self.kill(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_S)
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_S)


class Stage:
    """Where one run takes place. Use :func:`staged`."""

    def __init__(self, peer: Peer, folder: Path, server: Server, deadline_s: float, pinned: bool) -> None:
        self.peer, self.server, self.pinned = peer, server, pinned
        self._folder, self._until = folder, time.monotonic() + deadline_s
        self._ledger = folder / "ledger"
        self._ledger.touch()
        os.mkfifo(folder / "signals")
        self._signals = os.open(folder / "signals", os.O_RDWR | os.O_NONBLOCK)
        self._heard = b""
        self.workers: list[Process] = []
        if pinned:
            server.pin(max(os.sched_getaffinity(0)))

    def close(self) -> None:
        """End what was started."""
        for worker in self.workers:
            worker.stop()
        os.close(self._signals)

    # -- processes --------------------------------------------------------------------------------------------------

    def work(self, concurrency: int, target: int = 0) -> Process:
        """Start a worker; it signals when ``target`` tasks have ended."""
        environment = self._environment(BENCH_CONCURRENCY=str(concurrency), BENCH_TARGET=str(target))
        worker = Process([*self.peer.command(), "worker"], environment, self._folder / f"worker{len(self.workers)}.log")
        if self.pinned:
            os.sched_setaffinity(worker.pid, {min(os.sched_getaffinity(0))})
        self.workers.append(worker)
        return worker

    def produce(self, task: str, count: int, *, bulk: bool = False, rate: float = 0.0) -> Produced:
        """Run a producer to its end.

        Args:
            rate: tasks per second; 0 means as fast as it goes.
        """
        flags = ["--task", task, "--count", str(count), "--rate", str(rate), *(["--bulk"] if bulk else [])]
        log = self._folder / "producer.log"
        try:
            with log.open("wb") as errors:
                done = subprocess.run(
                    [*self.peer.command(), "produce", *flags],
                    cwd=ROOT, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                    timeout=self.left_s(), check=False,
                )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise self.failure(f"the producer did not enqueue {count} tasks in time", log) from None
        if done.returncode:
            raise self.failure(f"the producer ended with status {done.returncode}", log)
        return Produced(**json.loads(done.stdout.decode().strip().splitlines()[-1]))

    def _environment(self, **more: str) -> dict[str, str]:
        paths = {"BENCH_LEDGER": str(self._ledger), "BENCH_SIGNALS": str(self._folder / "signals"), "BENCH_HOME": str(self.peer.home)}
        return {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_URL": self.server.url, **paths, **more}

    # -- waiting ----------------------------------------------------------------------------------------------------

    def left_s(self) -> float:
        """Seconds to the deadline. Raises RunFailed when it has passed."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.failure("the deadline has passed")
        return left

    def failure(self, what: str, log: Path | None = None) -> RunFailed:
        """What to raise: the reason, with the last line of a log."""
        last = _last_line(log or (self.workers[-1].log if self.workers else self._folder / "server.log"))
        return RunFailed(f"{what}; its log ends: {last}" if last else what)

    def signal(self, name: str) -> None:
        """Wait until a task tells ``first`` or ``last``."""
        wanted = name.encode() + b"\n"
        while wanted not in self._heard:
            self._check_workers()
            if name == "first":
                self.workers[-1].look()
            if select.select([self._signals], [], [], min(TICK_S, self.left_s()))[0]:
                self._heard += os.read(self._signals, 4096)

    def settled(self) -> None:
        """Wait until the system's own counters say that nothing is left."""
        while any(self.server.left(probe) for probe in self.peer.probes):
            self._check_workers()
            self.left_s()
            time.sleep(POLL_S)

    def written(self, lines: int, within_s: float = RUN_S_MAX) -> bool:
        """Wait until the ledger has so many lines; whether it came to that."""
        until = time.monotonic() + min(within_s, self.left_s())
        while time.monotonic() < until:
            if len(self.ledger()) >= lines:
                return True
            self._check_workers()
            time.sleep(TICK_S)
        return False

    def _check_workers(self) -> None:
        if self.workers and self.workers[-1].ended():
            raise self.failure("the worker ended by itself")

    # -- figures ----------------------------------------------------------------------------------------------------

    def ledger(self) -> list[list[str]]:
        """The ledger's lines, split."""
        return [line.split() for line in self._ledger.read_text().splitlines()]

    def forget(self) -> None:
        """Empty the ledger."""
        os.truncate(self._ledger, 0)

    def snapshot(self) -> Snapshot:
        """Where the worker and the server stand now."""
        at, worker = time.perf_counter(), self.workers[-1].cpu_ns() if self.workers else 0
        return Snapshot(at, worker, machine_busy_s(), self.server.figures())


def _last_line(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    telling = [line for line in lines if ERROR.search(line)] or lines
    return telling[-1][:LINE_CHARS_MAX] if telling else ""


@contextmanager
def staged(peer: Peer, *, deadline_s: float = RUN_S_MAX, pinned: bool = False) -> Iterator[Stage]:
    """A stage for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Server(Path(name)) as server:
        stage = Stage(peer, Path(name), server, deadline_s, pinned)
        try:
            yield stage
        finally:
            stage.close()
