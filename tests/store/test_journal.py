"""Where a file of commands is damaged, and whether its end can be cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.engines import Dump, Engine
from _taskqueue.store.journal import Damage, Journal, find_damage


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


PLAIN = [command(b"SET", b"a", b"\0\0"), b"#TS:1795849261\r\n", command(b"SET", b"long", b"x" * 1_000), command(b"DEL", b"a")]
TOGETHER = command(b"MULTI") + command(b"SET", b"b", b"\r\n") + command(b"SET", b"c", b"") + command(b"exec")
PARTS = [*PLAIN, TOGETHER, command(b"SET", b"d", b"1")]
WHOLE = b"".join(PARTS)


def damage_of(path: Path, content: bytes) -> Damage | None:
    path.write_bytes(content)
    return find_damage(path)


def ends() -> set[int]:
    return {sum(map(len, PARTS[:count])) for count in range(len(PARTS) + 1)}


def test_wherever_it_is_cut_off_what_is_whole_is_kept(tmp_path: Path) -> None:
    for size in range(1, len(WHOLE)):
        damage = damage_of(tmp_path / "file", WHOLE[:size])
        good = max(end for end in ends() if end <= size)
        if good == size:
            assert damage is None, size
        else:
            assert damage is not None, size
            assert (damage.good, damage.at_the_end, damage.zeros) == (good, True, False), size


def test_whatever_zeros_follow_what_is_whole_is_kept(tmp_path: Path) -> None:
    for size in range(1, len(WHOLE) + 1):
        damage = damage_of(tmp_path / "file", WHOLE[:size] + bytes(5_000))
        assert damage is not None
        assert (damage.good, damage.at_the_end) == (max(end for end in ends() if end <= size), True), size


@pytest.mark.parametrize(
    "content",
    [
        WHOLE.replace(b"$1000", b"$1001"),
        WHOLE.replace(b"$1000", b"$900000"),
        WHOLE.replace(b"*3\r\n$3\r\nSET\r\n$4", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        WHOLE.replace(b"*2\r\n", b"*9\r\n"),
        WHOLE + b"garbage" + WHOLE,
        WHOLE + b"garbage that is longer than any length may be written" * 3,
        WHOLE + bytes(4096) + WHOLE,
        WHOLE + bytes(4096) + WHOLE + bytes(4096),
    ],
)
def test_what_is_wrong_before_the_end_cannot_be_cut(tmp_path: Path, content: bytes) -> None:
    damage = damage_of(tmp_path / "file", content)

    assert damage is not None
    assert not damage.at_the_end


def test_what_is_cut_twice_at_one_place_is_kept_twice(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for tail in (b"*3\r\n$", b"*2"):
        damage = damage_of(path, WHOLE + tail)
        assert damage is not None
        damage.cut(tmp_path)
        assert path.read_bytes() == WHOLE

    assert {kept.read_bytes() for kept in tmp_path.glob("file.cut-at-*")} == {b"*3\r\n$", b"*2"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A folder of two files of commands: a rewrite was under way."""
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    names = [("appendonly.aof.1.base.rdb", "b"), ("appendonly.aof.1.incr.aof", "i"), ("appendonly.aof.2.incr.aof", "i")]
    (folder / "appendonly.aof.manifest").write_text("".join(f"file {name} seq {name[15]} type {kind}\n" for name, kind in names))
    (folder / names[0][0]).write_bytes(b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0@")
    for name, _ in names[1:]:
        (folder / name).write_bytes(WHOLE)
    return Journal(tmp_path)


def test_the_last_file_that_holds_anything_is_the_one_that_is_judged(journal: Journal) -> None:
    _, first, second = journal.files()
    first.write_bytes(WHOLE + b"*3")
    assert journal.damage() is None

    second.write_bytes(b"")
    damage = journal.damage()
    assert damage is not None
    assert damage.path == first


def test_damage_before_the_end_names_the_byte(journal: Journal) -> None:
    journal.files()[2].write_bytes(WHOLE + b"garbage" + WHOLE)

    with pytest.raises(UsageError, match=f"appendonly.aof.2.incr.aof is damaged at byte {len(WHOLE)}, before its end; nothing was changed"):
        journal.damage()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0@", Dump("REDIS", 10, Engine("redis", "7.0.15"))),
        (b"VALKEY080\xfa\x0avalkey-ver\x059.1.2\xfa\x0aredis-bits\xc0@", Dump("VALKEY", 80, Engine("valkey", "9.1.2"))),
        (b"REDIS0011\xfa\x0avalkey-ver\x058.0.1\xfa\x0aredis-bits\xc0@", Dump("REDIS", 11, Engine("valkey", "8.0.1"))),
        (b"REDIS0009\xfe\x00", Dump("REDIS", 9, None)),
        (b"*2\r\n$6\r\nSELECT\r\n", None),
        (b"", None),
    ],
)
def test_a_dump_says_who_wrote_it(journal: Journal, header: bytes, expected: Dump | None) -> None:
    journal.files()[0].write_bytes(header)

    assert journal.dump() == expected


def test_a_single_file_of_before_redis_7_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"REDIS0009\xfa\x09redis-ver\x066.2.14\xfa\x0aredis-bits\xc0@")

    Journal(tmp_path).check()
    assert Journal(tmp_path).dump() == Dump("REDIS", 9, Engine("redis", "6.2.14"))
