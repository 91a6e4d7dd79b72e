"""What the tests of the embedded store share: it runs for a moment, and its folder is looked into."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.embedded import EmbeddedStore, run_embedded
from _taskqueue.store.engines import ServerBinary, find_servers

WAIT_S = 10.0


def server_of(kind: str) -> ServerBinary:
    found = next((one for one in find_servers() if one.engine.kind == kind), None)
    if found is None:
        pytest.skip(f"no {kind} server on this machine")
    return found


def client_of(store: EmbeddedStore) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(store.folder.socket), retry=Retry(NoBackoff(), 0))


def call(store: EmbeddedStore, *words: Any) -> Any:
    with client_of(store) as client:
        return client.execute_command(*words)


async def write(folder: Path, *keys: str) -> None:
    """Have a store keep these keys, each in a command of its own, and stop in order."""
    async with run_embedded(folder) as store:
        for key in keys:
            call(store, "SET", key, "value of " + key)


async def keys_in(folder: Path) -> set[str]:
    async with run_embedded(folder) as store:
        return {key.decode() for key in call(store, "KEYS", "*")}


def commands_of(folder: Path) -> Path:
    """The file that the commands are in."""
    (found,) = folder.glob("appendonlydir/*.incr.aof")
    return found


async def refusal(folder: Path) -> str:
    """The one line a start is refused with; nothing in the data is changed by it."""
    before = {path: path.read_bytes() for path in folder.glob("appendonlydir/*")}
    with pytest.raises(UsageError) as caught:
        await keys_in(folder)
    assert {path: path.read_bytes() for path in folder.glob("appendonlydir/*")} == before
    text = str(caught.value)
    assert "\n" not in text
    assert "check-aof" not in text
    return text


async def until(true: Callable[[], object]) -> None:
    with anyio.fail_after(WAIT_S):
        while not true():
            await anyio.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def answers(store: EmbeddedStore) -> bool:
    try:
        return bool(call(store, "PING"))
    except redis.ConnectionError:
        return False
