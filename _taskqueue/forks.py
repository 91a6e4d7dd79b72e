"""What belongs to this process alone: no child keeps it, and no child outlives an orderly end.

A copy made by fork shares every open descriptor: it would hold our ports after we are gone, keep the store waiting for us, and
hand its own signals to us.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

END_S = 1.0
"""What children get to end themselves."""
LOOK_S = 0.01
KEPT = b"multiprocessing.resource_tracker"
"""Ends by itself, after it has removed what pools left behind."""
STANDARD = range(3)
_PROC = Path("/proc")

_sheds: list[Callable[[], None]] = []


def in_children(shed: Callable[[], None]) -> None:
    """Call this in every child that is forked from now on, before anything else runs there."""
    _sheds.append(shed)


def _in_child() -> None:
    for shed in _sheds:
        with suppress(OSError, ValueError):
            shed()


os.register_at_fork(after_in_child=_in_child)


def keep_from_children(descriptors: Callable[[], Iterable[int]]) -> None:
    """Have these descriptors lead nowhere in forked children.

    They are replaced, not closed: objects in the child that believe to own them may close the number later.

    Args:
        descriptors: asked in the child.
    """

    def shed() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in descriptors():
            if descriptor not in STANDARD:
                with suppress(OSError):
                    os.dup2(null, descriptor, inheritable=False)
        os.close(null)

    in_children(shed)


def epolls() -> set[int]:
    """The epoll descriptors of this process; none where there is no /proc."""
    found = set()
    for name in _names(_PROC / "self/fd"):
        with suppress(OSError):
            if str((_PROC / "self/fd" / name).readlink()) == "anon_inode:[eventpoll]":
                found.add(int(name))
    return found


def watched_by(epoll: int) -> list[int]:
    """The descriptors that are registered with an epoll descriptor."""
    text = (_PROC / f"self/fdinfo/{epoll}").read_text(encoding="ascii")
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("tfd:")]


def connected_alike(descriptors: Iterable[int]) -> list[int]:
    """The descriptors of this process that are connected to the same peers as one of these: what threads hold beside a loop."""
    peers = {peer for one in descriptors if (peer := _peer(one))}
    return [one for name in _names(_PROC / "self/fd") if _peer(one := int(name)) in peers]


def _peer(descriptor: int) -> Any:
    """The address at the other end of a socket, if it has one."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return found.getpeername()
    except OSError:
        return None
    finally:
        found.detach()


def open_standard_streams() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed: a socket would take their number, and be taken for them."""
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number: this one


def descendants() -> list[int]:
    """The children of this process and theirs, but those with a session of their own, which were made to live on."""
    known, session = list(_processes()), os.getsid(0)
    found = {os.getpid()}
    while more := {pid for pid, parent, _ in known if parent in found} - found:
        found |= more
    return [pid for pid, _, its in known if pid in found and its == session and pid != os.getpid() and not _is_kept(pid)]


def end_children(seconds: float = END_S) -> int:
    """End the descendants of this process, within this time; gives how many there were."""
    found = descendants()
    _send(found, signal.SIGTERM)
    give_up = time.monotonic() + seconds
    while any(map(_runs, found)) and time.monotonic() < give_up:
        time.sleep(LOOK_S)
    _send([pid for pid in found if _runs(pid)], signal.SIGKILL)
    return len(found)


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _processes() -> Iterator[tuple[int, int, int]]:
    """Process, parent and session of every process that has not ended."""
    for name in _names(_PROC):
        if name.isdigit() and (fields := _stat(int(name))) and fields[0] != "Z":
            yield int(name), int(fields[1]), int(fields[3])


def _runs(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] != "Z"


def _stat(pid: int) -> list[str]:
    """State, parent, group, session … of a process; nothing when it is gone."""
    try:
        text = (_PROC / f"{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _is_kept(pid: int) -> bool:
    try:
        return KEPT in (_PROC / f"{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names, in a folder that changes
    except OSError:
        return []
