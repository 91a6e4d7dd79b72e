"""Submitters over HTTP, as good clients are: each submission has a key of its own and is sent until it is answered."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 120.0
"""How long one submission is tried."""
PAUSE_FIRST_S, PAUSE_MAX_S = 0.05, 0.5
ANSWER_S = 10.0
PASSING = (429, 502, 503, 504)


class Caller:
    """One client: one connection at a time, and retries under one key (none when it is empty).

    Args:
        urls: gives the servers there are now; each new connection goes to another one.
    """

    def __init__(self, urls: Callable[[], Sequence[str]]) -> None:
        self.answers: Counter[str] = Counter()
        """status, or what went wrong with the connection → how often"""
        self.seconds: list[float] = []
        """how long each answer with a status took"""
        self.give_up = math.inf
        """when to try no more, whatever the patience"""
        self._urls, self._at = urls, 0
        self._connection: http.client.HTTPConnection | None = None

    def submit(self, path: str, body: object, key: str) -> Any:
        """Send a JSON value until it is answered."""
        return self.send(path, json.dumps(body).encode(), key)

    def send(self, path: str, data: bytes, key: str) -> Any:
        """The answer once it is a 2xx; None when the patience ended before. Raises RuntimeError for a refusal that is final."""
        pause_s, give_up = PAUSE_FIRST_S, time.monotonic() + PATIENCE_S
        while time.monotonic() < min(give_up, self.give_up):
            status, answer = self._once(path, data, key)
            if 200 <= status < 300:
                return json.loads(answer)
            if status and status not in PASSING:
                raise RuntimeError(f"{status} {answer!r}")
            time.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
        return None

    def _once(self, path: str, data: bytes, key: str) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        began = time.monotonic()
        try:
            connection = self._connect()
            connection.request("POST", path, data, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.answers[type(error).__name__] += 1
            self.close()
            return 0, b""
        self.seconds.append(time.monotonic() - began)
        self.answers[str(answer[0])] += 1
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            urls = self._urls()
            self._at += 1
            parts = urlsplit(urls[self._at % len(urls)])
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
        return self._connection

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """Submitters in threads, at a steady rate until they are stopped.

    Args:
        numbers: of the submissions; each is its Idempotency-Key too.
        acknowledged: gets the number once a 2xx has come.
        ids: gets the task's id under the number then.
        urls: gives the servers there are now.
        item: the task of a number.
        keyed: whether each goes under an Idempotency-Key, whose answer the store keeps for a day.
    """

    def __init__(
        self,
        numbers: Iterator[int],
        acknowledged: set[int],
        ids: dict[int, str],
        urls: Callable[[], Sequence[str]],
        rate: float,
        item: Callable[[int], dict[str, Any]],
        threads: int = 8,
        keyed: bool = True,
    ) -> None:
        self.errors: list[str] = []
        self._numbers, self._acknowledged, self._ids, self._urls, self._rate, self._item = numbers, acknowledged, ids, urls, rate, item
        self._callers = [Caller(urls) for _ in range(threads)]
        self._threads = [threading.Thread(target=self._run, args=(caller,), daemon=True) for caller in self._callers]
        self._keyed = keyed
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._steps = itertools.count()

    def start(self) -> Load:
        """Begin to submit."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, patience_s: float = PATIENCE_S) -> None:
        """Begin no more submissions; what is under way is answered or, after so long, given up first."""
        self._stop.set()
        for caller in self._callers:
            caller.give_up = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(PATIENCE_S + ANSWER_S)

    @property
    def answers(self) -> Counter[str]:
        """What came back, of all submitters."""
        return sum((caller.answers for caller in self._callers), Counter[str]())

    @property
    def seconds(self) -> list[float]:
        """How long the answers took, shortest first."""
        return sorted(itertools.chain.from_iterable(caller.seconds for caller in self._callers))

    def _run(self, caller: Caller) -> None:
        while not self._stop.is_set():
            with self._lock:
                number, step = next(self._numbers), next(self._steps)
            time.sleep(max(0.0, self._began + step / self._rate - time.monotonic()))
            try:
                if answer := caller.submit("/tasks", self._item(number), f"submission-{number}" if self._keyed else ""):
                    self._ids[number] = answer["task_id"]
                    self._acknowledged.add(number)
            except RuntimeError as error:
                self.errors.append(str(error))
        caller.close()


def portions(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """Lists of at most so many."""
    left = iter(numbers)
    while part := list(itertools.islice(left, size)):
        yield part
