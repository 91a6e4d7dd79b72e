"""Bad input at the start: status 2, one line that says what is wrong and what to do, no traceback."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.process.conftest import Server
from tests.program import Program, running


def complaint(folder: Path, *arguments: str) -> str:
    """The one line with which the program refuses to start."""
    program = Program(folder, *arguments)
    try:
        status = program.process.wait(30)
        said = [line for line in program.output.splitlines() if not line.startswith("{")]
        assert status == 2, program.output
        assert len(said) == 1, program.output
        assert said[0].startswith("taskqueue: ")
        return said[0]
    finally:
        program.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--drain-timeout", "soon"], ["--drain-timeout", "'soon' is not a duration"]),
        (["--concurrency", "0"], ["--concurrency", "from 1 to 10000"]),
        (["--role", "boss"], ["--role", "'boss' is no role", "worker"]),
        (["--queues", "Bad Name"], ["--queues", "'Bad Name' is no queue name"]),
        (["--max-payload", "1TB"], ["--max-payload", "is not a size"]),
        (["--redis-url", "mysql://x"], ["mysql://x", "redis://"]),
        (["--redis-url", "redis://:secret@127.0.0.1:1/0"], ["cannot use the store at redis://:***@127.0.0.1:1/0", "--redis-url"]),
        (["--handlers", "no/such/folder"], ["--handlers no/such/folder", "no such folder"]),
        (["--handlers", "no_such_module"], ["no_such_module", "--handlers"]),
        (["--data-dir", "/proc/nothing"], ["/proc/nothing", "--data-dir"]),
        (["--data-dir", "x" * 100], ["too long for a unix socket", "--data-dir"]),
        (["--default-task", "nobody"], ["default task 'nobody' does not exist", "echo"]),
        (["--config", "missing.toml"], ["missing.toml", "No such file"]),
    ],
)
def test_a_bad_flag(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    said = complaint(tmp_path, *arguments)

    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", ["bad.py:1", "SyntaxError"]),
        ("\nimport no_such_thing\n", ["bad.py:2", "no_such_thing"]),
        ("1/0\n", ["bad.py:1", "ZeroDivisionError"]),
        ("from taskqueue import task\n@task(timeout='never')\nasync def a(x: str): ...\n", ["bad.py:2", "task a", "timeout"]),
        ("from taskqueue import task\n@task\nasync def a(*args): ...\n", ["bad.py:2", "task a", "*args"]),
    ],
)
def test_a_handler_file_that_does_not_import_is_named_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bad.py").write_text(text)

    said = complaint(tmp_path, "--redis-url", "memory://", "--handlers", str(tmp_path / "mine"))

    for word in words:
        assert word in said


def test_two_handlers_of_one_name_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("one.py", "two.py"):
        (tmp_path / "mine" / name).write_text("from taskqueue import task\n@task\nasync def same(x: str): ...\n")

    said = complaint(tmp_path, "--redis-url", "memory://", "--handlers", str(tmp_path / "mine"))

    assert "one.py:2" in said
    assert "two.py:2" in said


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint(tmp_path, "--port", str(port), "--metrics-port", "0")

    assert f"port {port} on 127.0.0.1 is in use" in said


def test_a_store_that_evicts_keys_is_refused(tmp_path: Path, start: Callable[..., Server]) -> None:
    _, url = start("--maxmemory-policy", "allkeys-lru")

    said = complaint(tmp_path, "--redis-url", url)

    assert "maxmemory-policy allkeys-lru" in said
    assert "noeviction" in said


RIGHTS = ("~taskqueue:*", "~{taskqueue}:*", "+@all", "-@dangerous", "+info")
"""What the README lists."""


def as_user(url: str, *rights: str) -> str:
    """The URL for a user of this server with these rights."""
    with redis.Redis.from_url(url) as root:
        root.execute_command("ACL", "SETUSER", "me", "reset", "on", ">p@ss", *rights)
    return url.replace("unix://", "unix://me:p%40ss@")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_store_that_answers_and_refuses_the_work(tmp_path: Path, start: Callable[..., Server], role: str) -> None:
    said = complaint(tmp_path, "--role", role, "--redis-url", as_user(start()[1], *RIGHTS, "-zadd"))

    assert "cannot use the store at unix://me:***@" in said
    assert "ZADD" in said
    assert f"allow it: ACL SETUSER <user> {' '.join(RIGHTS)}" in said


def test_the_rights_that_a_start_asks_for_are_enough(tmp_path: Path, start: Callable[..., Server]) -> None:
    with running(tmp_path, "--role", "all", "--redis-url", as_user(start()[1], *RIGHTS)) as program:
        task = program.request("/tasks?wait=10", {"payload": "x", "tags": ["a"], "unique": {"key": "k"}, "batch_id": "b"})[1]
        statuses = [program.request(path)[0] for path in ("/readyz", "/tasks", "/batches/b", "/queues", "/workers", "/failures", "/stats")]

        assert (task["state"], statuses) == ("succeeded", [200] * 7)
        assert "permission" not in program.output


def test_a_wrong_password_is_told_as_one(tmp_path: Path, start: Callable[..., Server]) -> None:
    said = complaint(tmp_path, "--redis-url", as_user(start()[1], *RIGHTS).replace("p%40ss", "wr%40ng"))

    assert "the store refuses the login" in said
    assert "@ng" not in said.replace("***@", "")
    assert "start it" not in said


def test_an_option_of_the_url_that_nobody_knows(tmp_path: Path) -> None:
    assert "the option 'decode_responses' is not known" in complaint(tmp_path, "--redis-url", "redis://h/0?decode_responses=True")


def test_an_unknown_setting_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "taskqueue.toml").write_text("concurency = 5\n")

    assert "did you mean 'concurrency'" in complaint(tmp_path)


@pytest.mark.parametrize("name", ["h2", "json", "zlib"])
def test_a_folder_of_handlers_hides_no_installed_module(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.py").write_text("from taskqueue import task\n", encoding="utf-8")
    program = Program(tmp_path, "--redis-url", "memory://", "--handlers", name)
    try:
        assert program.process.wait(20) == 2
    finally:
        program.kill()
    assert "module is named" in program.output
    assert "rename the folder" in program.output
    assert "Traceback" not in program.output
