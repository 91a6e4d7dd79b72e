"""Handlers of processes of their own, in a module that such a process can import."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from taskqueue import Backoff, Cancel, Context, Discard, Retry, TaskqueueError, current, task


@task(process=True, max_attempts=1)
def pid(text: str) -> int:
    return os.getpid()


@task(process=True, max_attempts=1)
async def awaits(text: str) -> str:
    await asyncio.sleep(0.01)
    return text.upper()


@task(process=True, max_attempts=3)
def talks(ctx: Context, text: str) -> list[Any]:
    sys.stdout.write("printed\n")
    sys.stderr.write("to stderr\n")
    os.write(1, b"no newline")
    ctx.log.warning("kept %s", text)
    logging.getLogger("somebody").warning("a library says %s", text)
    ctx.progress(3, 4, "caf\udce9")
    return [ctx.id, ctx.task, ctx.attempt, ctx.max_attempts, ctx.tags, ctx.is_last_attempt, 0 < ctx.remaining() <= 60, bool(ctx.worker)]


@task(process=True, max_attempts=2, backoff=Backoff("constant", 0, jitter=False))
async def saves(ctx: Context, text: str) -> list[Any]:
    if ctx.saved is None:
        await ctx.save({"page": 1})
        raise ValueError("again")
    return [ctx.saved, ctx.attempt, await ctx.submit("awaits", "more", delay=3600)]


@task(process=True, max_attempts=1)
async def saves_too_much(ctx: Context, text: str) -> str:
    try:
        await ctx.save("x" * 3_000_000)
    except Exception as error:  # noqa: BLE001 - to see what it is
        return f"{type(error).__name__}: {error}"
    return "saved"


@task(process=True, max_attempts=1)
def ends(text: str) -> object:  # noqa: C901 - one line for each end
    """Ends in the way that its payload names."""
    match text:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(4)
        case "crash":
            ctypes.string_at(0)
        case "unfit":
            return object()
        case "discard":
            raise Discard("not wanted")
        case "cancel":
            raise Cancel("not needed")
        case "retry":
            raise Retry("later", after=3600)
        case "raises":
            raise Odd("x")
        case "closes":
            os.closerange(0, 100)
    return text


class Odd(Exception):
    """Cannot be looked at, nor pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise KeyError("no text")


@task(process=True, max_attempts=1, timeout=3)
def listens(ctx: Context, path: str) -> str:
    Path(path).write_text("began", encoding="utf-8")
    while not ctx.cancelled:
        time.sleep(0.01)
    Path(path).write_text("cleaned up", encoding="utf-8")
    ctx.check_cancelled()
    return "never"


@task(process=True, max_attempts=1, timeout=3)
def has_children(path: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path).write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    time.sleep(60)


@task(process=True, max_attempts=1)
def forks(text: str) -> list[Any]:
    """Is there twice when it returns."""
    return [text, os.fork()]


@task(process=True, max_attempts=1)
def leaves_a_thread(ctx: Context, text: str) -> str:
    def late() -> None:
        time.sleep(0.3)
        ctx.progress(99, 100)
        ctx.log.warning("from before")

    threading.Thread(target=late, daemon=True).start()
    return text


@task(process=True, max_attempts=1)
def rests(ctx: Context, text: str) -> str:
    time.sleep(0.8)
    return text


@task(process=True, max_attempts=1)
def pools(ctx: Context, text: str) -> int:
    ctx.log.warning("before")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        return sum(pool.map(_logs, range(40)))


def _logs(number: int) -> int:
    logging.getLogger("somebody").warning("x" * 5_000)
    current().log.warning("kept %d", number)
    try:
        current().progress(number, 40)
    except TaskqueueError:
        return number
    return 0


@task(process=True, max_attempts=1, timeout=3)
def listens_long(ctx: Context, path: str) -> None:
    while not ctx.cancelled:
        time.sleep(0.01)
    time.sleep(0.8)
    Path(path).write_text("cleaned up", encoding="utf-8")
    ctx.check_cancelled()


@task(process=True, max_attempts=1, timeout=20)
def forks_and_dies(text: str) -> None:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@task(process=True, max_attempts=1)
async def misuses(ctx: Context, text: str) -> str:
    try:
        await ctx.submit(5)  # type: ignore[arg-type]
    except TypeError as error:
        ctx.log.warning("x" * 1_000_000)
        return str(error)
    return "taken"
