"""The embedded store while it runs: its data or its socket is taken away, its server dies."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import redis

from _taskqueue.domain.errors import UsageError
from _taskqueue.store import embedded
from _taskqueue.store.embedded import EmbeddedStore, run_embedded
from _taskqueue.store.engines import ServerBinary
from _taskqueue.store.journal import Journal
from tests.store.folders import answers, call, client_of, commands_of, keys_in, until

# -- while it runs --------------------------------------------------------------------------------------------------------


async def refused_writes(store: EmbeddedStore, client: redis.Redis) -> None:
    def refuses() -> bool:
        try:
            client.set("probe", "1")
        except redis.ResponseError as error:
            return "NOREPLICAS" in str(error)
        return False

    await until(refuses)


def _delete(folder: Path) -> None:
    shutil.rmtree(folder)


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def _swap(folder: Path) -> None:
    """As a restore of a backup does it."""
    shutil.copytree(folder, folder.with_name("copy"), ignore=shutil.ignore_patterns("*.sock"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def _swap_data(folder: Path) -> None:
    shutil.copytree(folder / "appendonlydir", folder / "copy")
    shutil.rmtree(folder / "appendonlydir")
    (folder / "copy").rename(folder / "appendonlydir")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _delete_commands(folder: Path) -> None:
    commands_of(folder).unlink()


@pytest.mark.parametrize("harm", [_delete, _move, _swap, _swap_data, _empty, _delete_commands])
async def test_data_that_is_taken_away_is_told_and_writes_are_refused(
    tmp_path: Path, each_kind: ServerBinary, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    folder = tmp_path / "data"
    async with run_embedded(folder) as store:
        with client_of(store) as client:
            client.set("a", "1")

            harm(folder)

            await refused_writes(store, client)
            assert client.get("a") == b"1"
            assert "while in use: nothing is kept any more" in caplog.text


@pytest.mark.parametrize("harm", [_delete, _move, _swap, _empty, _delete_commands])
async def test_a_server_whose_data_was_taken_away_is_not_started_again_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    folder = tmp_path / "data"
    async with run_embedded(folder) as store:
        call(store, "SET", "a", "1")
        assert store._child is not None

        harm(folder)
        os.kill(store._child.pid, signal.SIGKILL)

        await until(lambda: "; trying again" in caplog.text)
        assert not answers(store)
        assert not folder.exists() or not list(folder.glob("appendonlydir/*.2.*"))


async def test_data_that_is_put_back_is_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "data"
    async with run_embedded(folder) as store:
        with client_of(store) as client:
            client.ping()
            _move(folder)
            await refused_writes(store, client)

            folder.with_name("elsewhere").rename(folder)

            def takes() -> bool:
                try:
                    return bool(client.set("b", "2"))
                except redis.ResponseError:
                    return False

            await until(takes)
    assert "b" in await keys_in(folder)


async def test_a_rewrite_is_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with run_embedded(tmp_path) as store:
        for number in range(5):
            call(store, "SET", f"k{number}", "x")
            call(store, "BGREWRITEAOF")
            await until(lambda: not call(store, "INFO", "persistence")["aof_rewrite_in_progress"])
            assert store.folder.trouble(store._child.pid) is None if store._child else False

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")])
async def test_a_process_without_threads_or_descriptors_blames_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    looks = 0

    def lack(_: Journal) -> None:
        nonlocal looks
        looks += 1
        raise error

    async with run_embedded(tmp_path) as store:
        monkeypatch.setattr(Journal, "missing", lack)
        await until(lambda: looks > 2)
        assert call(store, "SET", "a", "1")

    assert not caplog.records


async def test_a_restart_without_threads_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lack() -> list[ServerBinary]:
        raise RuntimeError("can't start new thread")

    async with run_embedded(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(embedded, "find_servers", lack)
            assert store._child is not None
            os.kill(store._child.pid, signal.SIGKILL)
            await until(lambda: "can't start new thread; trying again" in caplog.text)

        await until(lambda: answers(store))


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "replaced"])
async def test_a_deleted_socket_comes_back(tmp_path: Path, each_kind: ServerBinary, replace: bool) -> None:
    async with run_embedded(tmp_path) as store:
        call(store, "SET", "a", "1")
        before = store._child
        store.folder.socket.unlink()
        if replace:
            store.folder.socket.touch()

        await until(lambda: store._child is not before and store.folder.socket.is_socket())
        await until(lambda: answers(store))
        assert call(store, "GET", "a") == b"1"


async def test_a_store_that_dies_again_and_again_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(embedded, "RESTART_PAUSE_S", 0.05)
    deaths = 6
    async with run_embedded(tmp_path) as store:
        starts, start = 0, store.start

        async def count_start() -> None:
            nonlocal starts
            await start()
            starts += 1

        monkeypatch.setattr(store, "start", count_start)
        for death in range(1, deaths + 1):
            assert store._child is not None
            os.kill(store._child.pid, signal.SIGKILL)
            await until(lambda death=death: starts == death)  # type: ignore[misc]

    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the embedded store ended: killed by SIGKILL (out of memory?); starting it again on the same data",
        "the embedded store is back",
    ]


async def test_a_server_that_dies_again_and_again_is_left_in_peace_for_longer_and_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pauses = EmbeddedStore(tmp_path, "everysec"), []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def fail() -> None:
        raise UsageError("no")

    monkeypatch.setattr(store, "start", fail)
    monkeypatch.setattr(anyio, "sleep", pause)
    for in_a_row in range(1, 9):
        await store._start_again(in_a_row)

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
