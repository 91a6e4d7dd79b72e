"""Runs the real program and talks to it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
READY_S = 20.0
STOP_S = 40.0


class Program:
    """One process of ``taskqueue.py``, on free ports unless told otherwise.

    Args:
        environ: variables beside PATH and HOME.
        before: a command that runs the program.
    """

    def __init__(self, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, before: Sequence[str] = ()) -> None:
        self._log = folder / f"log-{time.monotonic_ns()}.txt"
        ports = [] if "--port" in arguments else ["--port", "0", "--metrics-port", "0"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, str(ROOT / "taskqueue.py"), *ports, "--log-format", "json", *arguments],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.api = self.metrics = ""

    @property
    def output(self) -> str:
        """Everything it said so far."""
        return self._log.read_text()

    def until_ready(self) -> Program:
        """Wait for its ready line; learns the URLs from it."""
        give_up = time.monotonic() + READY_S
        while time.monotonic() < give_up and self.process.poll() is None:
            found = re.search(r'"ready: (?:(http\S+) and )?(http\S+)/metrics"', self.output)
            if found:
                self.api, self.metrics = found[1] or "", found[2]
                return self
            time.sleep(0.02)
        raise AssertionError(f"not ready (status {self.process.poll()}):\n{self.output}")

    def request(self, path: str, body: object = None, *, raw: bytes | None = None) -> tuple[int, Any]:
        """GET, or POST when there is a body; gives status and parsed JSON."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.api + path, data=data), timeout=15) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; gives the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Program]:
    """A program that is ready; killed at the end if it still runs."""
    program = Program(folder, *arguments, environ=environ)
    try:
        yield program.until_ready()
    finally:
        program.kill()
