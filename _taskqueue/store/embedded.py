"""The embedded store: a real Valkey (or Redis) as a child on a unix socket, with an append-only file in the data folder.

::

    engines   which servers are here, and who may open what
    journal   the append-only file: parts missing, who wrote it, a damaged end
    folder    the lock, the engine of the folder, whether it is still there
    child     the process
    embedded  its life: start, watch, start again, stop
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import redis.asyncio as aio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.child import Child
from _taskqueue.store.engines import ServerBinary, find_servers
from _taskqueue.store.folder import DataFolder
from _taskqueue.store.journal import BACKUP
from _taskqueue.store.paths import shown

START_S = 10.0
LOAD_S = 600.0
"""Longest wait while the server reads its append-only file: about a minute per 10 GiB on a slow disk."""
ANSWER_S = 1.0
ASK_PAUSE_S = 0.005
POLL_S = 0.1
LOOK_S = 0.25
"""How often the data folder is looked at."""
SURE_S = 0.1
"""A rewrite changes files and manifest one after the other: what looks wrong is looked at again after this."""
RESTART_PAUSE_S = 0.5
RESTART_PAUSE_MAX_S = 10.0
STEADY_S = 60.0
"""Who ran for this long before it died is started again at once."""
TELL_S = 60.0
JUDGED_FROM = (7, 0)
"""Since then a folder of files: see journal. Older servers cut a command that was written by half themselves."""

_REFUSED_DATA = re.compile(r"(Unexpected end of file|Bad file format) reading the append only file")

_DATA_IS_DAMAGED = re.compile(r"reading the append only file|\bRDB\b")

log = logging.getLogger("taskqueue.store")


class Trouble:
    """Says what is wrong at once, and then once a minute while it lasts."""

    def __init__(self) -> None:
        self.now: str | None = None
        self._told_at = 0.0

    def tell(self, text: str) -> bool:
        """This is wrong; gives whether it was said."""
        due = self.now is None or anyio.current_time() - self._told_at >= TELL_S
        self.now = text
        if due:
            log.error("%s", text)
            self._told_at = anyio.current_time()
        return due

    def over(self) -> bool:
        """Nothing is wrong; gives whether something was."""
        was, self.now = self.now is not None, None
        return was


class EmbeddedStore:
    """One server process on one data folder. Use :func:`run_embedded`."""

    def __init__(self, data_dir: Path, fsync: str) -> None:
        self.folder = DataFolder(data_dir)
        self.url = self.folder.url
        self._fsync = fsync
        self._server: ServerBinary | None = None
        self._child: Child | None = None
        self._client = _client(self.folder.socket)
        self._thread = anyio.CapacityLimiter(1)
        self._stopping = False
        self._refusing = False
        self._data, self._disk, self._deaths, self._starts = Trouble(), Trouble(), Trouble(), Trouble()

    def describe(self) -> str:
        """One line for the log."""
        return f"embedded store {self._server.engine if self._server else '?'} on {shown(self.url)}"

    # -- start and stop ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the data folder, start the server, return when it answers.

        Raises:
            UsageError: the folder cannot be used, another process runs a store there, or the server does not start.
        """
        self.folder.see_that_it_is_the_same()
        self.folder.prepare()
        held = await self.folder.lock()
        try:
            self._server = self.folder.choose(await anyio.to_thread.run_sync(find_servers, abandon_on_cancel=True))
            await self._start_child(self._server, held)
            self.folder.remember()
        except BaseException:
            if self._child is not None:
                await self._child.stop()
            self.folder.return_to_engine()
            raise
        finally:
            for one in held:
                os.close(one)

    async def _start_child(self, server: ServerBinary, held: list[int]) -> None:
        judged = server.engine.kind == "valkey" or server.engine.numbers >= JUDGED_FROM
        flags = ["--appendfsync", self._fsync, "--aof-load-truncated", "no" if judged else "yes"]
        self._child, self._refusing = Child(server, self.folder, flags, held), False
        if await self._answers(self._child):
            return
        if judged and _REFUSED_DATA.search(self._child.said()):
            damage = await anyio.to_thread.run_sync(self.folder.damage, abandon_on_cancel=True)  # reads all of a large file
            if damage is not None:
                log.warning("%s", self.folder.cut(damage))
                self._child = Child(server, self.folder, flags, held)
                if await self._answers(self._child):
                    return
        reason = self._child.reason()
        hint = f"; {BACKUP}" if _DATA_IS_DAMAGED.search(reason) else ""
        raise UsageError(f"the embedded store did not start: {reason}{hint} (see {shown(self.folder.log)})")

    async def _answers(self, child: Child) -> bool:
        give_up = anyio.current_time() + START_S
        limit = anyio.current_time() + LOAD_S
        while anyio.current_time() < give_up and not child.ended:
            try:
                await self._client.ping()  # on the connection that stays, made while the file of its socket is there
            except BusyLoadingError:
                give_up = min(anyio.current_time() + START_S, limit)
            except (RedisError, OSError):
                pass
            else:
                return True
            await anyio.sleep(ASK_PAUSE_S)
        return False

    async def stop(self) -> None:
        """Stop the server in order: its append-only file is flushed."""
        self._stopping = True
        with anyio.CancelScope(shield=True):
            with suppress(RedisError, OSError):
                await self._client.aclose()
            if self._child is not None and not self._child.ended and not await self._child.stop():
                log.error("the embedded store did not stop in order and was killed")

    # -- while it runs ----------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Keep the server running and its data kept, until cancelled or stopped."""
        began = look_at = anyio.current_time()
        in_a_row = 0
        while not self._stopping:
            now = anyio.current_time()
            if self._child is None or self._child.ended:
                in_a_row = 1 if now - began > STEADY_S else in_a_row + 1
                await self._start_again(in_a_row)
                began = anyio.current_time()
            elif now >= look_at:
                await self._look(self._child)
                look_at = anyio.current_time() + LOOK_S
            if now - began > STEADY_S:
                self._deaths.over()
            await anyio.sleep(POLL_S)

    async def _start_again(self, in_a_row: int) -> None:
        """Start it after it died; ``in_a_row`` says how often it did so soon after its start."""
        reason = self._child.reason() if self._child else "it was never there"
        again = f" {in_a_row} times within {STEADY_S:g} s of its start" if in_a_row > 1 else ""
        told = self._deaths.tell(f"the embedded store ended{again}: {reason}; starting it again on the same data")
        if in_a_row > 1:
            await anyio.sleep(min(RESTART_PAUSE_S * 2 ** min(in_a_row - 2, 16), RESTART_PAUSE_MAX_S))
        try:
            await self.start()
        except (UsageError, RuntimeError, OSError) as error:  # the latter: this process lacks threads or descriptors
            self._starts.tell(f"{error}; trying again")
        else:
            if self._starts.over() or told:
                log.info("the embedded store is back")

    async def _look(self, child: Child) -> None:
        trouble = await self._trouble(child.pid)
        if child.ended:  # a dead server has no file open
            return
        if trouble:
            self._data.tell(
                f"{trouble}: nothing is kept any more, so the store refuses every write. "
                "Put the folder back and it goes on, or end this process to begin anew"
            )
        elif self._data.over():
            log.info("the data in %s is where it was; the store takes writes again", self.folder.shown)
        unreachable = self.folder.socket_is_gone()
        try:
            await self._refuse(bool(trouble))
            await self._look_at_disk()
        except (RedisError, OSError):  # it is slow, or just died: whoever uses it notices too
            if trouble and unreachable and not self._refusing:  # it can be told nothing any more, and must not accept what it cannot keep
                await child.stop()
        if unreachable and not trouble:
            log.error("the socket %s was deleted while in use; restarting the embedded store", shown(self.folder.socket))
            await child.stop()

    async def _look_at_disk(self) -> None:
        persistence = await self._client.info("persistence")
        if persistence.get("aof_last_write_status", "ok") != "ok":
            self._disk.tell(
                "the store cannot write to its disk, so it refuses every write; what it accepted in the two seconds before is only "
                f"in its memory until it can: make room for {self.folder.shown}"
            )
        elif self._disk.over():
            log.info("the store writes to its disk again")

    async def _trouble(self, pid: int) -> str | None:
        """What keeps the data from being kept, seen twice."""
        try:
            for pause_s in (SURE_S, 0.0):
                found = await anyio.to_thread.run_sync(self.folder.trouble, pid, abandon_on_cancel=True, limiter=self._thread)
                if found is None:
                    return None
                await anyio.sleep(pause_s)
        except (RuntimeError, OSError):  # this process lacks threads or descriptors
            return self._data.now
        return found

    async def _refuse(self, refuse: bool) -> None:
        """Let the server itself refuse writes (it waits for a replica that will not come), or take them again."""
        if refuse is not self._refusing:
            await self._client.config_set("min-replicas-to-write", int(refuse))
            self._refusing = refuse


def _client(socket: Path) -> aio.Redis:
    """A connection of its own, which outlives the file of its socket."""
    limits: dict[str, Any] = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
    return aio.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0), **limits)


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
