"""Submissions that wait for the disk or for a replica, on servers that have them, lose them, or never had them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.errors import NotDurable, StoreError, StoreUnsuitable
from _taskqueue.metrics import Metrics
from _taskqueue.producer import Producer
from _taskqueue.store import durable
from _taskqueue.store.connect import Connector
from _taskqueue.store.engines import bundled
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import Registry
from tests.conftest import start_server, submission

LINK_S = 15.0
Opener = Callable[[str], Store]
NewId = Callable[[], str]


@contextmanager
def server(binary: str, folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of its own for one test."""
    folder.mkdir()
    process, url = start_server(binary, folder, *more)
    try:
        yield process, url
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.fixture
def valkey() -> str:
    found = bundled()
    assert found
    return found


@pytest.fixture
def old_redis() -> str:
    """A server without WAITAOF."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if "v=7.0." not in said and "v=6." not in said:
        pytest.skip(f"this redis-server knows WAITAOF: {said.strip()}")
    return found


@pytest.fixture
async def opened(metrics: Metrics) -> AsyncIterator[Opener]:
    """Opens stores, and closes them."""
    stores: list[Store] = []

    def open_one(url: str) -> Store:
        stores.append(Store(Connector(url), metrics, namespace="d"))
        return stores[-1]

    yield open_one
    for one in stores:
        await one.aclose()


@contextmanager
def replicated(binary: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A primary with one replica, linked; gives the primary's URL and the replica's process."""
    with server(binary, folder / "primary", "--port", "0", "--repl-diskless-sync-delay", "0") as (_, url):
        port = _free_port()
        with redis.Redis.from_url(url) as primary:
            primary.config_set("port", port)
            with server(binary, folder / "replica", "--replicaof", f"127.0.0.1 {port}") as (process, _):
                give_up = time.monotonic() + LINK_S
                while not _confirms(primary):
                    assert time.monotonic() < give_up, primary.info("replication")
                yield url, process


def _confirms(primary: redis.Redis) -> bool:
    """Whether the replica is there, asked as the product asks."""
    with primary.pipeline(transaction=False) as line:
        line.set("link", 1)
        line.wait(1, 100)
        _, count = line.execute()
    return bool(count)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("fsync", ["everysec", "always"])
async def test_the_disk_confirms(valkey: str, tmp_path: Path, opened: Opener, new_id: NewId, fsync: str) -> None:
    with server(valkey, tmp_path / "s", "--appendonly", "yes", "--appendfsync", fsync) as (_, url):
        store = opened(url)
        await store.route("default")
        await store.check(Durability.DISK)

        denied = await store.submit("default", [(new_id(), submission())], Durability.DISK)

        assert denied == {}
        assert (await store.count("default")).states["pending"] == 1
        client: Any = store._client
        local, _ = await client.execute_command("WAITAOF", 1, 0, 1)
        assert local == 1


async def test_a_store_without_a_file_never_promises_the_disk(valkey: str, tmp_path: Path, opened: Opener, new_id: NewId) -> None:
    with server(valkey, tmp_path / "s") as (_, url):
        store = opened(url)
        await store.route("default")

        with pytest.raises(StoreUnsuitable, match="append-only file"):
            await store.check(Durability.DISK)
        with pytest.raises(NotDurable, match="append-only file"):
            await store.submit("default", [(new_id(), submission())], Durability.DISK)


async def test_an_old_server_must_sync_every_write(old_redis: str, tmp_path: Path, opened: Opener, new_id: NewId) -> None:
    with server(old_redis, tmp_path / "s", "--appendonly", "yes", "--appendfsync", "everysec") as (_, url):
        store = opened(url)
        await store.route("default")
        with pytest.raises(NotDurable, match="appendfsync always"):
            await store.submit("default", [(new_id(), submission())], Durability.DISK)

        client: Any = store._client
        await client.execute_command("CONFIG", "SET", "appendfsync", "always")

        assert await store.submit("default", [(new_id(), submission())], Durability.DISK) == {}


async def test_a_replica_confirms_and_a_frozen_one_does_not(
    valkey: str, tmp_path: Path, opened: Opener, new_id: NewId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(durable._CONFIRM, Durability.REPLICA, ("WAIT", 1, 200))
    with replicated(valkey, tmp_path) as (url, replica):
        store, one = opened(url), (new_id(), submission())
        client: Any = store._client
        await store.route("default")
        assert await store.check(Durability.REPLICA) == []
        assert await store.submit("default", [(new_id(), submission())], Durability.REPLICA) == {}

        replica.send_signal(signal.SIGSTOP)
        for _ in range(3):  # all but the first find it stored and write nothing: still nobody has confirmed it
            with pytest.raises(NotDurable, match="replica"):
                await store.submit("default", [one], Durability.REPLICA)
            await client.aclose()  # a connection that never wrote would confirm anything
        replica.send_signal(signal.SIGCONT)

        assert await store.submit("default", [one], Durability.REPLICA) == {}
        assert (await store.count("default")).states["pending"] == 2


async def test_without_a_replica_one_is_told_at_the_start(bundled_url: str, opened: Opener) -> None:
    store = opened(bundled_url)

    assert "until one is" in (await store.check(Durability.REPLICA))[0]
    assert "neither an append-only file nor a replica" in (await store.check())[0]


async def test_memory_promises_nothing(opened: Opener) -> None:
    with pytest.raises(StoreUnsuitable, match="memory://"):
        await opened("memory://").check(Durability.DISK)


async def test_who_waits_for_the_disk_holds_nobody_else_up(
    bundled_url: str, opened: Opener, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(durable._CONFIRM, Durability.DISK, ("WAIT", 1, 300))  # for a replica that is not there: 300 ms, always
    producer = Producer(opened(bundled_url), metrics, Registry({}), 1024)
    ends: list[str] = []

    async def submit(level: Durability) -> None:
        with suppress(NotDurable):
            await producer.submit(submission(), level=level)
        ends.append(level)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(producer.run())
        await asyncio.sleep(0)
        waiting = [group.create_task(submit(Durability.DISK)) for _ in range(20)]
        await asyncio.sleep(0.01)
        await asyncio.wait([*waiting, *[group.create_task(submit(Durability.PRIMARY)) for _ in range(20)]])
        running.cancel()

    assert ends == [Durability.PRIMARY] * 20 + [Durability.DISK] * 20


async def test_a_script_that_is_refused_says_so(valkey: str, tmp_path: Path, opened: Opener, new_id: NewId) -> None:
    with server(valkey, tmp_path / "s", "--appendonly", "yes") as (_, url):
        store = opened(url)
        await store.route("default")
        client: Any = store._client
        await client.execute_command("SET", store.key("records", "default"), "not a hash")

        with pytest.raises(StoreError, match="WRONGTYPE"):
            await store.submit("default", [(new_id(), submission())], Durability.DISK)
