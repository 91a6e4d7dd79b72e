"""Discovery: packages on the disk become a registry, or one clear error."""

from __future__ import annotations

import pickle
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from _taskqueue.domain.errors import HandlerError, UsageError
from _taskqueue.tasks.discovery import discover, find_task
from _taskqueue.tasks.folders import handler_modules, home_of

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
    package = write({"a.py": one_task("a"), "_private.py": "raise SystemExit(1)", "_more/b.py": "1 / 0", ".hidden/c.py": "1 / 0"})

    registry = discover([package])

    assert set(registry.tasks) == {"a", "echo"}
    assert registry.warnings == []


def test_packages_below_are_collected_themselves(write: Write) -> None:
    package = write({"mail/__init__.py": one_task("send"), "mail/deep/__init__.py": one_task("read"), "mail/deep/x.py": one_task("sort")})

    registry = discover([package])

    assert set(registry.tasks) == {"send", "read", "sort", "echo"}
    assert registry.warnings == []


def test_files_whose_names_are_none_to_python_load_under_an_alias(write: Write) -> None:
    package = write(
        {
            "send-email.py": one_task("a"),
            "my-jobs/x.py": one_task("b"),
            "2024/y.py": one_task("c"),
            "my-jobs/sub-jobs/__init__.py": one_task("d"),
            "two words.py": one_task("e"),
            "v1.2.py": one_task("f"),
            "class.py": one_task("g"),
            "größe.py": one_task("h"),
            "-.py": one_task("i"),
        }
    )

    registry = discover([package])

    assert registry.modules == {
        "a": f"{package}.send_email", "b": f"{package}.my_jobs.x", "c": f"{package}._2024.y", "d": f"{package}.my_jobs.sub_jobs",
        "e": f"{package}.two_words", "f": f"{package}.v1_2", "g": f"{package}.class", "h": f"{package}.größe", "i": f"{package}._",
    }  # fmt: skip
    assert registry.warnings == []


def test_aliases_that_collide_are_told_apart(write: Write) -> None:
    package = write(
        {
            "send-email.py": one_task("a"),
            "send_email.py": one_task("b"),
            "send email.py": one_task("c"),
            "send_email_2.py": one_task("d"),
            "jobs.py": one_task("e"),
            "jobs/x.py": one_task("f"),
            "mail.py": one_task("g"),
            "mail/__init__.py": one_task("h"),
        }
    )

    registry = discover([package])

    assert set(registry.tasks) == {*"abcdefgh", "echo"}
    assert registry.modules["b"] == f"{package}.send_email"
    assert len(set(registry.modules.values())) == 8


def test_a_module_under_an_alias_can_be_imported_by_it(write: Write) -> None:
    package = write(
        {"my-jobs/base-tools.py": "LIMIT = 7\n", "a.py": one_task("a") + "from .my_jobs.base_tools import LIMIT\nassert LIMIT == 7\n"}
    )

    registry = discover([package])

    assert "a" in registry.tasks
    assert registry.warnings == []


def test_a_link_to_a_folder_above_ends(write: Write, tmp_path: Path) -> None:
    package = write({"sub/a.py": one_task("a")})
    (tmp_path / package / "sub" / "loop").symlink_to(tmp_path / package)

    registry = discover([package])

    assert registry.modules == {"a": f"{package}.sub.a"}


def test_a_mounted_config_map_is_read_once(write: Write, tmp_path: Path) -> None:
    package = write({"..2024_11/a.py": one_task("a")})
    (tmp_path / package / "..data").symlink_to("..2024_11")
    (tmp_path / package / "a.py").symlink_to("..data/a.py")

    assert discover([package]).modules == {"a": f"{package}.a"}


def test_what_is_left_out_is_told_with_the_reason(write: Write) -> None:
    package = write(
        {
            "a.py": one_task("a") + "from .used import LIMIT\n",
            "used.py": "LIMIT = 1\n",
            "forgotten.py": "async def f(x): ...\n",
            "empty.py": "",
            "hooks.py": HEAD + "@middleware\nasync def around(ctx, call_next): ...\n",
            "again.py": "from .a import a\n",
            "pkg/__init__.py": "",
            "env/pyvenv.cfg": "",
            "env/lib/x.py": "1 / 0",
            "owner.py": HEAD + "class Jobs:\n    @task\n    async def run(text: str): ...\n",
        }
    )

    registry = discover([package])

    told = {Path(text.partition(": ")[0]).name.partition(":")[0]: text.partition(": ")[2] for text in registry.warnings}
    assert {name: words.split()[2] for name, words in told.items()} == {
        "env": "for",
        "owner.py": "no",
        "forgotten.py": "no",
        "empty.py": "no",
    }
    assert any("the task run is left out, for it stands in a class" in text for text in registry.warnings)


def test_a_folder_without_files_and_a_module_without_tasks_are_told(write: Write) -> None:
    package = write({"plain.py": "x = 1\n", "nothing/readme.txt": ""})

    assert ["there is no handler file in it" in text for text in discover([f"{package}.nothing"]).warnings] == [True]
    assert discover([f"{package}.plain"]).warnings == [f"handler module {package}.plain: there is no task in it"]


def test_all_broken_files_are_told_at_once(write: Write) -> None:
    package = write(
        {
            "a.py": "1 / 0\n",
            "b.py": "\nfrom .a import x\n",
            "c.py": "def broken(:\n",
            "d/__init__.py": "raise KeyboardInterrupt\n",
            "d/e.py": "",
            "f.py": one_task("same"),
            "g.py": one_task("same"),
            "h.py": one_task("good"),
        }
    )

    with pytest.raises(HandlerError) as caught:
        discover([package])

    head, *lines = str(caught.value).splitlines()
    assert head == "4 things are wrong with the handlers:"
    assert [line.rpartition("/")[2][:8] for line in lines] == ["a.py:1: ", "c.py:1: ", "__init__", "g.py:2; "]


