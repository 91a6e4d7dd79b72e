"""Discovery: packages on the disk become a registry, or one clear error."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from _taskqueue.domain.errors import HandlerError
from _taskqueue.tasks.discovery import discover

Write = Callable[[dict[str, str]], str]
HEAD = "from _taskqueue.tasks.spec import lifespan, middleware, task\n"


def one_task(name: str, policy: str = "") -> str:
    """The text of a file with one task."""
    return f"{HEAD}@task{policy}\nasync def {name}(text: str) -> str:\n    return text\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a package of these files; gives its name, which no other test uses."""
    monkeypatch.syspath_prepend(tmp_path)
    package = f"handlers_{secrets.token_hex(4)}"

    def make(files: dict[str, str]) -> str:
        for name, text in files.items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return package

    yield make
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def test_tasks_are_found_in_nested_files(write: Write) -> None:
    package = write({"__init__.py": one_task("top"), "a.py": one_task("first"), "deep/er/b.py": one_task("second", "(queue='mails')")})

    registry = discover([package])

    assert set(registry.tasks) == {"top", "first", "second", "echo"}
    assert registry.queues() == ["default", "mails"]


def test_files_and_folders_with_an_underscore_are_not_imported(write: Write) -> None:
    package = write({"a.py": one_task("a"), "_private.py": "raise SystemExit(1)", "_more/b.py": "1 / 0", "no-module.py": "1 / 0"})

    assert set(discover([package]).tasks) == {"a", "echo"}


def test_a_single_module_is_enough(write: Write) -> None:
    package = write({"a.py": one_task("a"), "b.py": one_task("b")})

    assert set(discover([f"{package}.a"]).tasks) == {"a", "echo"}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("x = 1\nboom = 1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("\n\ndef broken(:\n", 3, "SyntaxError"),
        ("import module_that_nobody_has\n", 1, "No module named 'module_that_nobody_has'"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        (f"{HEAD}@task(timeout=0)\nasync def slow(a: str) -> None: ...\n", 2, "task slow: timeout must be longer than zero"),
    ],
)
def test_a_broken_file_is_an_error_with_file_and_line(write: Write, text: str, line: int, what: str) -> None:
    package = write({"good.py": one_task("good"), "sub/broken.py": text})

    with pytest.raises(HandlerError) as caught:
        discover([package])

    assert f"{Path(package, 'sub', 'broken.py')}:{line}: " in str(caught.value)
    assert what in str(caught.value)


def test_two_tasks_of_one_name_are_an_error_that_names_both_files(write: Write) -> None:
    package = write({"a.py": one_task("same"), "b.py": one_task("other", "(name='same')")})

    with pytest.raises(HandlerError) as caught:
        discover([package])

    said = str(caught.value)
    assert "two tasks are named 'same'" in said
    assert f"{Path(package, 'a.py')}:2" in said
    assert f"{Path(package, 'b.py')}:2" in said


def test_a_task_imported_by_another_file_is_one_task(write: Write) -> None:
    package = write({"a.py": one_task("a"), "b.py": "from .a import a\n"})

    assert set(discover([package, package]).tasks) == {"a", "echo"}


def test_a_variant_made_with_options_is_no_second_task(write: Write) -> None:
    package = write({"a.py": one_task("a") + "urgent = a.options(priority=9)\n"})

    assert dict(discover([package]).tasks["a"].submit_options) == {}


def test_the_only_task_is_the_default(write: Write) -> None:
    registry = discover([write({"a.py": one_task("only")})])

    assert registry.default == "only"
    assert registry.find("") is registry.tasks["only"]
    assert registry.knows("")


def test_with_several_tasks_or_none_the_default_is_echo(write: Write) -> None:
    assert discover([write({"a.py": one_task("a"), "b.py": one_task("b")})]).default == "echo"
    assert discover([]).default == "echo"
    assert set(discover([]).tasks) == {"echo"}


def test_a_named_default_wins_and_must_exist(write: Write) -> None:
    package = write({"a.py": one_task("a"), "b.py": one_task("b")})

    assert discover([package], "b").default == "b"
    with pytest.raises(HandlerError, match="the default task 'c' does not exist; known are a, b, echo"):
        discover([package], "c")


def test_a_users_own_echo_replaces_the_one_that_is_built_in(write: Write) -> None:
    registry = discover([write({"a.py": one_task("echo")})])

    assert registry.tasks["echo"].file.endswith("a.py:2")


def test_a_missing_module_says_where_it_was_searched() -> None:
    with pytest.raises(HandlerError, match=r"there is no handler module 'nowhere_at_all' \(searched .*see --handlers"):
        discover(["nowhere_at_all"])


def test_hooks_are_collected_in_order(write: Write) -> None:
    text = HEAD + "@middleware\nasync def outer(ctx, call_next): ...\n@middleware\nasync def inner(ctx, call_next): ...\n"
    registry = discover([write({"a.py": text + "@lifespan\nasync def life():\n    yield {}\n", "b.py": "from .a import outer\n"})])

    assert [function.__name__ for function in registry.hooks_of("middleware")] == ["outer", "inner"]
    assert [function.__name__ for function in registry.hooks_of("lifespan")] == ["life"]
    assert registry.hooks_of("on_failure") == []


def test_an_unknown_name_is_not_found() -> None:
    registry = discover([])

    assert registry.find("nobody") is None
    assert not registry.knows("nobody")
