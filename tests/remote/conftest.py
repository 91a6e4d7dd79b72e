"""A real program for the clients to talk to, and a server of answers by hand whose time is a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from _taskqueue.remote.client import Client
from tests.program import Program, running

HANDLERS = """
import anyio
from taskqueue import Context, task

@task
async def echo(payload: str) -> str:
    return payload

@task
async def add(left: int, right: int) -> int:
    return left + right

@task
async def nap(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds

@task(max_attempts=1)
async def fail(text: str) -> None:
    raise ValueError(text)

@task
async def talk(ctx: Context, lines: list[str]) -> None:
    for line in lines:
        ctx.log.info(line)
        await anyio.sleep(0.05)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The whole program, on a store of its own."""
    folder = tmp_path_factory.mktemp("remote")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "things.py").write_text(HANDLERS)
    with running(folder, "--data-dir", str(folder / "data"), "--handlers", str(folder / "tasks"), "--default-task", "echo") as found:
        yield found


@pytest.fixture
def client(program: Program) -> Iterator[Client]:
    with Client(program.api) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test puts the program of its own."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "things.py").write_text(HANDLERS)
    return tmp_path


Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Script:
    """Answers requests with what a test says, in order; the last is repeated. Sleeping moves its clock and takes no time."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now = 1000.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def client(self, **options: Any) -> Client:
        """A blocking client of this script; its jitter is always the whole interval."""
        found = {"clock": lambda: self.now, "sleep": self.sleep, "random": lambda: 1.0, **options}
        return Client("http://queue.test", transport=httpx.MockTransport(self.answer), **found)


def problem(status: int, code: str, detail: str = "no", headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """A problem document."""
    document = {"type": "about:blank", "title": "", "status": status, "code": code, "detail": detail, **more}
    return httpx.Response(
        status, headers={"Content-Type": "application/problem+json", **(headers or {})}, content=json.dumps(document).encode()
    )


def accepted(task_id: str = "task1") -> httpx.Response:
    """A task was accepted."""
    return httpx.Response(202, json={"task_id": task_id})
