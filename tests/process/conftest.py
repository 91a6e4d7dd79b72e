"""A folder of handlers made for breaking things, and a shared server of its own for each test that needs one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from _taskqueue.store.engines import find_server
from tests.conftest import start_server

HANDLERS = """
import os, time, anyio
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
"""


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
        process, url = start_server(find_server().path, folder, *flags)
        processes.append(process)
        return process, url

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
