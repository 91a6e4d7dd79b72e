"""Makes folders of handlers importable, whatever they and their files are called.

A file or folder whose name is no name to Python (``send-email.py``, ``2024/``) is imported under an alias: other characters
become ``_``, a digit in front gets one before it, and a name that is taken already gets a number behind it.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from _taskqueue.domain.errors import UsageError

INIT = "__init__.py"
_ENVIRONMENT = "pyvenv.cfg"
"""what marks a virtual environment, whose thousands of files are no handlers"""


class Home(NamedTuple):
    """Where a task is found again, in another process."""

    module: str
    folders: tuple[tuple[str, str], ...] = ()
    """(name, folder) of what was made importable"""
    roots: tuple[str, ...] = ()


class Aliases(MetaPathFinder):
    """Finds what stands in the folders of handlers under names that only an alias makes importable."""

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}
        self.roots: set[str] = set()
        """folders below which aliases count"""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As the import system asks for it, when its own ways have found nothing."""
        parent, _, name = fullname.rpartition(".")
        if not parent:
            return _spec(fullname, Path(self.folders[fullname])) if fullname in self.folders else None
        for folder in map(str, path or ()):
            if any(folder == root or folder.startswith(root + os.sep) for root in self.roots):
                found = children(Path(folder)).get(name)
                if found is not None:
                    return _spec(fullname, found)
        return None


def aliases() -> Aliases:
    """The one finder of this process."""
    for finder in sys.meta_path:
        if isinstance(finder, Aliases):
            return finder
    sys.meta_path.append(finder := Aliases())
    return finder


def children(folder: Path) -> dict[str, Path]:
    """What may be imported of a folder, by module name: files and folders, but private and hidden ones."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.name[:1] not in {"_", "."})
    except OSError:
        return found
    files = [path for path in paths if path.suffix == ".py" and path.is_file()]
    folders = [path for path in paths if path.is_dir()]
    packages = [path for path in folders if (path / INIT).is_file()]
    for path in [*packages, *files, *(one for one in folders if one not in packages)]:  # in the order in which Python prefers them
        if (name := _name(path)).isidentifier():
            found.setdefault(name, path)
    named = set(found.values())
    for path in [*files, *folders]:
        if path not in named:
            found[alias(_name(path), found)] = path
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _name(path: Path) -> str:
    return path.name.removesuffix(".py") if path.is_file() else path.name


def alias(name: str, taken: Collection[str]) -> str:
    """A name that Python can import, and that is not taken."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    plain = plain if plain.isidentifier() else f"_{plain}"
    count, found = 1, plain
    while found in taken:
        count += 1
        found = f"{plain}_{count}"
    return found


def is_environment(folder: Path) -> bool:
    """Whether a folder is a virtual environment."""
    return (folder / _ENVIRONMENT).is_file()


def walk(name: str, folder: Path, seen: set[str] | None = None) -> Iterator[tuple[str, Path]]:
    """Every module below a package: its dotted name and its file; folders that are left out as they are."""
    seen = set() if seen is None else seen
    real = os.path.realpath(folder)
    if real in seen:  # a link to a folder above
        return
    seen.add(real)
    for child, path in children(folder).items():
        dotted = f"{name}.{child}"
        if not path.is_dir() or is_environment(path):
            yield dotted, path
        else:
            if (path / INIT).is_file():
                yield dotted, path / INIT
            yield from walk(dotted, path, seen)


def handler_modules(handlers: Sequence[str], source: str, beside: Path, *, needed: bool) -> list[str]:
    """Dotted names for folders and modules; folders are made importable.

    Args:
        handlers: each a folder or a dotted module.
        source: where the value came from; the default folder may be missing.
        beside: where the default folder also may be, next to the program.
        needed: whether this process runs tasks; one that does not can do without handlers.

    Raises:
        UsageError: a folder that does not exist, or whose name another module has.
    """
    found = {entry: _find_folder(entry, beside) for entry in handlers}
    own_names = {folder.name for folder in found.values() if folder is not None}
    modules = []
    for entry, folder in found.items():
        if folder is not None:
            name = folder.name if folder.name.isidentifier() else _free_alias(folder, own_names)
            modules.append(admit(folder, name))
        elif "/" in entry or not all(part.isidentifier() for part in entry.split(".")):
            raise UsageError(f"--handlers {entry}: there is no such folder, and it is no dotted module name")
        elif source != "default" and needed:
            _admit_working_folder()
            modules.append(entry)
    return modules


def _find_folder(entry: str, beside: Path) -> Path | None:
    for candidate in (Path(entry), beside / entry):
        if candidate.is_dir():
            return candidate.resolve()
    return None


def _free_alias(folder: Path, own_names: Collection[str]) -> str:
    """The alias a folder has already, else one that means nothing yet."""
    for name, known in aliases().folders.items():
        if known == str(folder):
            return name
    taken = {*own_names, *sys.modules, *aliases().folders}
    while find_spec(name := alias(folder.name, taken)) is not None:
        taken.add(name)
    return name


def admit(folder: Path, name: str) -> str:
    """Make a folder importable under this name; gives the name.

    Raises:
        UsageError: another module has it.
    """
    if not folder.name:
        raise UsageError(f"--handlers {folder}: the root of the file system holds no handlers; name a folder")
    known = sys.modules.get(name)
    if known is not None and list(getattr(known, "__path__", ())) != [str(folder)]:
        raise UsageError(f"--handlers {folder}: another module is named {name!r} already; rename the folder")
    if known is None and _is_installed(name):
        raise UsageError(f"--handlers {folder}: an installed module is named {name!r}; rename the folder")
    aliases().folders[name] = str(folder)
    aliases().roots.add(str(folder))
    if name == folder.name and str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    if known is None and not (folder / INIT).exists():  # or Python would merge every folder of this name on its path into one
        spec = _spec(name, folder)
        if spec is not None:
            sys.modules[name] = module_from_spec(spec)
    return name


def _is_installed(name: str) -> bool:
    """Whether this is the name of a module of Python or of a package, which the folder would hide from those who import it."""
    found = find_spec(name)
    if found is None or found.origin is None:
        return False
    folders = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return found.origin in ("built-in", "frozen") or any(Path(found.origin).is_relative_to(folder) for folder in folders)


def home_of(module: str) -> Home:
    """What another process needs to import a module."""
    return Home(module, tuple(aliases().folders.items()), tuple(sorted(aliases().roots)))


def restore(home: Home) -> None:
    """Make importable here what was so in the process that a home comes from."""
    for name, folder in home.folders:
        admit(Path(folder), name)
    aliases().roots.update(home.roots)


def _spec(name: str, path: Path) -> ModuleSpec | None:
    if not path.is_dir():
        return spec_from_file_location(name, path)
    if (path / INIT).is_file():
        return spec_from_file_location(name, path / INIT, submodule_search_locations=[str(path)])
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(path)]
    return spec


def _admit_working_folder() -> None:
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
