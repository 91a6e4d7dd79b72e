"""One trial: the servers, processes and submitters of a scenario, and the judgement at its end."""

from __future__ import annotations

import itertools
import random
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import redis

from _taskqueue.domain.errors import UsageError
from _taskqueue.metrics import Metrics
from _taskqueue.store.connect import Connector
from _taskqueue.store.store import Store
from tests.faults.ledger import Ledger
from tests.faults.load import Caller, Load, portions
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.keyspace import check_keyspace
from tests.program import Program

HANDLERS = Path(__file__).parent / "handlers"
LEASE_S = 5.0
DRAIN_S = 5.0
SLOTS = 20
REAP_S = LEASE_S / 6 * 1.2
"""The longest pause between two looks for lost tasks."""
RECOVERED_S = 10.0
"""A lease, a look, and the slack of a machine with other things to do."""
BATCH = 500
BACK_S = 3.0
"""How long after an outage work may take to go on."""


@dataclass(frozen=True)
class Bound:
    """One thing that must hold, in words with the figure that was met."""

    text: str
    held: bool


@dataclass(frozen=True)
class Row:
    """What came of one scenario."""

    name: str
    promise: str
    tasks: int
    faults: str
    lost: int
    duplicates: int
    recovered_s: float | None
    bounds: list[Bound]
    seconds: float

    @property
    def ok(self) -> bool:
        """Everything held."""
        return all(bound.held for bound in self.bounds)


