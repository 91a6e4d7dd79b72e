"""The calls about everything but single tasks: queues, workers, operations, numbers, the server itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from _taskqueue.remote.answers import (
    Advice,
    AuditEntry,
    Batch,
    Failure,
    Handler,
    Health,
    Operation,
    Ordered,
    Queue,
    Session,
    Setting,
    Stats,
    Version,
    Worker,
)
from _taskqueue.remote.asking import Asking, path
from _taskqueue.remote.flows import Flow, Pause, Request
from _taskqueue.remote.task_calls import Filters, filter_params

LOOK_S, LOOK_S_MAX, LOOK_GROWTH = 0.1, 2.0, 1.5
"""How often to look at what the server cannot be asked to wait for: often at first, then less."""


class SystemCalls(Asking):
    """Every call on what is no task. Each may raise ClientError."""

    # -- queues -----------------------------------------------------------------------------------------------------

    def queues(self) -> Flow[list[Queue]]:
        """Every queue that was ever used, with its counts by state."""
        return (yield from self._items(Queue, "/queues"))

    def queue(self, queue: str) -> Flow[Queue]:
        """One queue."""
        return (yield from self._get(Queue, path("queues", queue)))

    def pause(self, queue: str, *, reason: str = "") -> Flow[Queue]:
        """Start no more tasks of a queue; running ones go on, new ones are accepted and wait."""
        return (yield from self._act(Queue, "POST", path("queues", queue, "pause"), {"reason": reason}))

    def resume(self, queue: str) -> Flow[Queue]:
        """Go on with a queue that was paused."""
        return (yield from self._act(Queue, "POST", path("queues", queue, "resume")))

    def set_max_length(self, queue: str, max_length: int | None) -> Flow[Queue]:
        """Limit how many tasks may wait in a queue; None takes the limit away."""
        return (yield from self._act(Queue, "PATCH", path("queues", queue), {"max_length": max_length}))

    def purge(self, queue: str, *, state: str | Iterable[str] = "pending") -> Flow[Operation]:
        """Delete all tasks of a queue that are in these states; see ``wait_operation``."""
        states = state if isinstance(state, str) else ",".join(state)
        return (yield from self._act(Operation, "DELETE", path("queues", queue, "tasks"), state=states))

    def autoscale(self, queue: str = "default", *, target: float | str | None = None, slots_per_worker: int | None = None) -> Flow[Advice]:
        """How many workers a queue wants.

        Args:
            target: seconds in which its backlog is to be gone.
        """
        return (yield from self._get(Advice, "/autoscale", queue=queue, target=_text(target), slots_per_worker=_text(slots_per_worker)))

    # -- workers ----------------------------------------------------------------------------------------------------

    def workers(self) -> Flow[list[Worker]]:
        """The worker processes that beat within the last ten minutes."""
        return (yield from self._items(Worker, "/workers"))

    def quiet_worker(self, worker: str) -> Flow[Ordered]:
        """Start no more tasks on a worker; what runs there goes on."""
        return (yield from self._act(Ordered, "POST", path("workers", worker, "quiet")))

    def resume_worker(self, worker: str) -> Flow[Ordered]:
        """Let a quiet worker go on."""
        return (yield from self._act(Ordered, "POST", path("workers", worker, "resume")))

    def stop_worker(self, worker: str) -> Flow[Ordered]:
        """Let a worker finish what it runs and end its process."""
        return (yield from self._act(Ordered, "POST", path("workers", worker, "stop")))

    def handlers(self) -> Flow[list[Handler]]:
        """The tasks that live workers know, with the JSON Schema of their payloads."""
        return (yield from self._items(Handler, "/handlers"))

    # -- many tasks -------------------------------------------------------------------------------------------------

    def operate(
        self,
        action: Literal["retry", "run", "cancel", "delete"],
        *,
        filter: Filters | None = None,  # noqa: A002  # the name that the API has for it
        ids: Sequence[str] | None = None,
        dry_run: bool = False,
        expected: int | None = None,
        rate: float | None = None,
        reset_attempts: bool = False,
    ) -> Flow[Operation]:
        """Act on all tasks that a filter means, or on up to 1,000 by their ids; see ``wait_operation``.

        Args:
            dry_run: only count them.
            expected: refuse when the filter means more than a tenth more or fewer tasks than this.
            rate: tasks a second, at most.

        Raises:
            CountChanged: the filter does not mean as many as expected.
        """
        given = {"filter": None if filter is None else filter_params(filter), "ids": ids, "expected": expected, "rate": rate}
        body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        body |= {"action": action, "dry_run": dry_run, "reset_attempts": reset_attempts}
        return (yield from self._act(Operation, "POST", "/operations", body))

    def operations(self) -> Flow[list[Operation]]:
        """The operations that are kept, the latest first."""
        return (yield from self._items(Operation, "/operations"))

    def operation(self, operation_id: str) -> Flow[Operation]:
        """How far an operation is."""
        return (yield from self._get(Operation, path("operations", operation_id)))

    def stop_operation(self, operation_id: str) -> Flow[Operation]:
        """Stop an operation; what is done stays done. Raises InvalidState."""
        return (yield from self._act(Operation, "POST", path("operations", operation_id, "stop")))

    def wait_operation(self, operation: Operation | str, timeout: float | None = None) -> Flow[Operation]:
        """Wait until an operation has ended; gives it as it is then, or as it is when the time is over.

        Args:
            operation: itself or its id. One that was done at once, or only counted, is given back as it is.
            timeout: seconds; None waits for as long as it takes.
        """
        if isinstance(operation, Operation) and operation.ended:
            return operation
        operation_id = operation if isinstance(operation, str) else str(operation.operation_id)
        until, look_s = self.patience.until(timeout), LOOK_S
        while True:
            found = yield from self.operation(operation_id)
            if found.ended or self.patience.clock() >= until:
                return found
            look_s = yield from self._later(look_s, until)

    # -- numbers ----------------------------------------------------------------------------------------------------

    def failures(self, *, queue: str | None = None) -> Flow[list[Failure]]:
        """Tasks that fail now, grouped by their error, the latest first."""
        return (yield from self._items(Failure, "/failures", queue=queue))

    def failure(self, fingerprint: str) -> Flow[Failure]:
        """One group of failing tasks."""
        return (yield from self._get(Failure, path("failures", fingerprint)))

    def batch(self, batch_id: str) -> Flow[Batch]:
        """How far the tasks are that were submitted with a batch_id."""
        return (yield from self._get(Batch, path("batches", batch_id)))

    def wait_batch(self, batch_id: str, timeout: float | None = None) -> Flow[Batch]:
        """Wait until all tasks of a batch have ended; gives it as it is then, or as it is when the time is over.

        Args:
            timeout: seconds; None waits for as long as it takes.
        """
        until, look_s = self.patience.until(timeout), LOOK_S
        while True:
            found = yield from self.batch(batch_id)
            if found.ended or self.patience.clock() >= until:
                return found
            look_s = yield from self._later(look_s, until)

    def stats(
        self,
        *,
        window: float | str = "1h",
        step: float | str | None = None,
        series: Iterable[str] | None = None,
        queue: str | None = None,
        by_queue: bool = False,
    ) -> Flow[Stats]:
        """How many tasks were submitted, claimed, succeeded, … by time.

        Args:
            window: how far back, up to seven days.
            step: the time between two values; by default minutes for three hours and less, else hours.
            series: of submitted, claimed, succeeded, retried, dead, cancelled, expired, lost; all by default.
        """
        names = None if series is None else ",".join(series)
        group = "queue" if by_queue else None
        return (yield from self._get(Stats, "/stats", window=str(window), step=_text(step), series=names, queue=queue, group=group))

    # -- the server -------------------------------------------------------------------------------------------------

    def health(self) -> Flow[Health]:
        """Whether the server can work: started, not stopping, its store takes writes."""
        return (yield from self._ask(Health, Request("GET", "/readyz", repeatable=True, admits=(503,))))

    def version(self) -> Flow[Version]:
        """What runs there."""
        return (yield from self._get(Version, "/version"))

    def session(self) -> Flow[Session]:
        """Who the server takes this client for, and what it may do."""
        return (yield from self._get(Session, "/session"))

    def config(self) -> Flow[list[Setting]]:
        """The settings of the server and where each came from, without secrets."""
        return (yield from self._items(Setting, "/config"))

    def audit(self, *, limit: int = 100) -> Flow[list[AuditEntry]]:
        """Who did what, the latest first."""
        return (yield from self._items(AuditEntry, "/audit", limit=str(limit)))

    # -- steps ------------------------------------------------------------------------------------------------------

    def _later(self, look_s: float, until: float) -> Flow[float]:
        yield Pause(max(0.0, min(look_s, until - self.patience.clock())))
        return min(LOOK_S_MAX, look_s * LOOK_GROWTH)


def _text(value: float | str | None) -> str | None:
    return None if value is None else str(value)
