"""Standard output and error may be closed, broken, or read by nobody; and handlers may set up logging as they like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.faults.servers import free_port
from tests.program import ROOT, Program, running

CHATTY = """
import logging, time, anyio
from taskqueue import task
log = logging.getLogger("mine")
@task
async def chat(lines: int, text: str) -> None:
    for number in range(lines):
        log.warning("%d %s", number, text)
@task
async def nap(seconds: float) -> int:
    await anyio.sleep(seconds)
    return 1
"""


class Piped:
    """A program whose output goes where the test says; found by its port.

    Args:
        redirect: what a shell shall do to its streams.
    """

    def __init__(self, folder: Path, redirect: str = "", stdout: int | None = subprocess.DEVNULL) -> None:
        (folder / "mine").mkdir()
        (folder / "mine" / "chatty.py").write_text(CHATTY)
        port = free_port()
        command = [sys.executable, str(ROOT / "taskqueue.py"), "--port", str(port), "--metrics-port", "0", "--redis-url", "memory://"]
        command += ["--handlers", str(folder / "mine"), "--log-format", "json", "--lease", "2s"]
        self.api = f"http://127.0.0.1:{port}"
        self.errors = folder / "errors.txt"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *command],
                cwd=folder, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors,
            )  # fmt: skip

    def request(self, path: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.api + path, data=data), timeout=10) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found

    def until_ready(self) -> None:
        give_up = time.monotonic() + 20
        while True:
            try:
                self.request("/readyz")
            except OSError:
                assert time.monotonic() < give_up
                assert self.process.poll() is None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("redirect", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_obstacle(tmp_path: Path, redirect: str) -> None:
    program = Piped(tmp_path, redirect)
    try:
        program.until_ready()
        streams = [str(Path(f"/proc/{program.process.pid}/fd/{number}").readlink()) for number in range(3)]
        task = program.request("/tasks?wait=5", {"task": "nap", "payload": {"seconds": 0}})
        program.process.send_signal(signal.SIGTERM)
        status = program.process.wait(10)
    finally:
        program.kill()

    assert (task["state"], status) == ("succeeded", 0)
    assert all(stream == os.devnull or stream.startswith("/") for stream in streams), streams
    assert program.errors.read_text() == ""


def test_a_reader_that_stops_holds_up_nothing_and_learns_what_it_missed(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    program = Piped(tmp_path, stdout=writer)
    os.close(writer)
    lines: list[str] = []

    def read() -> None:
        with os.fdopen(reader, encoding="utf-8") as pipe:
            lines.extend(pipe)  # ends with the last writer

    try:
        program.until_ready()
        nap = program.request("/tasks", {"task": "nap", "payload": {"seconds": 5}})["task_id"]
        chat = program.request("/tasks?wait=5", {"task": "chat", "payload": {"lines": 10_000, "text": "x" * 1_000}})
        task = program.request(f"/tasks/{nap}?wait=10")
        reading = threading.Thread(target=read)
        reading.start()
        give_up = time.monotonic() + 10
        while not any("lines were lost" in line for line in list(lines)):
            assert time.monotonic() < give_up
            time.sleep(0.02)
        program.process.send_signal(signal.SIGTERM)
        status = program.process.wait(10)
        reading.join(10)
    finally:
        program.kill()

    assert (chat["state"], task["state"], task["crashes"], task["attempt"]) == ("succeeded", "succeeded", 0, 1)
    said = [json.loads(line)["msg"] for line in lines]
    numbers = [int(text.split()[0]) for text in said if text.endswith("xxx")]
    (lost,) = [int(text.split()[0]) for text in said if "lines were lost" in text]
    assert numbers == list(range(len(numbers)))
    assert 1_000 < len(numbers) < 10_000
    assert lost >= 10_000 - len(numbers)
    assert (said[-1], status) == ("stopped", 0)


def test_a_reader_that_never_comes_back_does_not_keep_the_process(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    program = Piped(tmp_path, stdout=writer)
    os.close(writer)
    try:
        program.until_ready()
        program.request("/tasks?wait=5", {"task": "chat", "payload": {"lines": 1_000, "text": "x" * 1_000}})
        program.process.send_signal(signal.SIGTERM)

        assert program.process.wait(10) == 0
    finally:
        program.kill()
        os.close(reader)


def test_a_broken_output_is_one_note(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = Piped(tmp_path, stdout=writer)
    os.close(writer)
    try:
        program.until_ready()
        for _ in range(5):
            program.request("/tasks?wait=5", {"task": "nap", "payload": {"seconds": 0}})
        program.process.send_signal(signal.SIGTERM)
        status = program.process.wait(10)
    finally:
        program.kill()

    assert status == 0
    assert program.errors.read_text() == "taskqueue: the log cannot be written: Broken pipe; its lines are lost while that lasts\n"


NOBODY = "[loggers]\\nkeys=root\\n[handlers]\\nkeys=\\n[formatters]\\nkeys=\\n[logger_root]\\nlevel=NOTSET\\nhandlers=\\n"
SILENCERS = {
    "dictConfig": "import logging.config\nlogging.config.dictConfig({'version': 1})",
    "fileConfig": "import io, logging.config\n"
    f"logging.config.fileConfig(io.StringIO('{NOBODY}'))\n"
    "logging.getLogger().addHandler(logging.StreamHandler())",
    "disabled": "import logging\nfor one in logging.root.manager.loggerDict.values(): one.disabled = True",
}


@pytest.mark.parametrize("when", ["import", "task"])
@pytest.mark.parametrize("code", SILENCERS.values(), ids=SILENCERS)
def test_a_handler_that_sets_up_logging_does_not_silence_the_queue(tmp_path: Path, code: str, when: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    body = code if when == "import" else ""
    (folder / "one.py").write_text(
        f"{body}\nfrom taskqueue import task\n"
        f"@task(max_attempts=1)\nasync def fail(payload: str) -> None:\n    exec({code!r}, {{}})\n    raise ValueError('for this')\n"
    )
    program = Program(tmp_path, "--redis-url", "memory://", "--handlers", str(folder))
    try:
        give_up = time.monotonic() + 15
        while "ready: http" not in program.output:
            assert time.monotonic() < give_up, program.output
            time.sleep(0.02)
        program.api = "http" + program.output.rpartition("ready: http")[2].split()[0]
        program.request("/tasks?wait=5", {"task": "fail", "payload": "x"})
        status = program.stop()
    finally:
        program.kill()

    assert "dead (attempts): ValueError: for this" in program.output
    assert "SIGTERM: stopping" in program.output
    assert status == 0


def test_a_raising_log_filter_does_not_harm_the_queue(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "one.py").write_text(
        "import logging\nfrom taskqueue import task\n"
        "def broken(record):\n    raise KeyError('request_id')\n"
        "logging.getLogger('taskqueue.task').addFilter(broken)\n"
        "@task\nasync def one(payload: str) -> int:\n    return 1\n"
    )
    with running(tmp_path, "--redis-url", "memory://", "--handlers", str(folder)) as program:
        _, task = program.request("/tasks?wait=5", {"task": "one", "payload": "x"})
        status = program.stop()

    assert (task["state"], task["attempt"], status) == ("succeeded", 1, 0)
    assert "succeeded in" in program.output
    assert "a logging filter or handler failed: KeyError" in program.output
