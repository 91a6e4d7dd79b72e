"""The append-only file of a data folder, read before a server does: what is missing, who wrote it, and where its end is damaged.

A server opens such a folder in its own way: without a manifest it starts empty and writes behind the old data; it cuts a
command that was written by half, and whatever a wrong length makes look like one; a tail of zeros (what a power cut often
leaves) it refuses with advice that loses data. So servers are told not to cut, and what they refuse is judged here.
"""

from __future__ import annotations

import itertools
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.engines import Dump, Engine
from _taskqueue.store.paths import shown

NAME = "appendonly.aof"
FOLDER = "appendonlydir"
HEADER_BYTES = 64
LINE_BYTES_MAX = 40
"""Of a length in the protocol."""
STEP_BYTES = 1024 * 1024
BACKUP = "restore it from a backup, or start on another folder with --data-dir"

_ENTRY = re.compile(r'file "?([^"\s]+)"? seq \d+ type ([bih])')
_MAGIC = re.compile(rb"(REDIS|VALKEY)(\d{3,4})")
_WRITER = re.compile(rb"\xfa.(redis|valkey)-ver.([\d.]+)", re.DOTALL)
_COUNT = re.compile(rb"\*(\d{1,10})\r\n")
_LENGTH = re.compile(rb"\$(\d{1,10})\r\n")
_COMMAND = re.compile(rb"\r\n\*\d{1,10}\r\n\$\d{1,10}\r\n")
_FIRST_BASE = re.compile(re.escape(NAME) + r"\.1\.base\.\w+")
"""Written empty by a first start, before the manifest."""


class Journal:
    """The append-only file of one data folder: since Redis 7 a folder of files that a manifest names, before a single file."""

    def __init__(self, data_dir: Path) -> None:
        self._single = data_dir / NAME
        self._folder = data_dir / FOLDER
        self.manifest = self._folder / f"{NAME}.manifest"

    def files(self) -> list[Path]:
        """The files that hold the data, oldest first; none in a new folder. Raises OSError."""
        try:
            text = self.manifest.read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return [self._single] if self._single.exists() else []
        return [self._folder / found[1] for found in _ENTRY.finditer(text) if found[2] != "h"]

    def state(self) -> dict[Path, tuple[int, int]]:
        """Size and time of each file: they tell whether a server has written. Raises OSError."""
        found = {path: path.stat() for path in self.files() if path.exists()}
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

    def check(self) -> None:
        """See that no part is missing, which would make a server start empty or not at all. Raises UsageError."""
        if self.manifest.exists():
            missing = self.missing()
            if missing is not None:
                raise UsageError(f"{shown(missing)} is missing, a part of the data; {BACKUP}")
        elif any(_holds_data(path) for path in self._folder.glob(f"{NAME}.*")):
            raise UsageError(f"{shown(self.manifest)} is missing, without which the data beside it cannot be read; {BACKUP}")

    def missing(self) -> Path | None:
        """The first part that is not there though it should be; only for a folder that a server has used. Raises OSError."""
        files = self.files()
        return next((path for path in files if not path.exists()), None) if files else self.manifest

    def dump(self) -> Dump | None:
        """What the oldest part says of who wrote it; None when it says nothing. Raises OSError."""
        files = self.files()
        if not files or not files[0].exists():
            return None
        with files[0].open("rb") as file:
            header = file.read(HEADER_BYTES)
        magic = _MAGIC.match(header)
        if magic is None:
            return None
        writer = _WRITER.search(header)
        engine = Engine(writer[1].decode(), writer[2].decode().rstrip(".")) if writer else None
        return Dump(magic[1].decode(), int(magic[2]), engine)

    def damage(self) -> Damage | None:
        """What follows the last whole command of the last file; None when nothing does.

        Raises:
            UsageError: the file is damaged before its end.
        """
        last = next((path for path in reversed(self.files()) if path.stat().st_size), None)
        if last is None or last.suffix != ".aof" or last == self._single:
            return None
        damage = find_damage(last)
        if damage is None or damage.at_the_end:
            return damage
        raise UsageError(f"{shown(last)} is damaged at byte {damage.seen_at}, before its end; nothing was changed; {BACKUP}")


