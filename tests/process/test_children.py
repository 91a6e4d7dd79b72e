"""Children hold nothing of ours: no port, no connection, no signal; and an orderly end is theirs, too."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.servers import free_port
from tests.process.conftest import runs
from tests.program import Program

LINGER = "global kept\n"
POOL = """
import multiprocessing
kept = ProcessPoolExecutor(1, multiprocessing.get_context("{}"))
kept.submit(abs, 1).result()
return list(kept._processes)
"""
FORK = """
pid = os.fork()
if pid == 0:
    time.sleep(60)
    os._exit(0)
return [pid]
"""
MAKERS = {
    "fork pool": ("run_in_thread", POOL.format("fork")),
    "spawn pool": ("run_in_thread", POOL.format("spawn")),
    "forkserver pool": ("run_in_thread", POOL.format("forkserver")),
    "subprocess of the loop": ("run", "kept = await asyncio.create_subprocess_exec('sleep', '60')\nreturn [kept.pid]"),
    "subprocess with open descriptors": ("run_in_thread", "kept = subprocess.Popen(['sleep', '60'], close_fds=False)\nreturn [kept.pid]"),
    "plain fork": ("run_in_thread", FORK),
}
CHILD_THAT_LOGS = """
import logging
pid = os.fork()
if pid == 0:
    logging.getLogger("mine").warning("from the child")
    os._exit(0)
os.waitpid(pid, 0)
return []
"""
APART = "kept = subprocess.Popen(['sleep', '60'], start_new_session=True)\nreturn [kept.pid]"


class Home:
    """Where a program runs again and again: its ports, its data, and the children it left."""

    def __init__(self, folder: Path, handlers: list[str]) -> None:
        self.folder = folder
        self.children: list[int] = []
        self.flags = ["--port", str(free_port()), "--metrics-port", str(free_port()), "--data-dir", str(folder / "data"), *handlers]

    def start(self) -> Program:
        return Program(self.folder, *self.flags).until_ready()

    def make(self, program: Program, task: str, code: str) -> list[int]:
        _, answer = program.request("/tasks?wait=20", {"task": task, "payload": LINGER + code})
        assert answer["state"] == "succeeded", answer["error"]
        self.children += answer["result"]
        return self.children


@pytest.fixture
def home(tmp_path: Path, breaking: list[str]) -> Iterator[Home]:
    found = Home(tmp_path, breaking)
    yield found
    for pid in found.children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("task", "code"), MAKERS.values(), ids=MAKERS)
def test_an_orderly_end_is_the_end_of_the_children(home: Home, task: str, code: str) -> None:
    program = home.start()
    try:
        children = home.make(program, task, code)
        status = program.stop()
        left = [pid for pid in children if runs(pid)]
        again = home.start()
        again.kill()
    finally:
        program.kill()

    assert (status, left) == (0, [])
    assert '"msg": "stopped"' in program.output  # multiprocessing's own tracker may have a word after it


@pytest.mark.parametrize(("task", "code"), MAKERS.values(), ids=MAKERS)
def test_children_of_a_killed_program_hold_no_port_and_no_connection(home: Home, task: str, code: str) -> None:
    program = home.start()
    try:
        children = home.make(program, task, code)
        host, port = program.api.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            program.kill()
            left = [pid for pid in children if runs(pid)]
            held = [target for pid in left for target in held_by(pid) if target.startswith("socket:")]
            client.settimeout(5)
            try:
                end = client.recv(1)
            except ConnectionResetError:
                end = b""
        again = home.start()
        again.kill()
    finally:
        program.kill()

    assert held == []
    assert end == b""


def held_by(pid: int) -> list[str]:
    return [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]


def test_the_fork_of_a_coroutine_is_no_second_worker(home: Home) -> None:
    program = home.start()
    try:
        children = home.make(program, "run", "pid = os.fork()\nreturn [pid] if pid else None")
        give_up = time.monotonic() + 5
        while any(map(runs, children)):
            assert time.monotonic() < give_up
            time.sleep(0.02)
        _, task = program.request("/tasks?wait=5", {"task": "echo", "payload": "x"})
        status = program.stop()
    finally:
        program.kill()

    assert (task["state"], status) == ("succeeded", 0)


def test_what_a_forked_child_logs_is_not_lost(home: Home) -> None:
    program = home.start()
    try:
        home.make(program, "run_in_thread", CHILD_THAT_LOGS)
        give_up = time.monotonic() + 5
        while "from the child" not in program.output:
            assert time.monotonic() < give_up
            time.sleep(0.02)
    finally:
        program.kill()


def test_a_child_that_does_not_end_is_killed(home: Home) -> None:
    program = home.start()
    try:
        children = home.make(
            program, "run_in_thread", "kept = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 60'])\nreturn [kept.pid]"
        )
        time.sleep(0.2)  # the trap is set
        began = time.monotonic()
        status = program.stop()
    finally:
        program.kill()

    assert (status, [pid for pid in children if runs(pid)]) == (0, [])
    assert time.monotonic() - began < 4


def test_what_has_a_session_of_its_own_lives_on(home: Home) -> None:
    program = home.start()
    try:
        (child,) = home.make(program, "run_in_thread", APART)
        program.stop()
    finally:
        program.kill()

    assert runs(child)


def _can_unshare() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None and subprocess.run([unshare, "-pf", "--mount-proc", "true"], capture_output=True, check=False).returncode == 0
    )


ORPHANS = """
for _ in range(5):
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)
await asyncio.sleep(0.5)
mine = subprocess.Popen(["sh", "-c", "exit 7"])
await asyncio.sleep(0.5)
states = [open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[0] for name in os.listdir("/proc") if name.isdigit()]
return [states.count("Z"), mine.wait(), os.getpid()]
"""


@pytest.mark.skipif(not _can_unshare(), reason="needs a PID namespace (unshare)")
def test_as_the_first_process_it_collects_orphans_and_only_those(tmp_path: Path, breaking: list[str]) -> None:
    program = Program(tmp_path, "--redis-url", "memory://", *breaking, before=["unshare", "-pf", "--mount-proc", "--kill-child"])
    try:
        _, task = program.until_ready().request("/tasks?wait=10", {"task": "run", "payload": ORPHANS})
        zombies, status_of_mine, pid = task["result"]
        (first,) = [int(pid) for pid in Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text().split()]
        os.kill(first, signal.SIGTERM)
        status = program.process.wait(10)
    finally:
        program.kill()

    assert zombies == 1  # its own, which it had not waited for
    assert status_of_mine == 7
    assert pid != 1
    assert status == 0
    assert "SIGTERM: stopping" in program.output
