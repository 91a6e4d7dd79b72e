"""What must not end while the process runs: its end is loud, gives back what runs, and restarts the process."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.conftest import PLAIN_ASYNCIO, records
from tests.program import Program

AtStart = Callable[[str], dict[str, str]]

EXITS = {
    "a callback": "asyncio.get_running_loop().call_soon(sys.exit)\nawait asyncio.sleep(0.1)",
    "a timer": "asyncio.get_running_loop().call_later(0.01, sys.exit, 0)\nawait asyncio.sleep(0.1)",
    "a task": "import leaving\nleaving.told.append(SystemExit(0))",
    "a task, 7": "import leaving\nleaving.told.append(SystemExit(7))",
    "a task, text": "import leaving\nleaving.told.append(SystemExit('bye'))",
    "an interrupt": "import leaving\nleaving.told.append(KeyboardInterrupt())",
}
LEAVING = """
import asyncio, sys
from taskqueue import lifespan
told = []
sys.modules["leaving"] = sys.modules[__name__]
async def leave():
    while not told:
        await asyncio.sleep(0.02)
    raise told[0]
@lifespan
async def leaving():
    task = asyncio.create_task(leave())
    yield
    task.cancel()
"""
"""A task that belongs to no attempt."""


def program_of(folder: Path, *flags: str, environ: dict[str, str] | None = None) -> Program:
    return Program(folder, "--redis-url", "memory://", *flags, environ=environ)


def errors(program: Program) -> list[str]:
    return [line["msg"] for line in records(program) if line["level"] in ("error", "critical")]


def finished(program: Program) -> list[str]:
    return [line["task"] for line in records(program) if line.get("event") == "task.finished" and line["outcome"] == "ok"]


@pytest.mark.parametrize("code", EXITS.values(), ids=EXITS)
@pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])
def test_an_exit_on_the_loop_drains_and_restarts(tmp_path: Path, breaking: list[str], at_start: AtStart, code: str, plain: bool) -> None:
    (tmp_path / "breaking" / "leave.py").write_text(LEAVING)
    program = program_of(tmp_path, *breaking, environ=at_start(PLAIN_ASYNCIO) if plain else None)
    try:
        program.until_ready().request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 1.0}})
        program.request("/tasks", {"task": "run", "payload": code})

        assert program.process.wait(10) == 1
    finally:
        program.kill()
    (error,) = errors(program)
    assert "was raised on the event loop" in error
    assert "nap" in finished(program)
    assert records(program)[-1]["msg"] == "stopped"


@pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])
def test_a_stopped_loop_runs_on(tmp_path: Path, breaking: list[str], at_start: AtStart, plain: bool) -> None:
    program = program_of(tmp_path, *breaking, environ=at_start(PLAIN_ASYNCIO) if plain else None)
    try:
        program.until_ready().request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 0.5}})
        program.request("/tasks?wait=5", {"task": "run", "payload": "asyncio.get_running_loop().stop()"})
        _, task = program.request("/tasks?wait=5", {"task": "nap", "payload": {"number": 2, "seconds": 0.6}})
        status = program.stop()
    finally:
        program.kill()

    assert (task["state"], status) == ("succeeded", 0)
    assert finished(program) == ["run", "nap", "nap"]
    (error,) = errors(program)
    assert "somebody stopped the event loop" in error


@pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])
def test_the_cancellation_of_everything_is_no_orderly_end(tmp_path: Path, breaking: list[str], at_start: AtStart, plain: bool) -> None:
    program = program_of(tmp_path, *breaking, environ=at_start(PLAIN_ASYNCIO) if plain else None)
    try:
        code = "for one in asyncio.all_tasks(): one.cancel()"
        program.until_ready().request("/tasks", {"task": "run", "payload": code, "delay": "300ms"})  # its own answer is out by then

        assert program.process.wait(10) == 1
    finally:
        program.kill()
    assert any("was cancelled; stopping" in error for error in errors(program)), program.output


PARTS = {
    "the scheduler": "import _taskqueue.upkeep.scheduler as m\nm.Scheduler.tick = boom",
    "the sampler": "import _taskqueue.upkeep.sampler as m\nm.Sampler.sample = boom",
    "the operator": "import _taskqueue.store.operations as m\nm.Operations.under_way = boom",
    "the watch over deadlines": "import _taskqueue.work.execution as m\nm.Execution.watch = boom",
    "what the API needs": "import _taskqueue.web.pressure as m\nm.Pressure.run = boom",
    "the heartbeat thread": "import _taskqueue.work.heartbeat as m\nm.Heartbeat._look_at_the_loop = boom_in_thread",
}
BOOM = """
import threading, time, anyio
told = threading.Event()
async def boom(self, *args, task_status=anyio.TASK_STATUS_IGNORED):
    task_status.started()
    with anyio.move_on_after(60):
        while not told.is_set():
            await anyio.sleep(0.05)
    raise LookupError("the part broke")