HOSTILE = "class E(Exception):\n    def __str__(self): raise {}\nraise E()\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HOSTILE.format("RuntimeError"), "broken.py:3: E: (its text cannot be shown)"),
        (HOSTILE.format("SystemExit"), "broken.py:3: E: (its text cannot be shown)"),
        ("raise SystemExit\n", "broken.py:1: SystemExit: "),
        ("raise KeyboardInterrupt\n", "broken.py:1: KeyboardInterrupt: "),
        ("import asyncio\nraise asyncio.CancelledError('x')\n", "broken.py:2: CancelledError: x"),
        ("raise GeneratorExit\n", "broken.py:1: GeneratorExit: "),
        ("raise ExceptionGroup('two\\nlines', [ValueError()])\n", "broken.py:1: ExceptionGroup: two lines (1 sub-exception)"),
        ("raise SyntaxError('of its own')\n", "broken.py:1: SyntaxError: of its own"),
        ("x = '\x00'\n", "broken.py"),
        ("from .good import nothing\n", "broken.py:1: ImportError: cannot import name 'nothing'"),
    ],
)
def test_whatever_a_file_raises_is_one_line(write: Write, text: str, words: str) -> None:
    package = write({"good.py": one_task("good"), "broken.py": text})

    with pytest.raises(HandlerError) as caught:
        discover([package])

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("import module_that_nobody_has\n", "; install it: pip install module-that-nobody-has"),
        ("import skimage.io\n", "; install it: pip install scikit-image"),
        ("import good\n", "; it stands beside this file: write `from PACKAGE import good`"),
        ("import PACKAGE.nothing\n", "No module named 'PACKAGE.nothing'"),
        ("import json.nothing\n", "No module named 'json.nothing'"),
        ("raise ModuleNotFoundError\n", "broken.py:1: "),
    ],
)
def test_a_missing_module_says_what_to_do(write: Write, text: str, remedy: str) -> None:
    package = write({"good.py": one_task("good")})
    write({"broken.py": text.replace("PACKAGE", package)})

    with pytest.raises(HandlerError) as caught:
        discover([package])

    assert str(caught.value).endswith(remedy.replace("PACKAGE", package))


def test_values_that_raise_when_they_are_looked_at_are_left_alone(write: Write) -> None:
    text = "class Lazy:\n    @property\n    def __class__(self): raise RuntimeError\n    __getattr__ = __class__\nlazy = Lazy()\n"
    package = write({"a.py": one_task("a") + text})

    assert set(discover([package]).tasks) == {"a", "echo"}


def test_folders_of_any_name_become_modules(write: Write, tmp_path: Path) -> None:
    package = write({})
    for name, text in (("my-jobs-{}", "a"), ("my_jobs_{}", "b"), ("2-{}", "c")):
        folder = tmp_path / name.format(package)
        folder.mkdir()
        (folder / "x-y.py").write_text(one_task(text))
    entries = [str(tmp_path / name.format(package)) for name in ("my-jobs-{}", "my_jobs_{}", "2-{}")]

    modules = handler_modules(entries, "flag", tmp_path, needed=True)
    registry = discover(modules)

    assert modules == [f"my_jobs_{package}_2", f"my_jobs_{package}", f"_2_{package}"]
    assert handler_modules(entries, "flag", tmp_path, needed=True) == modules
    assert set(registry.tasks) == {*"abc", "echo"}


def test_an_alias_is_no_name_that_something_installed_has(tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "some_thing.py").touch()
    (tmp_path / "some-thing").mkdir()
    sys.path.append(str(tmp_path / "installed"))
    try:
        assert handler_modules([str(tmp_path / "some-thing")], "flag", tmp_path, needed=True) == ["some_thing_2"]
    finally:
        sys.path.remove(str(tmp_path / "installed"))


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    name = f"jobs_{secrets.token_hex(4)}"
    for parent in "ab":
        (tmp_path / parent / name).mkdir(parents=True)

    with pytest.raises(UsageError, match=f"another module is named '{name}' already; rename the folder"):
        handler_modules([str(tmp_path / "a" / name), str(tmp_path / "b" / name)], "flag", tmp_path, needed=True)


CHILD = """
import pickle, sys
from _taskqueue.tasks.discovery import find_task
spec = find_task(pickle.loads(bytes.fromhex(sys.argv[1])), "a")
print(spec.function.__module__)
"""


def test_another_process_finds_a_task_under_an_alias(tmp_path: Path) -> None:
    folder = tmp_path / f"my-jobs-{secrets.token_hex(4)}"
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "x-y.py").write_text(one_task("a", "(process=True)"))
    registry = discover(handler_modules([str(folder)], "flag", tmp_path, needed=True))
    home = registry.home_of(registry.tasks["a"])

    said = subprocess.run(
        [sys.executable, "-c", CHILD, pickle.dumps(home).hex()], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert said.stdout.strip() == home.module == f"{folder.name.replace('-', '_')}._2024.x_y"


def test_a_task_that_is_gone_is_no_task_of_another_process(write: Write) -> None:
    package = write({"a.py": one_task("a")})
    discover([package])

    with pytest.raises(LookupError, match="has no task 'b'"):
        find_task(home_of(f"{package}.a"), "b")


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
