"""Text has an encoding, whatever the locale: what is left to the locale is ASCII under ``LC_ALL=C``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "taskqueue.py", *sorted((ROOT / "_taskqueue").rglob("*.py")), *sorted((ROOT / "handlers").rglob("*.py"))]
READERS = {"read_text": 9, "write_text": 9, "open": 1, "fdopen": 1, "TextIOWrapper": 9, "NamedTemporaryFile": 0}
"""Function or method → where its mode stands; those of text alone have none."""

ENCODING_AT = {"read_text": 0, "write_text": 1}


def left_to_the_locale(source: str) -> Iterator[int]:
    """The lines of calls that read or write text and name no encoding."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and _is_text(call) and "encoding" not in {one.arg for one in call.keywords}:
            yield call.lineno


def _is_text(call: ast.Call) -> bool:
    given = {one.arg: one.value for one in call.keywords}
    if "text" in given or "universal_newlines" in given:
        return True
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in READERS or ast.unparse(call.func) == "os.open" or len(call.args) > ENCODING_AT.get(name, 9):
        return False
    at = 0 if method and name == "open" else READERS[name]
    mode = given.get("mode", call.args[at] if len(call.args) > at else None)
    if method and name == "open" and mode is None:  # of a file, and not of whatever else can be opened
        return ast.unparse(call.func).startswith(("Path(", "path."))
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value)) and not (name == "open" and isinstance(mode, ast.Attribute))


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
        ("path.read_text('utf-8', 'replace')", False),
        ("open(a, 'rb')", False),
        ("path.open(mode='wb')", False),
        ("Path(a).open('w')", True),
        ("path.open()", True),
        ("child.open()", False),
        ("Image.open(image.source)", False),
        ("os.open(a, os.O_RDWR)", False),
        ("subprocess.run(a, encoding='utf-8')", False),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str, found: bool) -> None:
    assert bool(list(left_to_the_locale(source))) is found


def test_no_text_is_left_to_the_locale() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in left_to_the_locale(path.read_text(encoding="utf-8"))]

    assert found == []