def boom_in_thread(self):
    told.wait(60)
    raise LookupError("the part broke")
from taskqueue import task
@task
async def tell(payload: str) -> None:
    told.set()
"""


@pytest.mark.parametrize(("name", "code"), PARTS.items(), ids=PARTS)
def test_a_part_that_breaks_is_named_and_ends_the_process(tmp_path: Path, breaking: list[str], name: str, code: str) -> None:
    (tmp_path / "breaking" / "boom.py").write_text(f"{BOOM}\n{code}\n")
    program = program_of(tmp_path, *breaking)
    try:
        program.until_ready().request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 1.0}})
        program.request("/tasks", {"task": "tell", "payload": "x"})

        assert program.process.wait(15) == 1
    finally:
        program.kill()
    (error,) = [line for line in records(program) if line["level"] == "error" and line.get("event") == "process.failed"]
    assert error["msg"].startswith(f"{name} ended")
    assert "the part broke" in error["traceback"]
    assert "nap" in finished(program)


def test_a_part_that_ends_without_an_error_is_named_too(tmp_path: Path, breaking: list[str]) -> None:
    code = PARTS["the sampler"].replace("m.Sampler.sample", "m.Sampler.run")
    (tmp_path / "breaking" / "boom.py").write_text(f"{BOOM.replace('raise LookupError', 'return print')}\n{code}\n")
    program = program_of(tmp_path, *breaking)
    try:
        program.until_ready().request("/tasks", {"task": "tell", "payload": "x"})

        assert program.process.wait(15) == 1
    finally:
        program.kill()
    assert "the sampler ended; stopping" in program.output


def test_livez_is_red_while_a_failed_process_drains(tmp_path: Path, breaking: list[str]) -> None:
    program = program_of(tmp_path, *breaking)
    try:
        program.until_ready().request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 3.0}})
        program.request("/tasks", {"task": "run", "payload": EXITS["a callback"]})
        give_up = time.monotonic() + 5
        while "process.failed" not in program.output:
            assert time.monotonic() < give_up
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(program.metrics + "/livez", timeout=5)

        assert answer.value.code == 503
        assert b"failed" in answer.value.read()
        answer.value.close()
        assert program.process.wait(10) == 1
    finally:
        program.kill()


def test_a_failed_process_is_gone_in_time_whatever_does_not_stop(tmp_path: Path, breaking: list[str]) -> None:
    program = program_of(tmp_path, "--drain-timeout", "1s", *breaking)
    try:
        code = EXITS["a timer"] + "\nawait asyncio.sleep(0.2)\ntime.sleep(60)"
        program.until_ready().request("/tasks", {"task": "run", "payload": code, "delay": "200ms"})

        assert program.process.wait(1 + 3 + 2) == 75
    finally:
        program.kill()


@pytest.mark.parametrize(
    ("early", "late", "words", "statuses"),
    [
        ("sys.modules['quart'] = None", "", "quart", {1}),
        ("", "import _taskqueue.web.site as m\nm.open_access = None", "NoneType", {1}),
        ("", "raise SystemExit(0)", "SystemExit", {1, 2}),  # 2: it counts as a file that does not import
    ],
    ids=["before any part", "beside parts", "an exit"],
)
def test_a_crash_at_the_start_is_one_record(
    tmp_path: Path, breaking: list[str], at_start: AtStart, early: str, late: str, words: str, statuses: set[int]
) -> None:
    (tmp_path / "breaking" / "boom.py").write_text(f"{late}\n")
    program = program_of(tmp_path, *breaking, environ=at_start(f"import sys\n{early}\n"))
    try:
        assert program.process.wait(15) in statuses
    finally:
        program.kill()
    *_, last = program.output.splitlines()
    assert words in last
    assert "Traceback" not in [line[:9] for line in program.output.splitlines()]


def test_a_signal_while_the_start_waits_ends_it_at_once(tmp_path: Path, breaking: list[str]) -> None:
    code = "import _taskqueue.web.site as m\nfrom _taskqueue.domain.errors import StoreUnavailable\n"
    code += "async def away(store):\n    raise StoreUnavailable('away')\nm.read_secret = away\n"
    (tmp_path / "breaking" / "boom.py").write_text(code)
    program = program_of(tmp_path, *breaking)
    try:
        give_up = time.monotonic() + 10
        while "the start waits" not in program.output:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        began = time.monotonic()
        program.process.send_signal(signal.SIGTERM)

        assert program.process.wait(10) == 0
        assert time.monotonic() - began < 2
    finally:
        program.kill()
