"""The embedded store on real servers: whose folder it is, what a damaged folder does, what a start says that fails."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from _taskqueue.domain.errors import UsageError
from _taskqueue.metrics import Metrics
from _taskqueue.store import child, embedded
from _taskqueue.store.connect import Connector
from _taskqueue.store.embedded import EmbeddedStore, run_embedded
from _taskqueue.store.engines import Engine, ServerBinary
from _taskqueue.store.store import Store
from tests.store.folders import WAIT_S, call, commands_of, gone, keys_in, refusal, server_of, write

# -- the engine -----------------------------------------------------------------------------------------------------


async def test_the_bundled_server_is_preferred_and_named_in_the_folder(tmp_path: Path) -> None:
    await write(tmp_path, "a")

    assert (tmp_path / "engine").read_text() == f"{server_of('valkey').engine}\n"


async def test_the_server_that_wrote_a_folder_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "find_servers", lambda: [server_of("redis")])
        await write(tmp_path, "a")

    async with run_embedded(tmp_path) as store:
        assert store.describe().startswith(f"embedded store {server_of('redis').engine} on ")
        assert call(store, "GET", "a") == b"value of a"


@pytest.mark.parametrize(("wrote", "other"), [("valkey", "redis"), ("redis", "valkey")])
async def test_a_foreign_engine_is_refused(tmp_path: Path, only: Callable[[str], ServerBinary], wrote: str, other: str) -> None:
    writer = only(wrote)
    await write(tmp_path, "a")

    only(other)
    text = await refusal(tmp_path)

    assert f"was written by {writer.engine}" in text
    assert f"install {wrote}-server {writer.version} or newer" in text
    only(wrote)
    assert await keys_in(tmp_path) == {"a"}


async def test_an_older_engine_is_refused_and_a_newer_one_takes_over(tmp_path: Path) -> None:
    await write(tmp_path, "a")
    engine = tmp_path / "engine"
    engine.write_text("valkey 99.0.0\n")

    assert "install valkey-server 99.0.0 or newer" in await refusal(tmp_path)

    engine.write_text("valkey 8.0.1\n")
    assert await keys_in(tmp_path) == {"a"}
    assert engine.read_text() == f"{server_of('valkey').engine}\n"


async def test_a_newer_engine_that_does_not_come_up_takes_nothing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(tmp_path, "a")
    wrote = (tmp_path / "engine").read_text()
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho out of order >&2; exit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(embedded, "find_servers", lambda: [ServerBinary(str(broken), Engine("valkey", "99.0.0"))])

    assert "did not start" in await refusal(tmp_path)

    assert (tmp_path / "engine").read_text() == wrote
    monkeypatch.undo()
    assert await keys_in(tmp_path) == {"a"}


async def test_a_folder_without_its_engine_is_judged_by_its_data(tmp_path: Path, only: Callable[[str], ServerBinary]) -> None:
    only("valkey")
    await write(tmp_path / "valkey", "v")
    only("redis")
    await write(tmp_path / "redis", "r")
    for kind in ("valkey", "redis"):
        (tmp_path / kind / "engine").unlink()

    assert f"was written by {server_of('valkey').engine}" in await refusal(tmp_path / "valkey")

    only("valkey")  # which reads the dumps of Redis 7.0
    assert await keys_in(tmp_path / "redis") == {"r"}


async def test_an_engine_that_wrote_nothing_binds_nobody(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("redis 99.0.0\n")

    assert await keys_in(tmp_path) == set()


# -- damaged folders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 3, 17])
async def test_a_command_written_by_half_is_cut_told_and_kept_aside(
    tmp_path: Path, each_kind: ServerBinary, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    await write(tmp_path, "a", "b")
    whole = commands_of(tmp_path).read_bytes()
    start = whole.rindex(b"*3\r\n")
    commands_of(tmp_path).write_bytes(whole[:-lost])

    with caplog.at_level(logging.WARNING):
        assert await keys_in(tmp_path) == {"a"}

    (told,) = [record.getMessage() for record in caplog.records]
    assert f"{len(whole) - lost - start} bytes (a command written by half)" in told
    (kept,) = tmp_path.glob("*.cut-at-*")
    assert kept.read_bytes() == whole[start:-lost]
    assert str(kept) in told


@pytest.mark.parametrize("lost", [0, 5])
async def test_a_tail_of_zeros_is_cut_told_and_kept_aside(
    tmp_path: Path, each_kind: ServerBinary, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    await write(tmp_path, "a", "b")
    whole = commands_of(tmp_path).read_bytes()
    damaged = whole[: len(whole) - lost] + bytes(3_000_000)
    good = whole.rindex(b"*3\r\n") if lost else len(whole)
    commands_of(tmp_path).write_bytes(damaged)

    with caplog.at_level(logging.WARNING):
        assert await keys_in(tmp_path) == ({"a"} if lost else {"a", "b"})

    (told,) = [record.getMessage() for record in caplog.records]
    assert f"{len(damaged) - good} bytes (zeros)" in told
    (kept,) = tmp_path.glob("*.cut-at-*")
    assert kept.read_bytes() == damaged[good:]


@pytest.mark.parametrize(
    ("damage", "seen_at"),
    [
        (lambda whole: whole.replace(b"$1\r\na\r\n", b"$9\r\na\r\n"), 23),
        (lambda whole: whole.replace(b"$1\r\na\r\n", b"$99999\r\na\r\n"), 23),
        (lambda whole: whole.replace(b"*3\r\n$3\r\nSET\r\n$1\r\na", b"\0\0\0\0$3\r\nSET\r\n$1\r\na"), 23),
    ],
    ids=["a wrong length", "a length beyond the end", "a hole of zeros"],
)
async def test_damage_before_the_end_is_refused_and_nothing_is_cut(
    tmp_path: Path, each_kind: ServerBinary, damage: Callable[[bytes], bytes], seen_at: int
) -> None:
    await write(tmp_path, "a", "b", "c")
    path = commands_of(tmp_path)
    path.write_bytes(damage(path.read_bytes()))

    text = await refusal(tmp_path)

    assert f"is damaged at byte {seen_at}, before its end; nothing was changed; restore it from a backup" in text
    assert not list(tmp_path.glob("*.cut-at-*"))


@pytest.mark.parametrize("pattern", ["*.manifest", "*.base.rdb", "*.incr.aof"])
async def test_a_missing_part_is_refused_not_started_without(tmp_path: Path, each_kind: ServerBinary, pattern: str) -> None:
    await write(tmp_path, "a")
    (part,) = (tmp_path / "appendonlydir").glob(pattern)
    content = part.read_bytes()
    part.unlink()

    text = await refusal(tmp_path)

    assert f"{part} is missing" in text
    part.write_bytes(content)
    assert await keys_in(tmp_path) == {"a"}


async def test_a_first_start_that_was_cut_short_is_no_missing_manifest(tmp_path: Path) -> None:
    await write(tmp_path)
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").unlink()

    assert await keys_in(tmp_path) == set()


async def test_damage_in_a_dump_is_refused_without_advice_that_loses_data(tmp_path: Path, each_kind: ServerBinary) -> None:
    await write(tmp_path, "a")
    (base,) = tmp_path.glob("appendonlydir/*.base.rdb")
    content = base.read_bytes()
    base.write_bytes(content[:30] + b"XXXX" + content[34:])

    assert re.search("the embedded store did not start: .*RDB.*; restore it from a backup", await refusal(tmp_path))


async def test_leftovers_of_dead_servers_are_removed(tmp_path: Path) -> None:
    leftovers = [tmp_path / "temp-rewriteaof-bg-123.aof", tmp_path / "temp-rewriteaof-9.aof", tmp_path / "temp-77.rdb"]
    for path in leftovers:
        path.write_bytes(b"half")

    await write(tmp_path, "a")

    assert not any(path.exists() for path in leftovers)


# -- the lock -----------------------------------------------------------------------------------------------------------


async def test_a_deleted_lock_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.store.folder.LOCK_WAIT_S", 0.3)
    async with run_embedded(tmp_path) as store:
        (tmp_path / "lock").unlink()

        with pytest.raises(UsageError, match="in use by another process"):
            await EmbeddedStore(tmp_path, "everysec").start()
        assert call(store, "SET", "a", "1")


async def test_the_server_holds_nothing_but_its_lock_and_log(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        async with run_embedded(tmp_path / "data") as store:
            assert store._child is not None
            held = {str(link.readlink()) for link in Path(f"/proc/{store._child.pid}/fd").iterdir() if link.exists()}

    data = str(tmp_path / "data")
    assert {path for path in held if path.startswith(str(tmp_path))} == {
        data, f"{data}/lock", f"{data}/valkey.log", str(commands_of(tmp_path / "data")),
    }  # fmt: skip


async def test_the_server_is_forked_by_the_thread_of_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any other thread, its end would be taken for the parent's."""
    threads = []
    monkeypatch.setattr(child, "_tie_to_parent", lambda: threads.append(threading.current_thread()))

    await write(tmp_path, "a")

    assert threads == [threading.current_thread()]


