"""The data folder of the embedded store: who may use it, which engine wrote it, and whether it is still there.

==============  =====================================================================================================
``engine``      the engine that wrote the data, by kind and version; older and foreign ones are refused
``lock``        held by the server until it dies, as is the folder itself, whose lock cannot be deleted
``valkey.sock``  where the server listens
``valkey.log``  what it says
==============  =====================================================================================================
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import anyio

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.engines import Engine, ServerBinary, choose, read_engine
from _taskqueue.store.journal import Damage, Journal
from _taskqueue.store.paths import shown

SOCKET_PATH_BYTES_MAX = 100
"""sun_path holds 108 bytes (unix(7)); some are kept for the temporary names of servers."""
LOCK_WAIT_S = 5.0
"""A killed process takes its child along within 0.1 s; a restart waits this long for that."""
LOCK_PAUSE_S = 0.05
LEFTOVERS = ("temp-rewriteaof-*", "temp-*.rdb", "appendonlydir/temp-*", ".engine-*")
"""What dead servers leave of a rewrite that they did not end."""

OWN_LACK = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Says nothing of the folder."""

log = logging.getLogger("taskqueue.store")


class DataFolder:
    """One data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.socket = self.path / "valkey.sock"
        self.log = self.path / "valkey.log"
        self.journal = Journal(self.path)
        self.shown = shown(self.path)
        self._engine = self.path / "engine"
        self._identity: tuple[int, int] | None = None
        self._socket_identity: tuple[int, int] | None = None
        self._before: tuple[Engine, object] | None = None
        """the engine that another is to take over from, and what the data looked like then"""

    @property
    def url(self) -> str:
        """The URL of the socket. Whatever is not ASCII stays as it is: redis-py reads quoted bytes as UTF-8, which a path need not be."""
        return "unix://" + re.sub(r"[\x00-\x7f]+", lambda part: quote(part[0]), str(self.socket))

    def prepare(self) -> None:
        """Make the folder. Raises UsageError when it cannot be used."""
        if len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES_MAX:
            raise UsageError(
                f"the path {shown(self.socket)} is too long for a unix socket ({SOCKET_PATH_BYTES_MAX} bytes); "
                "choose a shorter one with --data-dir"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> UsageError:
        reason = "it is no folder" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
        return UsageError(f"cannot use the data dir {self.shown}: {reason}; choose another with --data-dir")

    # -- the lock ---------------------------------------------------------------------------------------------------

    async def lock(self) -> list[int]:
        """Take the folder; gives the descriptors that hold it, for as long as any copy of them is open.

        Raises:
            UsageError: another process has it, or it cannot be written to.
        """
        with anyio.move_on_after(LOCK_WAIT_S):
            while True:
                try:
                    held = self._try_lock()
                except OSError as error:
                    raise self._unusable(error) from None
                if held:
                    return held
                await anyio.sleep(LOCK_PAUSE_S)
        raise UsageError(
            f"the data dir {self.shown} is in use by another process; give this one its own --data-dir, "
            f"or share that store with --redis-url {shown(self.url)}"
        )

    def _try_lock(self) -> list[int]:
        """The folder's own lock cannot be deleted; that of the file works on network file systems too."""
        held: list[int] = []
        try:
            held.append(os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600))
            fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(os.open(self.path, os.O_RDONLY))
            with suppress(_NotLockable):
                _flock_folder(held[1])
        except BlockingIOError:
            _close(held)
            return []
        except BaseException:
            _close(held)
            raise
        return held

    # -- the engine -------------------------------------------------------------------------------------------------

    def choose(self, servers: Sequence[ServerBinary]) -> ServerBinary:
        """The server to start on this folder, which is its engine from now on; call it under the lock.

        Raises:
            UsageError: none of them may open it, or a part of its data is missing.
        """
        try:
            self._sweep()
            self.journal.check()
            wrote, used = self._read_engine(), bool(self.journal.files())
            if not used and self._identity is not None:
                raise UsageError(f"the data in {self.shown} was deleted while in use; end this process to begin anew")
            if not used and wrote is not None:
                log.warning("the data dir %s was used before (by %s) and holds no data any more: it starts empty", self.shown, wrote)
            server = choose(servers, wrote, self.journal.dump(), self.shown) if used else servers[0]
            self._before = (wrote, self.journal.state()) if used and wrote and server.engine != wrote else None
            if server.engine != wrote:
                self._write_engine(server.engine)
        except OSError as error:
            raise self._unusable(error) from None
        if used and wrote and server.engine != wrote:
            log.info("the data in %s, written by %s, is taken over by %s", self.shown, wrote, server.engine)
        return server

    def return_to_engine(self) -> None:
        """The server that was to take over has not come up: the one before goes on, unless something was written since."""
        if self._before is None:
            return
        wrote, state = self._before
        with suppress(OSError):
            if self.journal.state() == state:
                self._write_engine(wrote)

    def damage(self) -> Damage | None:
        """What a crash or a power cut left at the end of the data; see :meth:`Journal.damage`. Raises UsageError."""
        try:
            return self.journal.damage()
        except OSError as error:
            raise self._unusable(error) from None

    def cut(self, damage: Damage) -> str:
        """Cut it, and keep it in the folder; gives what was done. Raises UsageError."""
        try:
            return damage.cut(self.path)
        except OSError as error:
            reason = error.strerror
            raise UsageError(f"the end of the data in {self.shown} is damaged and cannot be cut: {reason}; mend that first") from None

    def _sweep(self) -> None:
        for pattern in LEFTOVERS:
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def _read_engine(self) -> Engine | None:
        try:
            text = self._engine.read_text("utf-8", "replace")
        except FileNotFoundError:
            return None
        return read_engine(text)

    def _write_engine(self, engine: Engine) -> None:
        number, name = tempfile.mkstemp(prefix=".engine-", dir=self.path)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(f"{engine}\n")
            file.flush()
            os.fsync(number)
        Path(name).replace(self._engine)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # -- while it is used -------------------------------------------------------------------------------------------

    def remember(self) -> None:
        """From now on this folder, and no other of its name, is meant. Raises UsageError when it is gone already."""
        try:
            self._identity, self._socket_identity = _identity(self.path), _identity(self.socket)
        except OSError as error:
            raise self._unusable(error) from None

    def see_that_it_is_the_same(self) -> None:
        """Raises UsageError when the folder is no longer the one that was remembered."""
        trouble = self._gone()
        if trouble is not None:
            raise UsageError(f"{trouble}; put it back, or end this process to begin anew")

    def _gone(self) -> str | None:
        if self._identity is None:
            return None
        try:
            now = _identity(self.path)
        except FileNotFoundError:
            return f"the data dir {self.shown} was deleted or moved away while in use"
        except OSError as error:
            return f"the data dir {self.shown} cannot be read any more: {error.strerror}"
        return None if now == self._identity else f"the data dir {self.shown} was replaced by another while in use"

    def socket_is_gone(self) -> bool:
        """Nobody can connect any more: the file of the socket is not the server's."""
        try:
            return _identity(self.socket) != self._socket_identity
        except OSError:
            return True

    def trouble(self, pid: int) -> str | None:
        """What keeps the server with this pid from keeping data here, as the start of a sentence; None when nothing does.

        Raises:
            OSError: this process lacks what it needs to look.
        """
        gone = self._gone()
        if gone is not None:
            return gone
        try:
            missing = self.journal.missing()
            last = None if missing else self.journal.files()[-1].stat()
        except OSError as error:
            if error.errno in OWN_LACK:
                raise
            return f"the data in {self.shown} cannot be read any more: {error.strerror}"
        if missing is not None:
            return f"{shown(missing)} was deleted while in use"
        if last is not None and not _has_open(pid, (last.st_dev, last.st_ino)):
            return f"the data in {self.shown} was replaced while in use"
        return None


class _NotLockable(Exception):
    """The file system locks no folders."""


def _flock_folder(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:  # NFS, for one, wants a descriptor that can be written to
        raise _NotLockable from error


def _close(held: list[int]) -> None:
    for one in held:
        os.close(one)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _has_open(pid: int, identity: tuple[int, int]) -> bool:
    """Whether a process has this file open; True where that cannot be seen."""
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if _identity(link) == identity:
                    return True
    except OSError:
        return True
    return False
