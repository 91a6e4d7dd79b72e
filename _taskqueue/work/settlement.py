"""What an attempt comes to: the error read, the result encoded, the verdict, and the line told. Nothing here awaits.

Errors and results are the handler's: reading them runs its code. So each is read once, under a guard, and only plain values go
on from here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _taskqueue.domain.errors import Cancel
from _taskqueue.domain.task import Attempt, Failure, Outcome, fault_of, message_of
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Settings
from _taskqueue.store import wire
from _taskqueue.store.answers import pack_number
from _taskqueue.tasks.binding import encode_json
from _taskqueue.tasks.failures import describe
from _taskqueue.work.finishes import FinishLog
from _taskqueue.work.run import Run
from _taskqueue.work.verdict import MISFIT, Judgement, ResultUnfit, judge, judge_plainly

log = logging.getLogger("taskqueue.worker")


@dataclass(slots=True)
class End:
    """How an attempt ended, in values that run nobody's code."""

    verb: str
    """succeed, retry, dead, cancel or snooze; none: it goes back, or its answer counts no more"""
    result: bytes | None = None
    error: BaseException | None = None
    """for hooks alone"""
    judged: Judgement | None = None
    failure: Failure | None = None


NOTHING = End("succeed")
"""A handler that returned None."""


class Settlement:
    """Settles the attempts of one worker process.

    Args:
        worker: this process' name, kept with every attempt.
        signatures: task → what tells apart how workers read its payload.
        random: gives a float in [0, 1), for the jitter of retries.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, worker: str, signatures: Mapping[str, str], random: Callable[[], float]
    ) -> None:
        self._meters, self._worker, self._signatures, self._random = metrics.meters, worker, signatures, random
        self._result_bytes_max = settings.result_bytes_max
        self._finishes = FinishLog(settings.log_tasks)

    def started(self, run: Run) -> None:
        """An attempt begins."""
        self._finishes.started(run.context)

    def check_size(self, what: str, encoded: bytes) -> None:
        """Raises ValueError: too large to be kept."""
        if len(encoded) > self._result_bytes_max:
            raise ValueError(f"the {what} has {len(encoded)} bytes, more than --max-result {self._result_bytes_max}")

    def read_result(self, run: Run) -> End:
        """What an attempt comes to whose handler returned. Raises nothing."""
        if run.result is None:
            return NOTHING
        try:
            return End("succeed", self._encode(run.result))
        except ResultUnfit as unfit:
            return self._judge(run, unfit)

    def read_error(self, run: Run) -> End:
        """What an attempt comes to whose handler did not return. Raises nothing."""
        try:
            error = _error_of(run)
        except BaseException as second:  # noqa: BLE001 - the handler's own object, asked about itself
            error = Unreadable(f"its error cannot be read: {type(second).__name__}")
        return self._judge(run, error)

    def unsaid(self, run: Run) -> End:
        """An attempt of which nothing can be said."""
        judged = judge_plainly(run.claim, run.spec, self._random)
        return End(judged.verb, None, None, judged, Failure("Unreadable", "its end cannot be recorded"))

    def _encode(self, result: Any) -> bytes:
        try:
            encoded = encode_json(result)
            self.check_size("result", encoded)
        except BaseException as error:  # noqa: BLE001 - the result's own code
            raise ResultUnfit(f"the result cannot be kept: {describe(error).message or type(error).__name__}") from None
        return encoded

    def _judge(self, run: Run, error: BaseException) -> End:
        try:
            judged = judge(error, run.cause == "timeout", run.claim, run.spec, self._random)
        except BaseException as unreadable:  # noqa: BLE001 - classes and values of the handler's
            error = Unreadable(f"what it raised cannot be read: {type(unreadable).__name__}: {message_of(unreadable)}")
            judged = judge_plainly(run.claim, run.spec, self._random)
        return End(judged.verb, None, error, judged, (not run.cause and run.failure_in_child) or describe(error))

    def settle(self, run: Run, end: End) -> None:
        """Tell the line what became of the attempt, once. Raises nothing."""
        if run.claim.lease != run.line.lease or run.cause == "fenced":
            log.warning("task %s: its lease ended while it ran here; the answer is dropped, another worker has it", run.id)
            if run.claim.lease == run.line.lease:
                run.line.held.discard(run.claim.id)
            return
        if run.cause == "released" and end.error is not None:
            return  # stays held, and goes back to its queue at no cost
        took_s = time.monotonic() - run.began
        try:
            self._tell_line(run, end, int(took_s * 1000))
        except BaseException as error:
            log.exception("task %s: its end could not be recorded as it was", run.id)
            end = self._judge(run, Unreadable(f"its end cannot be recorded: {type(error).__name__}"))
            self._tell_line(run, end, int(took_s * 1000))
        try:
            if end.judged is None:
                self._meters(run.claim.queue, run.spec.name).succeeded(took_s)
                self._finishes.succeeded(run.context, took_s)
            elif end.judged is MISFIT:
                log.info("task %s: its payload does not fit here; a worker of another release may take it", run.id)
            elif end.failure is not None:
                self._count(run, end.judged, took_s)
                self._finishes.failed(run.context, end.judged.verb, end.judged.delay_s, end.judged.reason, end.failure, took_s)
        except BaseException:  # a filter or record factory of the user's
            log.exception("task %s is settled, but its log line failed", run.id)

    def _tell_line(self, run: Run, end: End, run_ms: int) -> None:
        claim, line, judged, failure = run.claim, run.line, end.judged, end.failure
        if run.log is not None:
            line.keep_log(claim.id, run.log.text().encode(errors="replace"))
        if judged is None or failure is None:
            line.succeeded(claim.id, wire.encode(Outcome(claim.attempt, run.started_ms, run_ms, self._worker, end.result)))
            return
        attempt = wire.encode(Attempt(claim.number, judged.ending, run.started_ms, run_ms, self._worker, failure))
        outcome = wire.encode(Outcome(claim.attempt, run.started_ms, run_ms, self._worker, None, judged.reason, failure))
        number, fault = pack_number(int(judged.delay_s * 1000), claim.record.priority), fault_of(run.spec.name, failure)
        if judged is MISFIT:
            line.settle("misfit", claim.id, 0, self._signatures[run.spec.name].encode())
            return
        line.settle(judged.verb, claim.id, number, attempt, outcome, fault)

    def _count(self, run: Run, judged: Judgement, took_s: float) -> None:
        meters = self._meters(run.claim.queue, run.spec.name)
        meters.ended(judged.ending, took_s)
        if judged.verb == "retry":
            meters.retried += 1
        elif judged.verb in ("dead", "cancel"):
            meters.finished_as("dead" if judged.verb == "dead" else "cancelled")


class Unreadable(Exception):
    """Stands for an error that cannot be looked at."""


def _error_of(run: Run) -> BaseException:
    """The error that counts: why the attempt was stopped, else what the handler raised."""
    if run.cause == "timeout":
        return TimeoutError(f"still running after {run.deadline - run.began:g} s")
    if run.cause:
        return Cancel(run.cause)
    error = run.error
    if error is None:
        return asyncio.CancelledError("its asyncio task was cancelled before it began")
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
