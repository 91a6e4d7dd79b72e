"""The server process of the embedded store.

It holds nothing of ours but the lock of its folder; it has a session of its own, so that Ctrl-C does not reach it before
our drain; on Linux it is told to stop when its parent dies (``PR_SET_PDEATHSIG``, prctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.engines import ServerBinary, how_it_ended, why_not_run
from _taskqueue.store.folder import DataFolder
from _taskqueue.store.paths import shown

STOP_S = 10.0
KILL_S = 5.0
"""A killed process that waits for its disk ends when the disk answers: nobody waits longer for that than this."""
WAIT_PAUSE_S = 0.01
LOG_READ_BYTES = 64 * 1024
REASON_CHARS_MAX = 400
PR_SET_PDEATHSIG = 1

_PREFIX = re.compile(r"^\d+:[A-Z] .{10,30}?\d\d:\d\d:\d\d\.\d+ ([.*#-]) ")
_ADVICE = re.compile(r"[:;.,]?\s*(You can|make a backup|Make a backup|\S*check-(aof|rdb)|Alternatively).*", re.DOTALL)
"""Of servers: to cut the file, with a tool that is not here."""


class Child:
    """One server process on one data folder.

    Args:
        flags: of the server's command line, beside those every server gets.

    Raises:
        UsageError: it cannot be run, or its log cannot be written.
    """

    def __init__(self, server: ServerBinary, folder: DataFolder, flags: Sequence[str], held: Sequence[int]) -> None:
        self._folder = folder
        command = [
            server.path, "--port", "0", "--unixsocket", str(folder.socket), "--unixsocketperm", "700", "--dir", str(folder.path),
            "--appendonly", "yes", "--save", "", "--daemonize", "no", "--logfile", "", "--maxmemory-policy", "noeviction", *flags,
        ]  # fmt: skip
        try:
            log = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(f"cannot write {shown(folder.log)}: {error.strerror}; choose another folder with --data-dir") from None
        try:
            self._log_from = os.lseek(log, 0, os.SEEK_END)
            # subprocess, not anyio.open_process: only the former can ask for PDEATHSIG, which is tied to the *thread* that
            # forks: it must be the event loop's, never one of a pool.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,  # what the loader or the configuration complains of comes before any log
                stderr=log,
                start_new_session=True,
                pass_fds=held,
                preexec_fn=_tie_to_parent(),  # noqa: PLW1509 - prctl and getppid take no lock
            )
        except OSError as error:
            raise UsageError(f"the embedded store did not start: cannot run {shown(server.path)}: {why_not_run(error)}") from None
        finally:
            os.close(log)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """It runs no more."""
        return self._process.poll() is not None

    def reason(self) -> str:
        """Why it does not run, on one line: its own last complaint, or how it ended; never its advice to cut the data."""
        status = self._process.poll()
        if status is None:
            return "it does not answer"
        complaint = last_complaint(self.said()) if status > 0 else ""
        if status > 0 and not complaint and _is_full(self._folder.path):  # it had no room for its words
            return f"no space is left on the disk of {self._folder.shown}"
        return (complaint or how_it_ended(status))[:REASON_CHARS_MAX]

    def said(self) -> str:
        """The last of what it wrote into its log, without what older ones wrote."""
        try:
            with self._folder.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(self._log_from, size), size - LOG_READ_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    async def stop(self) -> bool:
        """End it in order, so that its append-only file is flushed; False when it had to be killed, or cannot even be."""
        with anyio.CancelScope(shield=True):
            self._process.terminate()
            in_order = await self._wait(STOP_S)
            if not in_order:
                self._process.kill()
                await self._wait(KILL_S)
        return in_order

    async def _wait(self, limit_s: float) -> bool:
        with anyio.move_on_after(limit_s):
            while True:
                if self.ended:
                    break
                await anyio.sleep(WAIT_PAUSE_S)
        return self.ended


def last_complaint(text: str) -> str:
    """The last complaint in what a server said: of its log a line marked as a warning, else just the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line[found.end() :] for line in lines if (found := _PREFIX.match(line)) and found[1] == "#"]
    return _ADVICE.sub("", (marked or lines or [""])[-1]).strip()


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free == 0
    except OSError:
        return False


def _tie_to_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    return partial(_die_with, os.getpid(), ctypes.CDLL(None).prctl)  # loaded before the fork: another thread may hold the loader's lock


def _die_with(parent: int, prctl: Callable[[int, int], int]) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before it could be asked for
        os._exit(1)
