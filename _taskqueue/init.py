"""The first process of a container: hands signals on and collects what has ended, as an init does.

The program itself must not collect what it does not know: it would take the status of children that a handler waits for. So
the first process forks, the program runs in the child, and orphans are the parent's.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

INIT = 1
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def step_aside() -> int | None:
    """Continue in a child when this process is the first of its namespace; gives None there, and everywhere else.

    Returns:
        In the first process: the exit status of the child, when that and all before it have been collected.
    """
    return watch_over(os.fork()) if os.getpid() == INIT else None


def watch_over(program: int) -> int | None:
    """Be the init of a program that was just forked: None in that program itself, its status in its parent."""
    if program == 0:
        return None

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(program, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
