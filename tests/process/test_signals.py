"""Signals are obeyed whatever handlers do: they block the loop, take the signals, leave no room for a thread."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.conftest import PLAIN_ASYNCIO, records
from tests.program import Program

AtStart = Callable[[str], dict[str, str]]
Starter = Callable[..., Program]
LAST_WORDS_S = 3.0
HURRY_S = 2.0
SLACK_S = 1.0


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Starter]:
    """``started(*flags)``: a program that is ready, killed at the end if it still runs."""
    programs: list[Program] = []

    def start(*flags: str, environ: dict[str, str] | None = None) -> Program:
        programs.append(Program(tmp_path, "--redis-url", "memory://", *flags, environ=environ))
        return programs[-1].until_ready()

    yield start
    for program in programs:
        program.kill()


def until_said(program: Program, words: str) -> None:
    give_up = time.monotonic() + 10
    while words not in program.output:
        assert time.monotonic() < give_up, program.output
        time.sleep(0.01)


def signalled(program: Program, *numbers: int) -> tuple[int, float]:
    """Send signals, a moment apart; gives the status, and the time since the last of them."""
    for number in numbers:
        program.process.send_signal(number)
        began = time.monotonic()
        if len(numbers) > 1:
            time.sleep(0.2)
    return program.process.wait(20), time.monotonic() - began


@pytest.mark.parametrize("how", ["block", "spin", "block_in_c"])
def test_one_signal_is_obeyed_while_a_handler_blocks_the_loop(started: Starter, breaking: list[str], how: str) -> None:
    program = started("--drain-timeout", "1s", *breaking)
    program.request("/tasks", {"task": how, "payload": {"seconds": 60}, "delay": "300ms"})
    until_said(program, "blocks the event loop")

    status, took_s = signalled(program, signal.SIGTERM)

    assert status == 75
    assert 1 < took_s < 1 + LAST_WORDS_S + SLACK_S
    assert "leaving with status 75" in records(program)[-1]["msg"]


@pytest.mark.parametrize("how", ["block", "spin", "block_in_c"])
def test_a_second_signal_is_obeyed_while_a_handler_blocks_the_loop(started: Starter, breaking: list[str], how: str) -> None:
    program = started(*breaking)
    program.request("/tasks", {"task": how, "payload": {"seconds": 60}, "delay": "300ms"})
    until_said(program, "blocks the event loop")

    status, took_s = signalled(program, signal.SIGTERM, signal.SIGTERM)

    assert status == 130
    assert took_s < HURRY_S + SLACK_S


@pytest.mark.parametrize("at_s", [0.0, 1.5], ids=["before", "after"])
def test_a_signal_is_obeyed_even_when_the_interpreter_is_held(started: Starter, breaking: list[str], at_s: float) -> None:
    program = started("--drain-timeout", "0s" if not at_s else "2s", *breaking)
    program.request("/tasks", {"task": "hold_the_interpreter", "payload": {"seconds": at_s}})
    until_said(program, "here it comes")
    time.sleep(0.5)  # nothing in there can tell when it is held

    status, took_s = signalled(program, signal.SIGTERM)

    assert status in (75, -signal.SIGALRM)  # the watchdog, or the kernel
    assert took_s < 2 + LAST_WORDS_S + 2 * SLACK_S


@pytest.mark.parametrize("how", ["block", "block_in_c"])
def test_a_blocked_loop_of_plain_asyncio_is_no_different(started: Starter, breaking: list[str], at_start: AtStart, how: str) -> None:
    program = started("--drain-timeout", "0s", *breaking, environ=at_start(PLAIN_ASYNCIO))
    program.request("/tasks", {"task": how, "payload": {"seconds": 60}, "delay": "300ms"})
    until_said(program, "blocks the event loop")

    status, took_s = signalled(program, signal.SIGTERM)

    assert status == 75
    assert took_s < LAST_WORDS_S + SLACK_S


NO_MORE_THREADS = """
import resource
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
import threading
try:
    threading.Thread(target=print).start()
except RuntimeError:
    return "no thread can be made"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else whose processes are counted")
def test_signals_are_obeyed_when_no_thread_can_be_made(started: Starter, breaking: list[str]) -> None:
    program = started("--drain-timeout", "1s", *breaking)
    _, task = program.request("/tasks?wait=5", {"task": "run", "payload": NO_MORE_THREADS})

    status, took_s = signalled(program, signal.SIGTERM)

    assert task["result"] == "no thread can be made"
    assert status in (0, 75)
    assert took_s < 1 + LAST_WORDS_S + SLACK_S


