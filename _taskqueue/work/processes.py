"""The processes of ``process=True`` handlers, as seen from the worker: kept ready, given one task at a time, killed when it is
to stop and does not, and all together at the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import anyio
import msgspec

from _taskqueue.domain.errors import Cancel, Discard, PayloadMismatch, Retry, TaskqueueError
from _taskqueue.domain.task import Claim, Failure
from _taskqueue.tasks.context import Desk
from _taskqueue.tasks.folders import Home
from _taskqueue.tasks.keptlog import LINE_CHARS_MAX
from _taskqueue.work.messages import (
    FRAME_BYTES_MAX,
    HEAD_BYTES,
    Answer,
    Asked,
    Ended,
    Line,
    Logged,
    Ready,
    Reported,
    Start,
    Stop,
    ToChild,
    ToWorker,
    decode_for_worker,
    framed,
    read_head,
)
from _taskqueue.work.verdict import ResultUnfit, WorkerLacks

START_S = 30.0
"""What a process may take until it is up: it imports the product, and the disk may be slow."""
STOP_S = 1.0
"""What a handler that takes a Context may take to stop by itself before its process is killed."""
IDLE_S = 300.0
OUTPUT_S = 0.5
"""How long what was printed is waited for when a handler has ended."""
LOOK_S = 0.01
REAP_S = 1.0

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from _taskqueue.work.child import main; main(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))"
)

log = logging.getLogger("taskqueue.worker")


class ChildError(Exception):
    """An error that was raised in the process of a handler, of a type that only that process may know."""


class ProcessEnded(Exception):
    """The process of a handler ended before the handler did."""


class Attempt(Desk, Protocol):
    """What an attempt offers to the process that runs it."""

    claim: Claim
    failure_in_child: Failure | None

    @property
    def id(self) -> str: ...

    async def submit_packed(self, task: str, payload: bytes, is_text: bool, options: dict[str, Any]) -> str: ...


class Output(asyncio.Protocol):
    """What a process prints, line by line."""

    def __init__(self) -> None:
        self.on_line: Callable[[str], None] = lambda line: None
        self.end_mark = b""
        self.ended = asyncio.Event()
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LINE_CHARS_MAX:
            lines.append(rest[:LINE_CHARS_MAX])
            rest = rest[LINE_CHARS_MAX:]
        for line in lines:
            if self.end_mark and line.endswith(self.end_mark):
                self._say(line.removesuffix(self.end_mark), last=True)
                self.ended.set()
            else:
                self._say(line)
        self._rest = rest

    def connection_lost(self, error: Exception | None) -> None:
        self._say(self._rest, last=True)
        self._rest = b""
        self.ended.set()

    def _say(self, line: bytes, *, last: bool = False) -> None:
        if line or not last:
            self.on_line(line.decode(errors="replace").rstrip("\r"))


class Child:
    """One process. Made on the worker's loop, whose thread it is tied to."""

    def __init__(self) -> None:
        self.idle_since = time.monotonic()
        self._attempts = 0
        self._is_reaped = False
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno()), str(os.getpid()), str(log.getEffectiveLevel())],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(theirs.fileno(),),
                start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._output = Output()
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._pipe: asyncio.ReadTransport | None = None

    async def open(self) -> None:
        """Return when the process is up. Raises WorkerLacks."""
        loop = asyncio.get_running_loop()
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=1 << 20)
        self._pipe, _ = await loop.connect_read_pipe(lambda: self._output, self._process.stdout)
        try:
            async with asyncio.timeout(START_S):
                received = await self._receive()
        except TimeoutError:
            received = None
        if received is None or not isinstance(received[0], Ready):
            raise WorkerLacks("a process for a task does not start")

    def send(self, message: ToChild) -> None:
        """Send one message; a process that is gone is found out by its silence."""
        if self._writer is not None:
            self._writer.write(framed(message, self._attempts))

    async def _receive(self) -> tuple[ToWorker, int] | None:
        """The next message and the number of its attempt; None when the process ended or speaks nonsense."""
        try:
            size, attempt = read_head(await self._reader.readexactly(HEAD_BYTES))
            if size > FRAME_BYTES_MAX:
                return None
            message: ToWorker = decode_for_worker(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError, ValueError):
            return None
        return message, attempt

    async def run(self, home: Home, attempt: Attempt) -> Ended:
        """Run one attempt's handler. Raises ProcessEnded."""
        end_mark = f"\0{secrets.token_hex(8)}\n"
        self._output.on_line, self._output.end_mark = attempt.keep_line, end_mark[:-1].encode()
        self._output.ended.clear()
        self._attempts += 1
        claim = msgspec.structs.replace(attempt.claim, lease="")  # the fencing token is none of its business
        self.send(Start(home, attempt.task_name, claim, attempt.max_attempts, attempt.worker, attempt.remaining_s(), end_mark))
        while (received := await self._receive()) is not None:
            message, number = received
            if number not in (0, self._attempts):
                continue  # what an attempt before left running
            if isinstance(message, Ended):
                await self._all_printed()
                return message
            await self._serve(message, attempt)
        raise ProcessEnded(await self._why_it_ended())

    async def _serve(self, message: ToWorker, attempt: Attempt) -> None:
        match message:
            case Line(text):
                attempt.keep_line(text)
            case Logged(name, level, text):
                fields = {"task_id": attempt.id, "task": attempt.task_name, "attempt": attempt.claim.attempt}
                logging.getLogger(name).log(level, "%s", text, extra=fields)
            case Reported(done, total, said):
                attempt.report_progress(done, total, said)
            case Asked():
                self.send(await _answer(message, attempt))

    async def _all_printed(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(OUTPUT_S):
                await self._output.ended.wait()

    async def _why_it_ended(self) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(OUTPUT_S):
                while self._process.poll() is None:  # noqa: ASYNC110 - for a moment: it is ending
                    await asyncio.sleep(LOOK_S)
        status = self._process.poll()
        if status is None:
            return "the process of this task broke off its talk with the worker"
        await self._all_printed()
        if status >= 0:
            return f"the process of this task ended with status {status} before its handler did"
        guess = " (out of memory?)" if status == -signal.SIGKILL else ""
        return f"the process of this task was killed by signal {-status}{guess}"

    def kill(self) -> None:
        """End the process and what it started."""
        if not self.gone:
            self._end_group()
        self._output.on_line = lambda line: None
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()
        if self._pipe is not None:
            self._pipe.close()
        elif self._process.stdout is not None:
            self._process.stdout.close()

    def reap(self) -> None:
        """Wait for its end, which a kill makes a matter of milliseconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_S)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def gone(self) -> bool:
        """Whether it has ended; this is what reaps it, and ends what it started: later its number may be another's."""
        if not self._is_reaped and self._process.poll() is not None:
            self._is_reaped = True
            self._end_group()
        return self._is_reaped


async def _answer(asked: Asked, attempt: Attempt) -> Answer:
    try:
        if asked.saved is not None:
            await attempt.save(asked.saved)
            return Answer(asked.number)
        return Answer(asked.number, await attempt.submit_packed(asked.task, asked.payload, asked.is_text, asked.options))
    except (TaskqueueError, ValueError, TypeError) as error:
        return Answer(asked.number, error=str(error))


class Processes:
    """All of a worker.

    Args:
        size: how many may run at once.
    """

    def __init__(self, size: int) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    async def call(self, home: Home, attempt: Attempt, *, listens: bool) -> bytes | None:
        """Run an attempt's handler in a process; gives the JSON of its result, None for None.

        Args:
            listens: the handler takes a Context, by which it can notice that it is to stop.

        Raises:
            Exception: what the handler raised, as far as the worker knows its type, else ChildError.
            WorkerLacks: no process can be started.
        """
        async with self._limiter, self._one() as child:
            call = asyncio.Task(child.run(home, attempt), loop=asyncio.get_running_loop())
            try:
                ended = await asyncio.shield(call)
            except asyncio.CancelledError:
                if not listens:
                    raise
                child.send(Stop())
                done, _ = await asyncio.wait([call], timeout=STOP_S)
                if not done:
                    raise
                ended = call.result()
            finally:
                call.cancel()
        attempt.failure_in_child = ended.failure
        return _unpacked(ended)

    @asynccontextmanager
    async def _one(self) -> AsyncIterator[Child]:
        child = await self._take()
        try:
            yield child
        except BaseException:
            child.kill()
            raise
        child.idle_since = time.monotonic()
        self._idle.append(child)

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if not child.gone:
                return child
            child.kill()
        try:
            child = Child()
        except OSError as error:
            raise WorkerLacks(f"no process can be started: {error.strerror or error}") from None
        self._all.add(child)
        try:
            await child.open()
        except BaseException:
            child.kill()
            raise
        return child

    def look(self) -> None:
        """Reap what has ended, and end what nobody has needed for long."""
        for child in [child for child in self._idle if time.monotonic() - child.idle_since > IDLE_S]:
            self._idle.remove(child)
            child.kill()
        for child in [child for child in self._all if child.gone]:  # also one whose forks hold its end of the socket open
            self._all.discard(child)
            child.kill()
            if child in self._idle:
                self._idle.remove(child)

    def close(self) -> None:
        """End all of them."""
        for child in self._all:
            child.kill()
        for child in self._all:
            child.reap()


def _unpacked(ended: Ended) -> bytes | None:
    message = ended.failure.message if ended.failure else ""
    match ended.kind:
        case "ok":
            return ended.result
        case "retry":
            raise Retry(message, ended.after, ended.count)
        case "discard":
            raise Discard(message)
        case "cancel":
            raise Cancel(message)
        case "payload":
            raise PayloadMismatch(message)
        case "unfit":
            raise ResultUnfit(f"the result cannot be kept: {message}")
    raise ChildError(message)
