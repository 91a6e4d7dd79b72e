"""The README's code blocks, executed: its curl lines against the program on its own ports, its handler in a folder."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.program import ROOT, Program, running

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.strip().splitlines()]
HANDLER = re.search(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program with the shipped examples and the README's own handler."""
    folder = tmp_path_factory.mktemp("readme")
    assert HANDLER is not None
    (folder / "mine").mkdir()
    (folder / "mine" / "greet.py").write_text(HANDLER[1])
    arguments = ["--handlers", str(ROOT / "handlers"), "--handlers", str(folder / "mine"), "--data-dir", str(folder / "data")]
    with running(folder, *arguments) as found:
        yield found


def run(command: str, program: Program) -> str:
    """The output of a README line, sent to the ports of this program."""
    there = command.replace("http://127.0.0.1:8080", program.api).replace("http://127.0.0.1:2112", program.metrics)
    done = subprocess.run(["/bin/bash", "-c", there + " -sS --fail-with-body"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{there}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_there_are_commands_to_run() -> None:
    assert len(COMMANDS) >= 4


def test_the_first_task_gets_exactly_its_id(program: Program) -> None:
    answer = json.loads(run(COMMANDS[0], program))

    assert list(answer) == ["task_id"]


def test_the_submissions_that_wait_succeed(program: Program) -> None:
    for command in (command for command in COMMANDS if "wait=" in command):
        assert json.loads(run(command, program))["state"] == "succeeded", command


def test_the_handler_of_the_readme_does_what_it_says(program: Program) -> None:
    command = next(command for command in COMMANDS if "greet" in command)

    assert json.loads(run(command, program))["result"] == "hello Ada"


def test_the_client_of_the_readme_does_what_it_says(program: Program) -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "import Client" in block]
    names: dict[str, Any] = {}

    exec(code.replace("http://127.0.0.1:8080", program.api), names)  # noqa: S102 - the README's own lines

    assert names["greeting"] == "hello Ada"
    assert [one["words"] for one in names["counts"]] == [2, 2]


def test_the_metrics_line_shows_metrics(program: Program) -> None:
    command = next(command for command in COMMANDS if "/metrics" in command)

    assert "taskqueue_task_attempts_total" in run(command, program)


def test_every_call_of_the_table_is_a_route(program: Program) -> None:
    _, document = program.request("/openapi.json")
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    named = set()
    for row in re.findall(r"^\| `(?:GET|POST) .*", README, re.MULTILINE):
        method = stem = ""
        for found, path in re.findall(r"`(?:(GET|POST|DELETE) )?(/[^`?]*)`", row):
            method, stem = (found, path.rpartition("/")[0]) if found else (method, stem)
            named.add((method, path if found or (method, path) in routes else stem + path))

    assert len(named) > 20
    assert named <= routes


def test_a_folder_without_tasks_says_so(tmp_path: Path) -> None:
    program = Program(tmp_path, "--handlers", str(tmp_path / "none"))

    status = program.process.wait(20)

    assert status == 2
    assert program.output.startswith("taskqueue: --handlers")
