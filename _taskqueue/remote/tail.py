"""Streams without a transport: live events over any number of connections, and which tasks to look at by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from _taskqueue.domain.states import TERMINAL
from _taskqueue.remote.answers import Event, Task
from _taskqueue.remote.asking import given
from _taskqueue.remote.errors import ApiError, ClientError
from _taskqueue.remote.flows import Patience, Request, Tries, decode

SILENCE_S = 45.0
"""The server says something every 15 s; a connection that is silent for longer is dead."""
RECONNECT_S = 2.0
"""After a stream that ended, unless the server says otherwise (WHATWG HTML, 9.2)."""
REFUSED_S = 2.0
LOOK_S, SOON_S, EACH_S = 5.0, 2.0, 0.01
"""Tasks are looked at this often: when no event speaks of them, when some may have been missed, and for each of many."""
REFUSALS = frozenset({401, 403, 404, 429})

OPEN, LOST, QUIET = Event("open", {}), Event("lost", {}), Event("quiet", {})
"""What the connection itself has to tell; users do not see these."""
INTERNAL = frozenset({OPEN.name, LOST.name, QUIET.name})


class Lines:
    """Cuts bytes into lines, at line feeds alone: a text may hold any other separator that Unicode knows."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are whole by now."""
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return lines


class Tail:
    """Live events, over any number of connections.

    Args:
        until: by the clock; no connection is silent beyond it.
        optional: a server that refuses the stream is asked again later.
    """

    def __init__(
        self,
        patience: Patience,
        *,
        topics: Sequence[str] = (),
        queue: str | None = None,
        task_id: str | None = None,
        until: float = math.inf,
        optional: bool = False,
    ) -> None:
        self._patience, self._until, self._optional = patience, until, optional
        self._params = given({"topics": ",".join(topics) or None, "queue": queue, "task_id": task_id})
        self._tries = Tries(patience, repeatable=True)
        self._retry_s = RECONNECT_S
        self._last_id = ""
        self._begin()

    def _begin(self) -> None:
        self._lines, self._name, self._data = Lines(), "message", b""

    def request(self) -> Request:
        """What opens the next connection."""
        self._begin()
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self._last_id} if self._last_id else {})}
        return Request("GET", "/events", self._params, headers=headers, hold_s=max(0.0, min(SILENCE_S, self._left_s())))

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that are whole by now. Raises BadAnswer."""
        self._tries = Tries(self._patience, repeatable=True)
        for line in self._lines.feed(chunk):
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                yield event

    def lost(self, error: ClientError | None) -> float:
        """Seconds until the next connection. Raises the error when there is to be none.

        Args:
            error: why the last one ended; None when the server ended it.
        """
        if error is None:
            pause_s = self._retry_s
        elif self._left_s() <= 0:
            pause_s = 0.0
        elif self._optional and isinstance(error, ApiError) and error.status in REFUSALS:
            pause_s = REFUSED_S
        else:
            pause_s = self._tries.pause_s(error)
        return max(0.0, min(pause_s, self._left_s()))

    def _left_s(self) -> float:
        return self._until - self._patience.clock()

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if name == b"id":
            self._last_id = text
        elif name == b"event":
            self._name = text
        elif name == b"data":
            self._data += value.removeprefix(b" ") + b"\n"
        elif name == b"retry" and text.isascii() and text.isdigit():
            self._retry_s = int(text) / 1000
        return None if name else QUIET

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "message", b""
        if not data or name == "bye":
            return None
        return Event(name, decode(data, dict[str, Any]), self._last_id)


class Watch:
    """Which of many tasks to look at, by the events that come.

    Events may be lost, so all are looked at after each connection that was made or lost, and now and then in any case.

    Args:
        timeout: seconds; None waits for as long as it takes.
    """

    def __init__(self, patience: Patience, task_ids: Iterable[str], timeout: float | None) -> None:
        self._patience = patience
        self._pending = dict.fromkeys(task_ids)
        self._until = patience.until(timeout)
        self._looked_at = -math.inf
        self._missed = False
        # numbers come every second and are what looks are timed by when nothing else comes
        self.tail = Tail(patience, topics=("tasks", "stats"), until=self._until, optional=True)

    def over(self) -> bool:
        """All have ended, or the time has."""
        return not self._pending or self._patience.clock() >= self._until

    def due(self, event: Event) -> list[str]:
        """The tasks to look at now."""
        self._missed = self._missed or event.name in (LOST.name, "busy")
        pause_s = max(SOON_S if self._missed else LOOK_S, EACH_S * len(self._pending))
        now = self._patience.clock()
        if event.name in (OPEN.name, "reset") or now >= self._looked_at + pause_s:
            self._looked_at, self._missed = now, False
            return list(self._pending)
        task_id = str(event.data.get("task_id", ""))
        ended = event.name == "task" and event.data.get("state") in {*TERMINAL, "removed"}
        return [task_id] if ended and task_id in self._pending else []

    def ended(self, task: Task) -> bool:
        """Note how a task is; whether it has ended."""
        if task.done:
            self._pending.pop(task.task_id, None)
        return task.done
