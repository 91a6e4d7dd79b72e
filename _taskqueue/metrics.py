"""Every Prometheus instrument, each defined once, on a registry of this process' own.

Labels are bounded: ``task`` takes only names of registered handlers, else ``_unknown``; ``queue`` takes the first
QUEUE_LABELS_MAX names, then ``_other``. Queue gauges come from the store, so every process that samples them reports the
same number: aggregate them with ``max by (queue)``, never ``sum``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

QUEUE_LABELS_MAX = 200
RUN_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
WAIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)
CALL_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
PAYLOAD_BUCKETS_BYTES = tuple(64 * 4**power for power in range(9))

UNKNOWN_TASK, OTHER_QUEUE = "_unknown", "_other"


class TaskMeters:
    """The instruments of one task on one queue, looked up once: a labels() call costs four times an increment."""

    __slots__ = ("_metrics", "_queue", "_task", "finished", "ok", "run", "wait")

    def __init__(self, metrics: Metrics, queue: str, task: str) -> None:
        self._metrics, self._queue, self._task = metrics, queue, task
        self.ok = metrics.attempts.labels(queue, task, "ok")
        self.finished = metrics.finished.labels(queue, task, "succeeded")
        self.run = metrics.run_seconds.labels(queue, task)
        self.wait = metrics.wait_seconds.labels(queue)

    def ended(self, ending: str) -> None:
        """Count an attempt that did not end well."""
        self._metrics.attempts.labels(self._queue, self._task, ending).inc()

    def finished_as(self, state: str) -> None:
        """Count a task that reached a terminal state other than succeeded."""
        self._metrics.finished.labels(self._queue, self._task, state).inc()

    def retried(self) -> None:
        """Count a task that will be tried again."""
        self._metrics.retried.labels(self._queue, self._task).inc()


class Metrics:
    """The instruments of one process."""

    def __init__(self, version: str = "", roles: Iterable[str] = ()) -> None:
        disable_created_metrics()
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._queue_labels: dict[str, str] = {}
        self._tasks: set[str] = set()
        self._meters: dict[tuple[str, str], TaskMeters] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"taskqueue_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"taskqueue_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"taskqueue_{name}", text, labels, buckets=tuple(buckets), registry=registry)

        self.submitted = counter("tasks_submitted_total", "Tasks accepted by this process", "queue", "task")
        self.rejected = counter("tasks_rejected_total", "Submissions refused by this process", "reason")
        self.attempts = counter("task_attempts_total", "Attempts ended in this process", "queue", "task", "outcome")
        self.finished = counter("tasks_finished_total", "Tasks that reached a terminal state here", "queue", "task", "state")
        self.retried = counter("tasks_retried_total", "Tasks sent back to be tried again", "queue", "task")
        self.recovered = counter("tasks_recovered_total", "Tasks taken back from workers that were lost", "queue")
        self.refused = counter("settlements_refused_total", "Late answers of this process that the store refused", "queue")
        self.trimmed = counter("records_trimmed_total", "Finished tasks forgotten by retention", "queue", "state")
        self.run_seconds = histogram("task_run_seconds", "Time from start to end of an attempt", RUN_BUCKETS_S, "queue", "task")
        self.wait_seconds = histogram("task_wait_seconds", "Time from ready to started, without deliberate delays", WAIT_BUCKETS_S, "queue")
        self.schedule_lag_seconds = histogram("schedule_lag_seconds", "Lateness of the latest task in each promotion of due tasks", WAIT_BUCKETS_S)
        self.payload_bytes = histogram("payload_bytes", "Size of submitted payloads", PAYLOAD_BUCKETS_BYTES, "queue")
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
        """The instruments of one task on one queue."""
        found = self._meters.get((queue, task))
        if found is None:
            labels = self.queue_label(queue), self.task_label(task)
            found = self._meters.get(labels) or TaskMeters(self, *labels)
            self._meters[labels] = found
        return found