# -- names of folders -----------------------------------------------------------------------------------------------------

NAMES = [
    b"da#ta", b"a?b", b"50%20x", b"two words", b'quo"te', b"apo'strophe", b"new\nline", b"tab\t", b"non\xff\xfeutf", "été".encode(),
    b"back\\x41", b" around ", b"--save", b"a@b:c", b"{title}", b"$(x)`;&",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_data_folder_may_have_any_name(
    tmp_path: Path, each_kind: ServerBinary, metrics: Metrics, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    folder = tmp_path / os.fsdecode(name)
    with caplog.at_level(logging.INFO):
        async with run_embedded(folder) as embedded_store:
            connector = Connector(embedded_store.url)
            store = Store(connector, metrics, namespace="any")
            await store.ping()
            thread = connector.thread_client()
            thread.execute_command("SET", "kept", "1")
            thread.close()
            await store.aclose()
            assert embedded_store.describe().isprintable()

    assert (folder / "appendonlydir").is_dir()
    assert "kept" in await keys_in(folder)


async def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"too long for a unix socket \(100 bytes\); choose a shorter one with --data-dir"):
        await write(tmp_path / ("x" * 120))


async def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match="it is no folder; choose another with --data-dir"):
        await write(tmp_path / "file")


# -- starts that fail -------------------------------------------------------------------------------------------------------


