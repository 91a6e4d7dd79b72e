"""The installed command: ``taskqueue`` or ``python -m taskqueue``."""

from __future__ import annotations

from typing import NoReturn

from taskqueue import main

from _taskqueue.cli import leave


def run() -> NoReturn:
    """Run the program and end with its status."""
    leave(main())


if __name__ == "__main__":
    run()
