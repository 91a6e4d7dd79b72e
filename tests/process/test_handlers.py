"""Folders of handlers as people name them, in the real program."""

from __future__ import annotations

import json
from pathlib import Path

from tests.program import Program, running

MODELS = """
from __future__ import annotations
import functools
from typing import TYPE_CHECKING
import pydantic
from taskqueue import task
if TYPE_CHECKING:
    from collections.abc import Sequence
    from taskqueue import Context

class Person(pydantic.BaseModel):
    name: str

def plainly(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner

@task
@plainly
async def greet(ctx: Context, people: list[Person], times: int = 1) -> Sequence[str]:
    return [one.name for one in people] * times
"""
CHILD = """
import pathlib
from taskqueue import task

@task(process=True)
def crunch(n: int, path: pathlib.Path):
    return [n, path.name, __name__]
"""


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return str(folder)


def test_files_of_any_name_run_here_and_in_a_process_of_their_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "my-handlers", {"greet-people.py": MODELS, "2024/x-y.py": CHILD, "forgotten.py": "x = 1\n"})

    with running(tmp_path, "--redis-url", "memory://", "--handlers", folder) as program:
        _, greeted = program.request("/tasks?wait=10", {"task": "greet", "payload": {"people": [{"name": "ann"}], "times": 2.0}})
        _, crunched = program.request("/tasks?wait=10", {"task": "crunch", "payload": {"n": 5, "path": "/a/b"}})
        status, problem = program.request("/tasks", {"task": "greet", "payload": {"peopel": [], "times": "many"}})
        warnings = [one["msg"] for one in map(json.loads, program.output.splitlines()) if one["level"] == "warning"]

    assert (greeted["state"], greeted["result"]) == ("succeeded", ["ann", "ann"])
    assert (crunched["state"], crunched["result"]) == ("succeeded", [5, "b", "my_handlers._2024.x_y"])
    assert status == 422
    assert problem["detail"] == (
        "the task greet cannot take this payload: unknown field 'peopel'; did you mean 'people'?; missing: people; "
        "times: expected an integer, got a string"
    )
    assert [one.partition(";")[0] for one in warnings if "no task in it" in one] == [f"{folder}/forgotten.py: there is no task in it"]


def test_all_that_is_broken_is_told_at_one_start(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"a.py": "import nobody_has_this\n", "b.py": "def broken(:\n", "c.py": "raise KeyboardInterrupt\n"})
    program = Program(tmp_path, "--redis-url", "memory://", "--handlers", folder)

    status = program.process.wait(30)

    lines = [line for line in program.output.splitlines() if not line.startswith("{")]
    assert status == 2, program.output
    assert lines[0] == "taskqueue: 3 things are wrong with the handlers:"
    assert lines[1] == f"  {folder}/a.py:1: No module named 'nobody_has_this'; install it: pip install nobody-has-this"
    assert [line.strip().removeprefix(f"{folder}/")[:22] for line in lines[2:]] == ["b.py:1: SyntaxError: i", "c.py:1: KeyboardInterr"]
