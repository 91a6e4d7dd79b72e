"""Text has an encoding, whatever the locale: what is left to the locale is ASCII under ``LC_ALL=C``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "taskqueue.py", *sorted((ROOT / "_taskqueue").rglob("*.py")), *sorted((ROOT / "handlers").rglob("*.py"))]
READERS = {"read_text", "write_text", "open", "fdopen", "TextIOWrapper", "NamedTemporaryFile"}
MODE_AT = {"open": 1, "fdopen": 1, "NamedTemporaryFile": 0}


def left_to_the_locale(source: str) -> Iterator[int]:
    """The lines of calls that read or write text and name no encoding."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        given = {one.arg: one.value for one in call.keywords}
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
        if "encoding" in given:
            continue
        if (
            "text" in given
            or "universal_newlines" in given
            or (name in READERS and (owner, name) not in {("os", "open"), ("Image", "open")})
        ):
            mode = given.get("mode", call.args[MODE_AT[name]] if len(call.args) > MODE_AT.get(name, 99) else None)
            if not (isinstance(mode, ast.Constant) and "b" in str(mode.value)):
                yield call.lineno


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Path(a).read_text()", True),
        ("path.write_text(b)", True),
        ("open(a)", True),
        ("open(a, 'w')", True),
        ("os.fdopen(1, 'w')", True),
        ("subprocess.run(a, text=True)", True),
        ("path.read_text(encoding='utf-8')", False),
        ("open(a, 'rb')", False),
        ("path.open(mode='wb')", False),
        ("os.open(a, os.O_RDWR)", False),
        ("subprocess.run(a, encoding='utf-8')", False),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str, found: bool) -> None:
    assert bool(list(left_to_the_locale(source))) is found


def test_no_text_is_left_to_the_locale() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in left_to_the_locale(path.read_text(encoding="utf-8"))]

    assert found == []
