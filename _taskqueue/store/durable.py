"""Writes that are safe at a named level when they return: on disk (WAITAOF), or on a replica (WAIT).

Both commands wait for the last write of *their own connection* (redis.io, "WAIT": the offset kept with the client), so
script and wait travel down one connection. And a script that is sent again may find all of it done and write nothing,
upon which the wait would confirm an older write than is meant: so a small write goes between the two.
"""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import NotDurable, StoreError
from _taskqueue.store.calls import Calls

CONFIRM_MS = 2_000
"""An append-only file that is synced every second takes a bit more than one."""
MARK_MS = 10_000
LOOK_S = 10.0
"""How long it is believed that the store syncs each write."""

_CONFIRM: dict[Durability, tuple[Any, ...]] = {
    Durability.DISK: ("WAITAOF", 1, 0, CONFIRM_MS),
    Durability.REPLICA: ("WAIT", 1, CONFIRM_MS),
}
_UNCONFIRMED = {
    Durability.DISK: f"the store has not confirmed the write to its disk within {CONFIRM_MS / 1000:g} s",
    Durability.REPLICA: f"no replica has confirmed the write within {CONFIRM_MS / 1000:g} s",
}
NO_DISK = "the store cannot promise durability=disk: it keeps no append-only file (run: redis-cli config set appendonly yes)"
NO_SYNC = (
    "the store cannot promise durability=disk: it is older than Redis 7.2, which can confirm writes, so it must sync each of them "
    "(run: redis-cli config set appendfsync always)"
)


class DurableCalls(Calls):
    """Scripts that return when what they wrote is safe."""

    _waits_for_disk = True
    _syncs_until = 0.0

    async def run_durably(self, level: Durability, verb: str, queue: str, *args: Any) -> Any:
        """One script of a queue.

        Raises:
            NotDurable: it is not confirmed at this level, now or ever, though it may be done.
        """
        if level is Durability.PRIMARY:
            return await self.run(verb, queue, *args)
        if level is Durability.DISK and not self._waits_for_disk:
            await self._see_that_it_syncs()
            return await self.run(verb, queue, *args)
        done, _, confirmed = await self._run_and_confirm(level, verb, queue, *args)
        if isinstance(confirmed, ResponseError) and "unknown command" in str(confirmed).lower():
            self._waits_for_disk = False
            return await self.run_durably(level, verb, queue, *args)
        self._read_confirmation(level, confirmed)
        return done

    async def _run_and_confirm(self, level: Durability, verb: str, queue: str, *args: Any) -> list[Any]:
        script, keys = self.bound(verb, queue)
        mark = self.key("durable", queue)
        rest = (("SET", mark, "1", "PX", MARK_MS), _CONFIRM[level])
        replies = await self.pipeline(verb, mark, ("EVALSHA", script.sha, len(keys), *keys, *args), *rest)
        if isinstance(replies[0], NoScriptError):
            replies = await self.pipeline(verb, mark, ("EVAL", script.source, len(keys), *keys, *args), *rest)
        for reply in replies[:2]:
            if isinstance(reply, Exception):
                raise self.translated(reply) from reply
        return replies

    def _read_confirmation(self, level: Durability, confirmed: Any) -> None:
        if isinstance(confirmed, ResponseError) and "appendonly" in str(confirmed):
            raise NotDurable(NO_DISK)
        if isinstance(confirmed, Exception):
            raise self.translated(confirmed) from confirmed
        count = confirmed[0] if isinstance(confirmed, (list, tuple)) else confirmed
        if int(count) < 1:
            raise NotDurable(_UNCONFIRMED[level])

    async def _see_that_it_syncs(self) -> None:
        if time.monotonic() < self._syncs_until:
            return
        try:
            found = await self.command("config", "CONFIG", "GET", "append*")
        except StoreError:
            raise NotDurable(NO_SYNC) from None
        settings = _texts(found)
        if settings.get("appendonly") != "yes":
            raise NotDurable(NO_DISK)
        if settings.get("appendfsync") != "always":
            raise NotDurable(NO_SYNC)
        self._syncs_until = time.monotonic() + LOOK_S


def _texts(found: Any) -> dict[str, str]:
    """The answer to CONFIG GET, from the flat shape of RESP2 or the map of RESP3."""
    items = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {_text(name): _text(value) for name, value in items}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
