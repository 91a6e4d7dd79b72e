"""CPU and memory of a process and its children, read from the kernel."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROCESS_CLOCK = 2
"""With the complement of a pid in the upper bits: the CPU clock of that process, in ns (clock_getcpuclockid(3))."""


def cpu_ns(pid: int) -> int:
    """User and system time of a living process, ended threads included; 0 when it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | PROCESS_CLOCK)
    except OSError:
        return 0


def rss_bytes(pid: int) -> int:
    """Resident memory; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


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
