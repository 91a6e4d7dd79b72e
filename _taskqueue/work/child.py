"""The process of ``process=True`` handlers, as seen from inside: it waits for a task, runs it, says how it ended.

Started by :mod:`processes`, tied to its worker's life, killed on timeout or cancellation.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import itertools
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

import anyio

from _taskqueue.domain.durations import parse_duration
from _taskqueue.domain.errors import Cancel, Discard, PayloadMismatch, Retry, TaskqueueError, signal_of
from _taskqueue.tasks.binding import encode_json
from _taskqueue.tasks.context import Context, current_context
from _taskqueue.tasks.discovery import find_task
from _taskqueue.tasks.failures import describe
from _taskqueue.tasks.keptlog import clipped
from _taskqueue.work.messages import (
    HEAD_BYTES,
    RESULT_BYTES_MAX,
    Answer,
    Asked,
    Ended,
    EndKind,
    Line,
    Logged,
    Ready,
    Reported,
    Start,
    Stop,
    ToChild,
    ToWorker,
    decode_for_child,
    framed,
    read_head,
)

ANY = 0
"""Stands for whatever attempt runs."""


class Channel:
    """The way to the worker; callable from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self.is_copy = False
        """of a process that a handler forked; two that spoke at once would be understood by nobody"""

    def send(self, message: ToWorker, attempt: int) -> None:
        """Send one message; the process ends when nobody is there any more."""
        if self.is_copy:
            raise TaskqueueError("a process that a handler forked has no Context; report from the handler itself")
        with self._lock:
            try:
                self._socket.sendall(framed(message, attempt))
            except OSError:
                os._exit(1)

    def receive(self) -> tuple[ToChild, int] | None:
        """The next message and the number of its attempt; None when the worker is gone."""
        head = self._exactly(HEAD_BYTES)
        if head is None:
            return None
        size, attempt = read_head(head)
        body = self._exactly(size)
        return None if body is None else (decode_for_child(body), attempt)

    def _exactly(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(min(size - len(parts), 1 << 20))
            if not part:
                return None
            parts += part
        return bytes(parts)


class ChildDesk:
    """What a handler's context does, by messages to the worker."""

    state: Mapping[str, Any] = {}
    """empty: what ``@lifespan`` set up lives in the worker"""

    def __init__(self, channel: Channel, start: Start, number: int) -> None:
        self.number = number
        """of the attempt, among those of this process"""
        self.task_name, self.max_attempts, self.worker = start.task, start.max_attempts, start.worker
        self.cancel_asked = False
        self._channel = channel
        self._ends_at = time.monotonic() + start.remaining_s
        self._waiting: dict[int, Future[str | None]] = {}
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[Any] | None = None

    def deadline_at(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.remaining_s(), UTC)

    def remaining_s(self) -> float:
        return self._ends_at - time.monotonic()

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        self._channel.send(Reported(done, total, message), self.number)

    def keep_line(self, line: str) -> None:
        line = clipped(line)
        if self._channel.is_copy:
            sys.stderr.write(f"{line}\n")
            return
        self._channel.send(Line(line.encode(errors="replace").decode()), self.number)

    async def save(self, packed: bytes) -> None:
        if len(packed) > RESULT_BYTES_MAX:
            raise ValueError(f"the checkpoint has {len(packed)} bytes, more than {RESULT_BYTES_MAX}")
        await self._ask(lambda number: Asked(number, saved=packed))

    async def submit(self, task: str, payload: Any, options: Mapping[str, Any]) -> str:
        if not isinstance(task, str):
            raise TypeError(f"submit: the name of a task must be a text, not {type(task).__name__}")
        is_text = isinstance(payload, (str, bytes))
        body = (payload.encode() if isinstance(payload, str) else payload) if is_text else encode_json(payload)
        told = await self._ask(lambda number: Asked(number, task=task, payload=body, is_text=is_text, options=dict(options)))
        return told or ""

    async def _ask(self, asked: Any) -> str | None:
        number, answer = next(self._numbers), Future[str | None]()
        self._waiting[number] = answer
        self._channel.send(asked(number), self.number)
        return await asyncio.wrap_future(answer)

    def answered(self, answer: Answer) -> None:
        """The worker's answer came; called from the reading thread."""
        waiting = self._waiting.pop(answer.number, None)
        if waiting is None or not waiting.set_running_or_notify_cancel():
            return
        if answer.error is None:
            waiting.set_result(answer.value)
        else:
            waiting.set_exception(TaskqueueError(answer.error))

    def stop(self) -> None:
        """The task is asked to stop; called from the reading thread."""
        self.cancel_asked = True
        if self._task is not None:
            with suppress(RuntimeError):  # its loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def run(self, awaitable: Awaitable[Any]) -> Any:
        """Await what a coroutine function gave."""
        self._task = asyncio.current_task()
        if self.cancel_asked:
            raise asyncio.CancelledError
        return await awaitable


class ToTheWorker(logging.Handler):
    """Sends log records to the worker, whose log they belong in."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = clipped(self.format(record).encode(errors="replace").decode())
        except Exception:  # noqa: BLE001 - as logging.Handler says
            self.handleError(record)
        else:
            self._channel.send(Logged(record.name, record.levelno, text), ANY)


class Tasks:
    """Where the reading thread leaves what comes, and the main thread finds it."""

    def __init__(self, channel: Channel) -> None:
        self.desk: ChildDesk | None = None
        self._channel = channel
        self._starts: queue.SimpleQueue[tuple[Start, int]] = queue.SimpleQueue()

    def read(self) -> None:
        """Take what the worker says, until it is gone; the process goes with it, whatever happens here."""
        try:
            while (received := self._channel.receive()) is not None:
                message, attempt = received
                if isinstance(message, Start):
                    self._starts.put((message, attempt))
                elif self.desk is not None and self.desk.number == attempt:
                    self._tell(self.desk, message)
        finally:
            os._exit(0)

    @staticmethod
    def _tell(desk: ChildDesk, message: Stop | Answer) -> None:
        if isinstance(message, Stop):
            desk.stop()
        else:
            desk.answered(message)

    def next(self) -> tuple[Start, int]:
        """Wait for a task; gives the number of the attempt too."""
        return self._starts.get()


def main(descriptor: int, worker_pid: int, level: int) -> None:
    """Run tasks until the worker is gone.

    Args:
        descriptor: of the socket to the worker.
        level: of the worker's log.
    """
    _die_with(worker_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when this ends
    channel = Channel(descriptor)
    logging.basicConfig(level=level, format="%(message)s", handlers=[ToTheWorker(channel)], force=True)
    tasks = Tasks(channel)
    threading.Thread(target=tasks.read, name="worker", daemon=True).start()
    os.register_at_fork(after_in_child=lambda: _become_a_copy(channel))
    process = os.getpid()
    channel.send(Ready(), ANY)
    while True:
        start, number = tasks.next()
        tasks.desk = desk = ChildDesk(channel, start, number)
        ended = copy_context().run(_run, start, desk)
        if os.getpid() != process:
            os._exit(0)  # the copy of a fork: its own life ends with the handler
        _flush(start.end_mark)
        channel.send(ended, number)


def _become_a_copy(channel: Channel) -> None:
    """What a copy logs goes where it prints to."""
    channel.is_copy = True
    logging.basicConfig(level=logging.getLogger().level, format="%(levelname)s %(message)s", force=True)


def _die_with(worker_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)
    if os.getppid() != worker_pid:
        os._exit(1)


def _flush(end_mark: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    with suppress(OSError):
        os.write(1, end_mark.encode())


def _run(start: Start, desk: ChildDesk) -> Ended:
    try:
        spec = find_task(start.home, start.task)
        context = Context(start.claim, desk)
        current_context.set(context)
        arguments = spec.signature.bind(start.claim.record.payload, start.claim.record.is_text)
        if spec.signature.context is not None:
            arguments[spec.signature.context] = context
        result: Any = spec.function(**arguments)
        if inspect.isawaitable(result):
            result = anyio.run(desk.run, result)
    except BaseException as error:  # noqa: BLE001 - whatever the handler raises
        return _end_of(error)
    try:
        encoded = None if result is None else encode_json(result)
        if encoded is not None and len(encoded) > RESULT_BYTES_MAX:
            raise ValueError(f"it has {len(encoded)} bytes")
        return Ended("ok", encoded)
    except BaseException as error:  # noqa: BLE001 - whatever the result's own code raises
        return Ended("unfit", failure=describe(error))


def _end_of(error: BaseException) -> Ended:
    failure = describe(error)
    error = signal_of(error)
    if isinstance(error, Retry):
        try:
            after = None if error.after is None else parse_duration(error.after)
        except (ValueError, TypeError) as unreadable:
            return Ended("error", failure=describe(unreadable))
        return Ended("retry", failure=failure, after=after, count=bool(error.count))
    kinds: tuple[tuple[type[BaseException], EndKind], ...] = ((Discard, "discard"), (Cancel, "cancel"), (PayloadMismatch, "payload"))
    return Ended(next((kind for found, kind in kinds if isinstance(error, found)), "error"), failure=failure)