def program(folder: Path, script: str) -> ServerBinary:
    """A program that says it is a server, and does this when it is started."""
    path = folder / "server"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=9.1.2 sha=0" && exit 0\n{script}\n')
    path.chmod(0o755)
    return ServerBinary(str(path), server_of("valkey").engine)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error while loading shared libraries: libssl.so.3' >&2; exit 127", "error while loading shared libraries: libssl.so.3"),
        ("kill -ILL $$", "killed by SIGILL (built for another processor?)"),
        ("kill -KILL $$", "killed by SIGKILL (out of memory?)"),
        ("exit 7", "status 7, without a word"),
    ],
)
async def test_a_start_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    monkeypatch.setattr(embedded, "find_servers", lambda: [program(tmp_path, script)])

    with pytest.raises(UsageError) as caught:
        await write(tmp_path / "data")

    assert str(caught.value) == f"the embedded store did not start: {reason} (see {tmp_path / 'data' / 'valkey.log'})"


async def test_a_reason_is_of_this_start_not_of_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(tmp_path / "data", "a")
    monkeypatch.setattr(embedded, "find_servers", lambda: [program(tmp_path, "exit 7")])

    with pytest.raises(UsageError, match="status 7, without a word"):
        await write(tmp_path / "data")


async def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_S", 0.5)
    monkeypatch.setattr(embedded, "find_servers", lambda: [program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")])

    began = time.monotonic()
    with pytest.raises(UsageError, match="it does not answer"):
        await EmbeddedStore(tmp_path / "data", "everysec").start()

    assert time.monotonic() - began < WAIT_S
    assert gone(int((tmp_path / "pid").read_text()))
