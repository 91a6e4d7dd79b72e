"""Every Prometheus instrument, each defined once, on a registry of this process' own.

Labels are bounded: ``task`` takes only names of registered handlers, else ``_unknown``; ``queue`` takes the first
QUEUE_LABELS_MAX names, then ``_other``. Queue gauges come from the store, so every process that samples them reports the
same number: aggregate them with ``max by (queue)``, never ``sum``.
"""

from __future__ import annotations

import math
import platform
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

QUEUE_LABELS_MAX = 200
RUN_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
WAIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0)
CALL_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
PAYLOAD_BUCKETS_BYTES = tuple(float(64 * 4**power) for power in range(9))

UNKNOWN_TASK, OTHER_QUEUE = "_unknown", "_other"


class Tally:
    """A histogram as plain numbers: 0.2 µs an observation where the client library takes 1.2.

    The library's own thread locks and checks are what costs; here only the event loop writes, and a scrape that reads
    between two additions is off by one observation, once.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the exposition format wants them."""
        bounds = [_show_bound(bound) for bound in (*self.bounds, math.inf)]
        return list(zip(bounds, accumulate(map(float, self.counts)), strict=True))


def _show_bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else repr(bound)


class TaskMeters:
    """What is counted for one task on one queue, as plain numbers."""

    __slots__ = ("endings", "finished", "retried", "run", "wait")

    def __init__(self, wait: Tally) -> None:
        self.endings: dict[str, int] = {"ok": 0}
        """attempts by how they ended"""
        self.finished: dict[str, int] = {"succeeded": 0}
        """tasks by terminal state"""
        self.retried = 0
        self.run = Tally(RUN_BUCKETS_S)
        self.wait = wait
        """shared by all tasks of the queue"""

    def succeeded(self, took_s: float) -> None:
        """Count an attempt that ended well, and its task."""
        self.endings["ok"] += 1
        self.finished["succeeded"] += 1
        self.run.observe(took_s)

    def ended(self, ending: str, took_s: float) -> None:
        """Count an attempt that did not."""
        self.endings[ending] = self.endings.get(ending, 0) + 1
        self.run.observe(took_s)

    def finished_as(self, state: str) -> None:
        """Count a task that reached a terminal state."""
        self.finished[state] = self.finished.get(state, 0) + 1


class _HotCollector(Collector):
    """Shows at a scrape what the path of a task counts as plain numbers."""

    def __init__(
        self,
        meters: Mapping[tuple[str, str], TaskMeters],
        waits: Mapping[str, Tally],
        submissions: Mapping[tuple[str, str], Tally],
    ) -> None:
        self._meters, self._waits, self._submissions = meters, waits, submissions

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_tasks()
        yield from self._collect_submissions()
        wait = _histogram("task_wait_seconds", "Time from ready to claimed, without deliberate delays", "queue")
        for queue, tally in list(self._waits.items()):
            wait.add_metric((queue,), tally.buckets(), tally.sum)
        yield wait

    def _collect_tasks(self) -> Iterator[Metric]:
        attempts = _counter("task_attempts", "Attempts ended in this process", "queue", "task", "outcome")
        finished = _counter("tasks_finished", "Tasks that reached a terminal state here", "queue", "task", "state")
        retried = _counter("tasks_retried", "Tasks sent back to be tried again", "queue", "task")
        run = _histogram("task_run_seconds", "Time from start to end of an attempt", "queue", "task")
        for labels, meters in list(self._meters.items()):
            for ending, count in list(meters.endings.items()):
                attempts.add_metric((*labels, ending), count)
            for state, count in list(meters.finished.items()):
                finished.add_metric((*labels, state), count)
            retried.add_metric(labels, meters.retried)
            run.add_metric(labels, meters.run.buckets(), meters.run.sum)
        yield from (attempts, finished, retried, run)

    def _collect_submissions(self) -> Iterator[Metric]:
        submitted = _counter("tasks_submitted", "Tasks accepted by this process", "queue", "task")
        size = _histogram("payload_bytes", "Size of submitted payloads", "queue", "task")
        for labels, tally in list(self._submissions.items()):
            submitted.add_metric(labels, sum(tally.counts))
            size.add_metric(labels, tally.buckets(), tally.sum)
        yield from (submitted, size)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"taskqueue_{name}", text, labels=labels)


def _histogram(name: str, text: str, *labels: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"taskqueue_{name}", text, labels=labels)


