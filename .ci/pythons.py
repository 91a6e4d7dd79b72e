"""Print the path of an interpreter for each further minor version of Python that the project supports and this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST, NEWEST = 11, 13


def candidates(minor: int) -> Iterator[str]:
    """Where an interpreter may be: on the path, or under pyenv."""
    for folder in os.environ["PATH"].split(os.pathsep):
        if found := shutil.which(f"python3.{minor}", path=folder):
            yield found
    shims = [Path(folder).parent for folder in os.environ["PATH"].split(os.pathsep) if Path(folder).name == "shims"]
    for root in filter(None, [os.environ.get("PYENV_ROOT"), "~/.pyenv", *map(str, shims)]):
        yield from map(str, sorted(Path(root).expanduser().glob(f"versions/3.{minor}*/bin/python3")))


def runs(path: str, minor: int) -> bool:
    """Whether it is that version; a shim of pyenv may be none at all."""
    asked = "import sys, venv, ensurepip; print(*sys.version_info[:2], sys._is_gil_enabled() if hasattr(sys, '_is_gil_enabled') else True)"
    try:
        said = subprocess.run([path, "-c", asked], capture_output=True, text=True, encoding="utf-8", timeout=20, check=False).stdout
    except OSError:
        return False
    return said.split() == ["3", str(minor), "True"]


for version in range(OLDEST, NEWEST + 1):
    if version != sys.version_info.minor and (found := next((path for path in candidates(version) if runs(path, version)), None)):
        print(found)