@dataclass
class Trial:
    """What a scenario works with.

    Args:
        scale: 1 is the whole scenario, 0.1 a tenth of its tasks and faults.
        slack: by how much bounds on time are stretched, for machines with other things to do.
    """

    folder: Path
    seed: int
    scale: float = 1.0
    slack: float = 1.0
    faults: str = "0"
    duplicates_max: int | None = 0
    """None: not bounded, only told"""
    recovered_s: float | None = None
    bounds: list[Bound] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)
    ids: dict[int, str] = field(default_factory=dict)
    """number → task id"""
    store_url: str = ""
    keyspace: bool = True
    """whether the store is looked over at the end"""
    data: Path | None = None
    """of an embedded store, which ends with its process and is opened again to be looked over"""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(self.seed)  # noqa: S311 - to be the same again
        self.ledger = Ledger(self.folder / "ledger.txt")
        self.numbers = itertools.count(1)
        self.programs: list[Program] = []
        self.ended: list[Program] = []
        """those that the scenario ended itself"""
        self.stack = ExitStack()

    # -- parts ------------------------------------------------------------------------------------------------------

    def count(self, whole: int, least: int = 1) -> int:
        """So many at this scale."""
        return max(least, round(whole * self.scale))

    def server(self, *flags: str, kind: str = "redis", environ: dict[str, str] | None = None) -> Server:
        """A server that runs to the end of the trial; its store is the one that counts."""
        server = Server(self.folder / "server", *flags, kind=kind, environ=environ).start()
        self.stack.callback(server.kill)
        self.store_url = server.url
        return server

    def proxy(self, port: int) -> Proxy:
        """A proxy to this port."""
        proxy = Proxy(port, self.random)
        self.stack.callback(proxy.stop)
        return proxy

    def program(self, role: str, *flags: str, url: str = "", environ: dict[str, str] | None = None, wait: bool = True) -> Program:
        """A process of the product on the trial's store, with the handlers that go wrong."""
        store = [] if role == "embedded" else ["--redis-url", url or self.store_url]
        program = Program(
            self.folder, "--role", "all" if role == "embedded" else role, *store, "--handlers", str(HANDLERS),
            "--lease", f"{LEASE_S:g}s", "--drain-timeout", f"{DRAIN_S:g}s", "--concurrency", str(SLOTS), "--log-tasks", "errors", *flags,
            environ={"LEDGER": str(self.ledger.path), **(environ or {})},
        )  # fmt: skip
        self.stack.callback(program.kill)
        self.programs.append(program)
        return program.until_ready() if wait else program

    def end(self, program: Program) -> None:
        """kill -9 a process; its end is meant."""
        self.ended.append(program)
        program.kill()

    def load(self, *programs: Program, rate: float, threads: int = 8, **payload: Any) -> Load:
        """Submitters at these processes, begun."""

        def item(number: int) -> dict[str, Any]:
            return self.item(number, **payload)

        return Load(self.numbers, self.acknowledged, self.ids, lambda: [one.api for one in programs], rate, item, threads).start()

    @staticmethod
    def item(number: int, task: str = "work", **payload: Any) -> dict[str, Any]:
        """What is submitted under a number; ``terms`` are fields beside the payload."""
        terms = payload.pop("terms", {})
        return {"task": task, "payload": {"number": number, **payload}, **terms}

    def bulk(self, program: Program, count: int, task: str = "work", counted: bool = True, **payload: Any) -> list[int]:
        """Submit many at once; gives their numbers. Those not ``counted`` are not missed when they do not end."""
        caller, numbers = Caller(lambda: [program.api]), list(itertools.islice(self.numbers, count))
        for part in portions(numbers, BATCH):
            items = [self.item(number, task, **dict(payload)) for number in part]
            answer = caller.submit("/tasks/batch", {"tasks": items}, f"bulk-{part[0]}")
            self.ids.update((number, result["task_id"]) for number, result in zip(part, answer["results"], strict=True))
        if counted:
            self.acknowledged.update(numbers)
        caller.close()
        return numbers

    def states(self, program: Program, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """These tasks as the API shows them."""
        return [program.request(f"/tasks/{self.ids[number]}")[1] for number in numbers]

    # -- judging ----------------------------------------------------------------------------------------------------

    def expect(self, text: str, held: bool) -> None:
        """Something must hold."""
        self.bounds.append(Bound(text, held))

    def within(self, what: str, seconds: float | None, limit_s: float) -> None:
        """Something must have taken no longer than this."""
        met = "never" if seconds is None else f"{seconds:.1f} s"
        self.expect(f"{what} {met} ≤ {limit_s * self.slack:g} s", seconds is not None and seconds <= limit_s * self.slack)

    def recovered(self, seconds: float | None, limit_s: float) -> None:
        """How long the longest recovery took, and may take."""
        self.recovered_s = seconds
        self.within("recovered", seconds, limit_s)

    def drained(self, limit_s: float = 60.0) -> bool:
        """Wait for everything acknowledged to end."""
        return self.ledger.until_finished(self.acknowledged, limit_s * self.slack)

    def finish(self, name: str, promise: str, seconds: float) -> Row:
        """Count, stop everything in order, look over the store."""
        lost = len(self.acknowledged - self.ledger.finished())
        duplicates = self.ledger.duplicates()
        self.expect(f"lost {lost} = 0", lost == 0)
        if self.duplicates_max is not None:
            self.expect(f"extra runs {duplicates} ≤ {self.duplicates_max}", duplicates <= self.duplicates_max)
        died = [one.process.returncode for one in self.programs if one not in self.ended and one.process.poll() is not None]
        self.expect(f"processes that ended by themselves {len(died)} = 0", not died)
        self._stop_programs()
        if self.keyspace:
            wrong = self._look_over()
            self.expect(f"keyspace {wrong or 'whole'}", not wrong)
        return Row(name, promise, len(self.acknowledged), self.faults, lost, duplicates, self.recovered_s, self.bounds, seconds)

    def _stop_programs(self) -> None:
        running = [one for one in self.programs if one.process.poll() is None]
        for one in running:
            one.process.terminate()
        give_up = time.monotonic() + DRAIN_S + 10
        while any(one.process.poll() is None for one in running) and time.monotonic() < give_up:
            time.sleep(0.05)
        stuck = [one for one in running if one.process.poll() is None]
        self.expect(f"processes that do not stop {len(stuck)} = 0", not stuck)

    def _look_over(self) -> str:
        """What is wrong with the keyspace; empty when nothing is."""
        if self.data is not None:
            server = Server(self.data, kind="valkey").start()
            self.stack.callback(server.kill)
            self.store_url = server.url
        try:
            anyio.run(_check, self.store_url)
        except (AssertionError, redis.RedisError, UsageError) as error:
            return f"broken: {str(error)[:200]}"
        return ""


async def _check(url: str) -> None:
    store = Store(Connector(url), Metrics("faults", {"worker"}), namespace="taskqueue", lease_ms=int(LEASE_S * 1000))
    try:
        await check_keyspace(store)
    finally:
        await store.aclose()


@dataclass(frozen=True)
class Scenario:
    """One fault, and what is promised under it."""

    name: str
    promise: str
    run: Callable[[Trial], None]


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, promise: str) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Enter a function into the list of scenarios."""

    def enter(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        SCENARIOS[name] = Scenario(name, promise, function)
        return function

    return enter


def try_out(one: Scenario, folder: Path, seed: int, scale: float = 1.0, slack: float = 1.0) -> Row:
    """Run a scenario; an error of the driver itself is a bound that did not hold."""
    trial = Trial(folder, seed, scale, slack)
    began = time.monotonic()
    with trial.stack:
        try:
            one.run(trial)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs into the report
            (folder / "error.txt").write_text(traceback.format_exc())
            trial.expect(f"{type(error).__name__}: {str(error)[:300]} (see {folder.name}/error.txt)", False)
        return trial.finish(one.name, one.promise, time.monotonic() - began)
