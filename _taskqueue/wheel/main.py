"""The installed command: ``taskqueue`` or ``python -m taskqueue``."""

from __future__ import annotations

from typing import NoReturn

from _taskqueue.cli import leave
from taskqueue import main


def run() -> NoReturn:
    """Run the program and end with its status."""
    leave(main())


if __name__ == "__main__":
    run()