def _holds_data(path: Path) -> bool:
    return path.stat().st_size > 0 and not _FIRST_BASE.fullmatch(path.name)


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a file of commands stops being one."""

    path: Path
    size: int
    good: int
    """what stands before can be kept: it ends with a whole command, outside of any transaction"""
    seen_at: int
    at_the_end: bool
    """behind it there is nothing but zeros and less than a command"""
    zeros: bool = False

    def cut(self, aside: Path) -> str:
        """Cut all that follows the last whole command, and keep it in a file of this folder; gives what was done, as a sentence."""
        name = f"{self.path.name}.cut-at-{self.good}"
        kept = next(path for number in itertools.count() if not (path := aside / f"{name}{f'.{number}' if number else ''}").exists())
        _cut(self.path, self.good, kept)
        what = "zeros" if self.zeros else "a command written by half"
        return (
            f"the end of {shown(self.path)} was damaged, as by a crash or a power cut: {self.size - self.good} bytes ({what}) "
            f"were cut behind byte {self.good} and are kept in {shown(kept)}"
        )


def find_damage(path: Path) -> Damage | None:
    """Read a file of commands to its end; None when it is whole."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        size = len(data)
        good, seen_at, cut = _read(data, size)
        if good == size:
            return None
        if cut:
            return Damage(path, size, good, seen_at, not _COMMAND.search(data, seen_at + 1))
        end = _end_without_zeros(data)
        if end == size:
            return Damage(path, size, good, seen_at, at_the_end=False)
        good, seen_at, cut = _read(data, end, good)
        return Damage(path, size, good, seen_at, cut and not _COMMAND.search(data, seen_at + 1, end), zeros=True)


def _read(data: mmap.mmap, size: int, at: int = 0) -> tuple[int, int, bool]:
    """Where the last whole command (or transaction) ends, where the first one begins that is not whole, whether it is only cut off."""
    good = at
    inside = False
    while at < size:
        start = at
        try:
            at, name = _next_command(data, start, size)
        except EOFError:
            return good, start, True
        except ValueError:
            return good, start, False
        inside = name == b"multi" or (inside and name != b"exec")
        if not inside:
            good = at
    return good, at, True


def _next_command(data: mmap.mmap, at: int, size: int) -> tuple[int, bytes]:
    """The end of the command that begins here, and its name. Raises EOFError (it is cut off) or ValueError (it is none)."""
    if data[at] == ord("#"):  # a note of the time
        end = data.find(b"\r\n", at, size)
        if end < 0:
            raise EOFError
        return end + 2, b""
    found = _COUNT.match(data, at, size)
    if found is None:
        raise _no_length(data[at : min(at + LINE_BYTES_MAX, size)], b"*")
    at, name = found.end(), b""
    for number in range(int(found[1])):
        found = _LENGTH.match(data, at, size)
        if found is None:
            raise _no_length(data[at : min(at + LINE_BYTES_MAX, size)], b"$")
        start, end = found.end(), found.end() + int(found[1])
        if data[end : min(end + 2, size)] != b"\r\n":
            raise EOFError if end + 2 > size and data[end:size] in (b"", b"\r") else ValueError
        if number == 0:
            name = data[start:end].lower()
        at = end + 2
    return at, name


def _no_length(line: bytes, sign: bytes) -> Exception:
    """What is wrong where a length should be: cut off within it, or something else."""
    return EOFError() if len(line) < LINE_BYTES_MAX and re.fullmatch(rb"(%s\d*\r?)?" % re.escape(sign), line) else ValueError()


def _end_without_zeros(data: mmap.mmap) -> int:
    end = len(data)
    while end:
        kept = data[max(0, end - STEP_BYTES) : end].rstrip(b"\0")
        end = max(0, end - STEP_BYTES) + len(kept)
        if kept:
            break
    return end


def _cut(path: Path, size: int, kept: Path) -> None:
    """Shorten a file; what is cut is on the disk under another name before."""
    with path.open("r+b") as file:
        file.seek(size)
        with kept.open("wb") as copy:
            while step := file.read(STEP_BYTES):
                copy.write(step)
            copy.flush()
            os.fsync(copy.fileno())
        file.truncate(size)
        os.fsync(file.fileno())
