"""The command line: flags to settings, folders to handler modules. Imports no role."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any, NoReturn

from _taskqueue import __version__
from _taskqueue.domain.errors import UsageError
from _taskqueue.settings import OPTIONS, Loaded, load_settings

EXIT_OK, EXIT_USAGE = 0, 2

_HEADLINE = "A task queue in one process: HTTP API, workers, scheduler and metrics on Redis."


def build_parser() -> argparse.ArgumentParser:
    """The parser behind ``--help``."""
    parser = argparse.ArgumentParser(
        prog="taskqueue",
        description=_HEADLINE,
        epilog="Each flag has an environment twin: --drain-timeout is TASKQUEUE_DRAIN_TIMEOUT. taskqueue.toml takes the same names.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"taskqueue {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (default: taskqueue.toml, if it is there)")
    for option in OPTIONS:
        more: dict[str, Any] = {"action": "append"} if option.repeatable else {}
        default = "" if option.default in (None, "") else f" (default: {option.default})"
        parser.add_argument(
            option.flag, dest=option.name, metavar=_metavar(option.name), help=option.help.replace("%", "%%") + default, **more
        )
    return parser


def _metavar(name: str) -> str:
    return name.rpartition("-")[2].upper()


def read_command_line(arguments: Sequence[str] | None = None) -> Loaded:
    """Settings from the command line, the environment and the settings file.

    Raises:
        UsageError: a value does not fit.
        SystemExit: ``--help``, ``--version`` (status 0), or a flag that does not exist (status 2).
    """
    given = vars(build_parser().parse_args(arguments))
    config = given.pop("config")
    return load_settings(given, os.environ, config)


def handler_modules(handlers: Sequence[str], source: str, beside: Path, *, needed: bool) -> list[str]:
    """Dotted names for folders and modules; folders are made importable.

    Args:
        handlers: each a folder or a dotted module.
        source: where the value came from; the default folder may be missing.
        beside: where the default folder also may be, next to the program.
        needed: whether this process runs tasks; one that does not can do without handlers.

    Raises:
        UsageError: a folder that does not exist, or whose name Python cannot import.
    """
    modules = []
    for entry in handlers:
        folder = _find_folder(entry, beside)
        if folder is not None:
            modules.append(_admit(folder))
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


def _admit(folder: Path) -> str:
    if not folder.name.isidentifier():
        raise UsageError(f"--handlers {folder}: rename the folder to letters, digits and _, so that Python can import it")
    known = sys.modules.get(folder.name)
    if known is not None and list(getattr(known, "__path__", ())) != [str(folder)]:
        raise UsageError(f"--handlers {folder}: another module is named {folder.name!r} already; rename the folder")
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    _pin(folder)
    return folder.name


def _pin(folder: Path) -> None:
    """Make the folder's name mean this folder alone: without an ``__init__.py`` Python would merge every folder of the
    same name on its path into one package.
    """
    if (folder / "__init__.py").exists():
        return
    spec = ModuleSpec(folder.name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[folder.name] = module_from_spec(spec)


def _admit_working_folder() -> None:
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def complain(error: BaseException) -> int:
    """Say what is wrong in one line on standard error; gives the exit status."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    sys.stderr.write(f"taskqueue: {error}\n")
    return EXIT_USAGE


def leave(status: int) -> NoReturn:
    """End the process, even when a thread that nobody can stop still runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    stuck = [one for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
    if stuck:
        os._exit(status)
    sys.exit(status)
