"""Handlers that go wrong on purpose. Each writes down its starts and ends, apart from the queue."""

from __future__ import annotations

import os
import re
import signal
import time

import anyio

from taskqueue import Context, task

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
LINGER_S = float(os.environ.get("LINGER", "0"))
"""Makes every task of this process take so long."""
SPARED = "SPARED" in os.environ
"""This process is not blocked by its tasks."""
HARD_FOR_RE = "a" * 23
"""The pattern below tries 2^23 ways on this before it gives up, in C that holds the GIL: about half a second."""


def note(what: str, number: int, attempt: int) -> None:
    """One line in one write: what was written before a kill -9 stays written."""
    os.write(LEDGER, f"{what} {number} {attempt} {os.getpid()} {time.time_ns()}\n".encode())


@task(max_attempts=3, backoff={"base": 0.1, "max": 1})
async def work(ctx: Context, number: int, seconds: float = 0.02, filler: str = "") -> int:
    """What all good tasks are: a little waiting."""
    note("S", number, ctx.attempt)
    await anyio.sleep(LINGER_S or seconds)
    note("E", number, ctx.attempt)
    return number


@task
async def block(ctx: Context, number: int, seconds: float) -> None:
    """Blocks the event loop."""
    note("S", number, ctx.attempt)
    time.sleep(0 if SPARED else seconds)
    note("E", number, ctx.attempt)


@task
async def hold_gil(ctx: Context, number: int, seconds: float) -> None:
    """Blocks every thread of the process."""
    note("S", number, ctx.attempt)
    give_up = time.monotonic() + seconds
    subject = HARD_FOR_RE
    while time.monotonic() < give_up:
        began = time.monotonic()
        re.match(r"(a+)+$", subject + "b")
        if time.monotonic() - began < seconds / 2:
            subject += "aa"
    note("E", number, ctx.attempt)


@task
async def poison(ctx: Context, number: int, how: str) -> None:
    """Kills its process."""
    note("S", number, ctx.attempt)
    await anyio.sleep(0.05)
    if how == "exit":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGSEGV)


@task
def stuck(ctx: Context, number: int) -> None:
    """A thread that does not come back."""
    note("S", number, ctx.attempt)
    time.sleep(600)


@task
async def stubborn(ctx: Context, number: int) -> None:
    """Takes no cancellation for an answer."""
    note("S", number, ctx.attempt)
    while True:
        try:
            await anyio.sleep(600)
        except BaseException:  # noqa: BLE001, S112 - the fault
            continue


@task(max_attempts=2, backoff={"base": 10, "max": 10})
async def fail(ctx: Context, number: int) -> None:
    """Fails the first time."""
    note("S", number, ctx.attempt)
    if ctx.attempt == 1:
        raise ConnectionError("on purpose")
    note("E", number, ctx.attempt)
