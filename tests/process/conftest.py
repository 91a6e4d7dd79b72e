"""A folder of handlers made for breaking things, and a shared server of its own for each test that needs one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from _taskqueue.store.engines import find_servers
from tests.conftest import start_server
from tests.program import Program

HANDLERS = """
import asyncio, ctypes, os, re, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
import anyio
from taskqueue import Context, task

@task
async def nap(ctx: Context, number: int, seconds: float = 0.2) -> int:
    with open(os.environ.get("LEDGER", "ledger.txt"), "a") as ledger:
        ledger.write(f"{number}\\n")
    await anyio.sleep(seconds)
    return ctx.attempt

@task
async def poison(payload: str) -> None:
    os._exit(9)

@task
def stuck(payload: str) -> None:
    time.sleep(600)

@task
async def block(seconds: float) -> None:
    time.sleep(seconds)

@task
async def spin(seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        pass

@task
async def block_in_c(seconds: float) -> None:
    reader, writer = os.pipe()
    ctypes.CDLL(None).read(reader, ctypes.create_string_buffer(1), 1)  # a signal does not end it

@task
async def hold_the_interpreter(seconds: float) -> None:
    print("here it comes", flush=True)
    await anyio.sleep(seconds)
    re.match("(a+)+$", "a" * 64 + "b")

@task
async def run(code: str) -> object:
    names = globals() | {"asyncio": asyncio}
    exec("async def body():\\n" + "\\n".join("    " + line for line in code.splitlines()), names)
    return await names["body"]()

@task
def run_in_thread(code: str) -> object:
    names = globals()
    exec("def body():\\n" + "\\n".join("    " + line for line in code.splitlines()), names)
    return names["body"]()
"""


@pytest.fixture
def at_start(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """``at_start(code)``: variables with which a program runs this code before anything else."""

    def make(code: str) -> dict[str, str]:
        folder = tmp_path / "at-start"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": str(folder)}

    return make


PLAIN_ASYNCIO = "import sys\nsys.modules['uvloop'] = None\n"
"""For ``at_start``: as where uvloop is not installed."""


def records(program: Program) -> list[dict[str, Any]]:
    """What the program logged; fails on anything that is no line of its log."""
    return [json.loads(line) for line in program.output.splitlines()]


def runs(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def breaking(tmp_path: Path) -> list[str]:
    """The flags that load handlers made for breaking things."""
    folder = tmp_path / "breaking"
    folder.mkdir()
    (folder / "things.py").write_text(HANDLERS)
    return ["--handlers", str(folder)]


Server = tuple[subprocess.Popen[bytes], str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers that the test may kill: ``start(*flags)`` gives the process and its URL."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_one(*flags: str) -> Server:
        folder = tmp_path / f"server{len(processes)}"
        folder.mkdir()
        process, url = start_server(find_servers()[0].path, folder, *flags)
        processes.append(process)
        return process, url

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