class Metrics:
    """The instruments of one process."""

    def __init__(self, version: str = "", roles: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._queue_labels: dict[str, str] = {}
        self._tasks: set[str] = set()
        self._meters: dict[tuple[str, str], TaskMeters] = {}
        self._waits: dict[str, Tally] = {}
        self._submissions: dict[tuple[str, str], Tally] = {}
        registry.register(_HotCollector(self._meters, self._waits, self._submissions))

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"taskqueue_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"taskqueue_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"taskqueue_{name}", text, labels, buckets=tuple(buckets), registry=registry)

        self.rejected = counter("tasks_rejected_total", "Submissions refused by this process", "reason")
        self.recovered = counter("tasks_recovered_total", "Tasks taken back from workers that were lost", "queue")
        self.refused = counter("settlements_refused_total", "Late answers of this process that the store refused", "queue")
        self.trimmed = counter("records_trimmed_total", "Finished tasks forgotten by retention", "queue", "state")
        self.schedule_lag_seconds = histogram(
            "schedule_lag_seconds", "Lateness of the latest task in each promotion of due tasks", WAIT_BUCKETS_S
        )
        self.slots = gauge("worker_slots", "How many tasks this process can run at once", "pool")
        self.busy_slots = gauge("worker_busy_slots", "How many tasks run in this process", "pool")
        self.abandoned_threads = gauge("worker_abandoned_threads", "Threads past their deadline that still run")
        self.loop_lag_seconds = gauge("event_loop_lag_seconds", "How late the event loop was at the last look")
        self.redis_command_seconds = histogram("redis_command_seconds", "Time of one call to the store", CALL_BUCKETS_S, "op")
        self.redis_errors = counter("redis_errors_total", "Calls to the store that failed", "kind")
        self.redis_up = gauge("redis_up", "1 when the store answered the last look")
        self.http_seconds = histogram("http_request_seconds", "Time to answer a request", CALL_BUCKETS_S, "method", "route", "status_class")
        self.queue_tasks = gauge("queue_tasks", "Tasks by state; the same in every process, use max by (queue, state)", "queue", "state")
        self.queue_latency_seconds = gauge("queue_latency_seconds", "Age of the next pending task; use max by (queue)", "queue")
        self.queue_workers = gauge("queue_workers", "Live worker sessions of a queue; use max by (queue)", "queue")
        self.unroutable_tasks = gauge("unroutable_tasks", "Tasks whose name no live worker knew; use max by (queue)", "queue")
        self.workers = gauge("workers", "Worker processes by state; use max by (state)", "state")
        build = gauge("build_info", "Always 1; the labels tell the build", "version", "python", "role")
        build.labels(version, platform.python_version(), "+".join(sorted(roles))).set(1)

    def know_tasks(self, names: Iterable[str]) -> None:
        """Admit these task names as label values."""
        self._tasks.update(names)

    def queue_label(self, queue: str) -> str:
        """The queue's label value: its name, or ``_other`` beyond the bound."""
        label = self._queue_labels.get(queue)
        if label is None:
            label = queue if len(self._queue_labels) < QUEUE_LABELS_MAX else OTHER_QUEUE
            if label is queue:
                self._queue_labels[queue] = label
        return label

    def task_label(self, task: str) -> str:
        """The task's label value: its name when a handler has it, else ``_unknown``."""
        return task if task in self._tasks else UNKNOWN_TASK

    def meters(self, queue: str, task: str) -> TaskMeters:
        """What is counted for one task on one queue."""
        found = self._meters.get((queue, task))
        return found if found is not None else self._bounded_meters(self.queue_label(queue), self.task_label(task))

    def submissions(self, queue: str, task: str) -> Tally:
        """The payload sizes of accepted submissions; their number is how many there were."""
        found = self._submissions.get((queue, task))
        if found is None:
            labels = self.queue_label(queue), self.task_label(task)
            found = self._submissions.setdefault(labels, Tally(PAYLOAD_BUCKETS_BYTES))
        return found

    def wait(self, queue: str) -> Tally:
        """The waiting times of one queue."""
        label = self.queue_label(queue)
        found = self._waits.get(label)
        if found is None:
            found = self._waits[label] = Tally(WAIT_BUCKETS_S)
        return found

    def _bounded_meters(self, queue: str, task: str) -> TaskMeters:
        found = self._meters.get((queue, task))
        if found is None:
            found = self._meters[queue, task] = TaskMeters(self.wait(queue))
        return found
