"""The real program and its data folder: odd names, odd surroundings, a folder that is taken away, a disk that is full."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.test_serve import server_pid
from tests.program import Program, running

WAIT_S = 15.0


def until(true: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < give_up, what
        time.sleep(0.05)


def told(program: Program, level: str) -> list[str]:
    lines = (json.loads(line) for line in program.output.splitlines() if line.startswith("{"))
    return [line["msg"] for line in lines if line["level"] == level and line["logger"] == "taskqueue.store"]


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


def test_a_deleted_data_folder_is_told_and_nothing_is_accepted_any_more(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", "data") as program:
        assert program.request("/tasks?wait=5", {"payload": "before"})[0] == 202

        shutil.rmtree(tmp_path / "data")

        until(lambda: told(program, "error"), "nothing is told")
        until(lambda: program.request("/tasks", {"payload": "after"})[0] == 503, "it accepts what it cannot keep")
        until(lambda: {status_of(url + "/readyz") for url in (program.api, program.metrics)} == {503}, "it says it is ready")
        assert program.request("/tasks", {"payload": "after"})[0] == 503
        assert "was deleted or moved away while in use" in told(program, "error")[0]
        program.stop()
        assert "Traceback" not in program.output
        assert not (tmp_path / "data").exists()


def test_a_deleted_socket_is_no_end(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", "data") as program:
        (tmp_path / "data" / "valkey.sock").unlink()

        until(lambda: "the embedded store is back" in program.output, "the store is not started again")
        until(lambda: program.request("/tasks?wait=5", {"payload": "after"})[0] == 202, "it does not work again")


def test_a_store_that_dies_with_its_killed_parent_leaves_all_to_the_next(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", "data") as program:
        _, later = program.request("/tasks", {"payload": "later", "delay": "1h"})
        pid = server_pid(tmp_path / "data")
        program.kill()

        until(lambda: not Path(f"/proc/{pid}/exe").exists(), "the server lives on")

    with running(tmp_path, "--data-dir", "data") as program:
        assert program.request(f"/tasks/{later['task_id']}")[0] == 200


@pytest.mark.parametrize("name", [b"da#ta?", b"two words\n'%41", b"non\xff-utf"])
def test_any_name_anywhere_without_a_path_or_a_locale(tmp_path: Path, name: bytes) -> None:
    program = Program(tmp_path, "--data-dir", os.fsdecode(name), environ={"PATH": "", "LC_ALL": "C"})
    try:
        program.until_ready()
        assert program.request("/tasks?wait=5", {"payload": "x"})[1]["state"] == "succeeded"
        assert (tmp_path / os.fsdecode(name) / "appendonlydir").is_dir()
        assert program.stop() == 0
    finally:
        program.kill()


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", "data") as program:
        program.request("/tasks", {"payload": "x", "delay": "1h"})
        program.stop()
    (tmp_path / "data" / "engine").write_text("redis 99.1.0\n")

    program = Program(tmp_path, "--data-dir", "data")

    assert program.process.wait(20) == 2
    (line,) = [line for line in program.output.splitlines() if not line.startswith("{")]
    assert re.search(r"the data in \S+/data was written by redis 99\.1\.0, and only valkey .* install redis-server 99\.1\.0 or newer", line)


def test_a_full_disk_is_told_and_so_is_its_end(small_disk: Path, tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", str(small_disk / "data")) as program:
        until(lambda: program.request("/tasks", {"payload": "x" * 50_000, "delay": "1h"})[0] == 503, "it takes more than there is room for")

        until(lambda: told(program, "error"), "nothing is told")
        assert told(program, "error")[0].startswith("the store cannot write to its disk, so it refuses every write")
        assert status_of(program.api + "/readyz") == 503

        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "remount,size=100m", "tmpfs", str(small_disk)], check=True)

        until(lambda: "the store writes to its disk again" in told(program, "info"), "its end is not told")
        until(lambda: program.request("/tasks?wait=5", {"payload": "x"})[0] == 202, "it does not go on")
        assert program.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("room", [0, 4096, 8192])
def test_a_start_on_a_full_disk_says_so(small_disk: Path, tmp_path: Path, room: int) -> None:
    (small_disk / "filler").write_bytes(bytes(3 * 1024 * 1024 - room))

    program = Program(tmp_path, "--data-dir", str(small_disk / "data"))

    assert program.process.wait(20) == 2
    assert re.search(r"[nN]o space (is )?left on", program.output.splitlines()[-1])