def test_a_closed_terminal_drains(started: Starter, breaking: list[str]) -> None:
    program = started(*breaking)
    program.request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 1.0}})
    until_running(program)

    status, _ = signalled(program, signal.SIGHUP, signal.SIGHUP)  # from the terminal, and from the shell

    assert status == 0
    assert [line["task"] for line in records(program) if line.get("event") == "task.finished"] == ["nap"]


def test_what_nohup_has_ignored_stays_ignored(started: Starter, at_start: AtStart) -> None:
    program = started(environ=at_start("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"))
    program.process.send_signal(signal.SIGHUP)

    _, task = program.request("/tasks?wait=5", {"payload": "still here"})
    status, _ = signalled(program, signal.SIGTERM)

    assert (task["state"], status) == ("succeeded", 0)
    assert "SIGHUP" not in program.output


def until_running(program: Program) -> None:
    give_up = time.monotonic() + 10
    while program.request("/queues")[1]["items"][0]["counts"]["running"] < 1:
        assert time.monotonic() < give_up


TAKERS = {
    "a handler": "signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))",
    "ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "default": "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    "wake-up": "signal.set_wakeup_fd(-1)",
}


@pytest.mark.parametrize("code", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])
def test_signals_that_a_library_takes_when_it_is_imported_are_taken_back(
    started: Starter, tmp_path: Path, breaking: list[str], at_start: AtStart, code: str, plain: bool
) -> None:
    (tmp_path / "breaking" / "taker.py").write_text(f"import signal, sys\n{code}\n")
    program = started(*breaking, environ=at_start(PLAIN_ASYNCIO) if plain else None)
    program.request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 1.0}})
    until_running(program)

    status, _ = signalled(program, signal.SIGTERM)

    assert status == 0
    assert [line["task"] for line in records(program) if line.get("event") == "task.finished"] == ["nap"]
    warnings = [line["msg"] for line in records(program) if "SIGTERM had been taken" in line["msg"]]
    assert len(warnings) == ("wakeup" not in code)


@pytest.mark.parametrize(
    "code",
    [
        "import signal; signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "import signal; asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)",
    ],
)
@pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])
def test_signals_that_a_running_handler_takes_are_taken_back(
    started: Starter, breaking: list[str], at_start: AtStart, code: str, plain: bool
) -> None:
    program = started(*breaking, environ=at_start(PLAIN_ASYNCIO) if plain else None)
    program.request("/tasks?wait=5", {"task": "run", "payload": code})
    until_said(program, "SIGTERM had been taken by")

    status, _ = signalled(program, signal.SIGTERM)

    assert status == 0
    assert "stopped" in records(program)[-1]["msg"]


def test_other_signals_of_the_loop_still_reach_their_handlers(started: Starter, breaking: list[str]) -> None:
    code = (
        "import signal\n"
        "came = asyncio.Event()\n"
        "asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "await asyncio.wait_for(came.wait(), 3)\n"
        "return 'came'"
    )
    program = started(*breaking)

    _, task = program.request("/tasks?wait=5", {"task": "run", "payload": code})

    assert task["result"] == "came"


def test_a_signal_to_a_forked_child_is_not_taken_for_ours(started: Starter, breaking: list[str]) -> None:
    code = (
        "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "child.start()\n"
        "time.sleep(0.2)\n"
        "child.terminate()\n"
        "child.join(5)\n"
        "return child.exitcode"
    )
    program = started(*breaking)

    _, task = program.request("/tasks?wait=10", {"task": "run_in_thread", "payload": code})
    _, after = program.request("/tasks?wait=5", {"task": "echo", "payload": "still here"})

    assert (task["result"], after["state"]) == (-signal.SIGTERM, "succeeded")
    assert "stopping" not in program.output


def test_a_signal_ends_the_wait_for_a_store_at_once(tmp_path: Path) -> None:
    program = Program(tmp_path, "--redis-url", "redis://127.0.0.1:1/0")
    try:
        give_up = time.monotonic() + 10
        while not listening(program):
            assert time.monotonic() < give_up, program.output
            time.sleep(0.01)

        status, took_s = signalled(program, signal.SIGTERM)
    finally:
        program.kill()

    assert (status, took_s < SLACK_S) == (0, True), (took_s, program.output)
    assert "stopped before the store was open" in program.output


def listening(program: Program) -> bool:
    """Whether it has a socket, which it makes before it asks for the store."""
    found = []
    for one in Path(f"/proc/{program.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(one.readlink()))
    return sum(name.startswith("socket:") for name in found) > 2
