"""CPU and memory of a process and its children, read from the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
BUSY = (1, 2, 3, 6, 7, 8)
"""Columns of /proc/stat: user, nice, system, irq, softirq, and what the host took (steal)."""
PDEATHSIG = 1
PROCESS_CLOCK = 2
"""With the complement of a pid in the upper bits: the CPU clock of that process, in ns (clock_getcpuclockid(3))."""


def cpu_ns(pid: int) -> int:
    """User and system time of a living process, ended threads included; 0 when it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | PROCESS_CLOCK)
    except OSError:
        return 0


def machine_busy_s() -> float:
    """Seconds that all cores together have been busy, or taken away by the host, since the machine started."""
    columns = Path("/proc/stat").read_text().splitlines()[0].split()
    return sum(int(columns[at]) for at in BUSY) / TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def die_with_parent() -> None:
    """Between fork and exec: have the kernel kill this child when its parent is gone (prctl(2), Linux)."""
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _parents() -> list[tuple[int, int]]:
    pairs = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pairs.append((int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])))
    return pairs
