"""The command line: flags to settings, errors to a line and a status. Imports no role."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from _taskqueue import __version__
from _taskqueue.forks import end_children
from _taskqueue.outlet import flush_outlets
from _taskqueue.settings import OPTIONS, Loaded, load_settings

EXIT_OK, EXIT_USAGE = 0, 2
FLUSH_S = 1.0
"""What the readers of the standard streams get to take what is left."""

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


def complain(error: BaseException) -> int:
    """Say what is wrong in one line on standard error; gives the exit status."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    with suppress(OSError):  # nobody listens
        sys.stderr.write(f"taskqueue: {error}\n")
    return EXIT_USAGE


def leave(status: int) -> NoReturn:
    """End the process with its children, even when a thread that nobody can stop still runs, or nobody reads what it says."""
    end_children()
    flush_outlets()
    stuck = [one for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
    if stuck or not _flush_streams():
        os._exit(status)
    sys.exit(status)


def _flush_streams() -> bool:
    """Flush what handlers printed; False when nobody takes it, so that the interpreter must not try it again."""
    flushed = threading.Event()

    def flush() -> None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            flushed.set()

    try:
        threading.Thread(target=flush, daemon=True).start()
    except RuntimeError:  # no thread can be made
        flush()
    return flushed.wait(FLUSH_S)
