"""What the measured tasks do, the same for every system.

The no-op touches nothing but two counters; only the first start and the last end are told to the runner, through a
named pipe. The others write a line to the ledger, a plain file. Redis is never used for counting.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import count

WAIT_S = 0.05
"""What a task of the waits case waits."""
NAP_S = 0.3
"""What a task of the crash case takes."""
RESULT = 1
"""Some systems keep no result when it is None."""

_TARGET = int(os.environ.get("BENCH_TARGET", "0"))
_starts, _ends = count(1), count(1)
_files: dict[str, int] = {}


def _append(variable: str, line: str) -> None:
    """One atomic write to the file that an environment variable names."""
    file = _files.get(variable)
    if file is None:
        file = _files[variable] = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND)
    os.write(file, line.encode())


def _start() -> None:
    if next(_starts) == 1:
        _append("BENCH_SIGNALS", "first\n")


def _end() -> int:
    if next(_ends) == _TARGET:
        _append("BENCH_SIGNALS", "last\n")
    return RESULT


def _stamp(sent_ns: str) -> int:
    _append("BENCH_LEDGER", f"{sent_ns} {time.monotonic_ns()}\n")
    return RESULT


async def noop(payload: str) -> int:
    """Nothing."""
    _start()
    return _end()


async def wait(payload: str) -> int:
    """Waits as for an answer from elsewhere."""
    _start()
    await asyncio.sleep(WAIT_S)
    return _end()


async def stamp(payload: str) -> int:
    """Writes when it was sent (its payload, monotonic ns) and when it started."""
    return _stamp(payload)


async def nap(payload: str) -> int:
    """Writes its number and its process at its start and at its end."""
    _append("BENCH_LEDGER", f"start {payload} {os.getpid()}\n")
    await asyncio.sleep(NAP_S)
    _append("BENCH_LEDGER", f"end {payload} {os.getpid()}\n")
    return RESULT


def noop_plain(payload: str) -> int:
    """As noop, for systems that run plain functions."""
    _start()
    return _end()


def wait_plain(payload: str) -> int:
    """As wait."""
    _start()
    time.sleep(WAIT_S)
    return _end()


def stamp_plain(payload: str) -> int:
    """As stamp."""
    return _stamp(payload)


def nap_plain(payload: str) -> int:
    """As nap."""
    _append("BENCH_LEDGER", f"start {payload} {os.getpid()}\n")
    time.sleep(NAP_S)
    _append("BENCH_LEDGER", f"end {payload} {os.getpid()}\n")
    return RESULT


COROUTINES: dict[str, Callable[[str], Awaitable[int]]] = {"noop": noop, "wait": wait, "stamp": stamp, "nap": nap}
FUNCTIONS: dict[str, Callable[[str], int]] = {"noop": noop_plain, "wait": wait_plain, "stamp": stamp_plain, "nap": nap_plain}
