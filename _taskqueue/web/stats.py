"""``/stats``, ``/failures``, ``/batches``: what happened, in numbers."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
from quart import Response

from _taskqueue.store.browse import Browse
from _taskqueue.store.store import Store
from _taskqueue.web.problems import Problem, in_time, json_response
from _taskqueue.web.reading import Duration, read_seconds
from _taskqueue.web.routing import Scope, route
from _taskqueue.web.shapes import GroupPage, GroupView, Seconds, Time, show_group, show_time

SERIES = ("submitted", "claimed", "succeeded", "retried", "dead", "cancelled", "expired", "lost")
MINUTE_S, HOUR_S = 60, 3600
MINUTES_WINDOW_S, WINDOW_MAX_S = 3 * HOUR_S, 7 * 24 * HOUR_S
POINTS_MAX = 500
MANY_S = 3.0


SeriesText = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^(({'|'.join(SERIES)})(,({'|'.join(SERIES)})){{0,9}})?$"})]


class StatsQuery(msgspec.Struct):
    """Query of ``GET /stats``."""

    window: Duration = "1h"
    step: Duration = ""
    series: SeriesText = ",".join(SERIES)
    group: Literal["", "queue"] = ""
    queue: str = ""


class Line(msgspec.Struct):
    """One series of counts."""

    series: str
    queue: str | None
    values: list[int]


class StatsView(msgspec.Struct):
    """Counts by time; the last value is of a period that is not over."""

    start: Time | None
    step_seconds: Seconds
    lines: list[Line]


class FailuresQuery(msgspec.Struct):
    """Query of ``GET /failures``."""

    queue: str = ""


class BatchView(msgspec.Struct):
    """How far a batch is."""

    batch_id: str
    total: int
    done: Annotated[int, msgspec.Meta(description="ended, in whatever way")]
    counts: dict[str, int]
    eta_seconds: Seconds | None


class StatsApi:
    """Numbers over time, groups of errors, batches."""

    def __init__(self, store: Store, browse: Browse) -> None:
        self._store, self._browse = store, browse

    @route("GET", "/stats", scope=Scope.READ, query=StatsQuery, answers={200: StatsView}, problems=(422,))
    async def stats(self, query: StatsQuery) -> Response:
        """How many tasks were submitted, claimed, succeeded, … by time: three hours by the minute, a week by the hour."""
        names = _series(query.series)
        window_s, step_s = _span(query)
        with in_time(MANY_S):
            queues = [queue for queue in await self._store.queues() if not query.queue or queue in query.queue.split(",")]
            start_s, periods = _periods(time.time(), window_s, step_s)
            found = await self._browse.series(queues, names, periods)
        if query.group == "queue":
            lines = [Line(name, queue, values) for queue, series in found.items() for name, values in series.items()]
        else:
            lines = [Line(name, None, [sum(parts) for parts in zip(*(found[q][name] for q in queues), strict=True)]) for name in names]
            lines = [line if line.values else Line(line.series, None, [0] * len(periods)) for line in lines]
        return json_response(StatsView(show_time(start_s * 1000), step_s, lines))

    @route("GET", "/failures", scope=Scope.READ, query=FailuresQuery, answers={200: GroupPage})
    async def list_failures(self, query: FailuresQuery) -> Response:
        """Tasks that fail now, grouped by their error, the latest first."""
        with in_time(MANY_S):
            groups = await self._browse.failures([part for part in query.queue.split(",") if part])
        return json_response(GroupPage([show_group(group) for group in groups]))

    @route("GET", "/failures/<fingerprint>", scope=Scope.READ, answers={200: GroupView}, problems=(404,))
    async def read_failure(self, fingerprint: str) -> Response:
        """One error group."""
        with in_time(MANY_S):
            for group in await self._browse.failures():
                if group.fingerprint == fingerprint:
                    return json_response(show_group(group))
        raise Problem(404, "not_found", f"no task fails with the error {fingerprint[:64]!r} now")

    @route("GET", "/batches/<batch_id>", scope=Scope.READ, contract=True, answers={200: BatchView}, problems=(404,))
    async def read_batch(self, batch_id: str) -> Response:
        """How far the tasks are that were submitted with a batch_id."""
        with in_time(MANY_S):
            sums = await self._browse.batch(batch_id)
            if sums is None:
                raise Problem(404, "not_found", f"there is no batch {batch_id[:64]!r}")
            rate_s = sum([(await self._store.count(queue)).rate_s for queue in await self._store.queues()])
        total, kept = sums.pop("total"), sums.pop("kept")
        done = sum(sums.values())
        left = total - done
        eta_s = 0.0 if not left else round(left / rate_s, 1) if rate_s else None
        return json_response(BatchView(batch_id, total, done, {**sums, "waiting_or_running": min(left, kept)}, eta_s))


def _series(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in SERIES:
            raise Problem(422, "invalid_field", f"series: {name[:64]!r} is none; known are {', '.join(SERIES)}")
    return list(dict.fromkeys(names)) or list(SERIES)


def _span(query: StatsQuery) -> tuple[int, int]:
    """Window and step in whole seconds; the step divides into minutes or hours that are kept."""
    window_s = int(read_seconds("window", query.window or "1h"))
    window_s = min(max(window_s, MINUTE_S), WINDOW_MAX_S)
    finest = MINUTE_S if window_s <= MINUTES_WINDOW_S else HOUR_S
    step_s = int(read_seconds("step", query.step)) if query.step else finest
    step_s = min(max(finest, step_s - step_s % finest), WINDOW_MAX_S)
    while window_s / step_s > POINTS_MAX:
        step_s += finest
    return window_s, step_s


def _periods(now_s: float, window_s: int, step_s: int) -> tuple[int, list[list[str]]]:
    """The start, and for each step the fields that hold its counts."""
    end = int(now_s) - int(now_s) % step_s + step_s
    steps = max(1, -(-window_s // step_s))
    start = end - steps * step_s
    return start, [_fields(at, step_s, int(now_s)) for at in range(start, end, step_s)]


def _fields(at: int, step_s: int, now_s: int) -> list[str]:
    """Minutes, and beyond what is kept of them the hours that they were rolled up into."""
    kept_from = (now_s - MINUTES_WINDOW_S - HOUR_S) // MINUTE_S
    minutes = [f"m{minute}" for minute in range(max(kept_from, at // MINUTE_S), (at + step_s) // MINUTE_S)]
    hours = [f"h{hour}" for hour in range(at // HOUR_S, (at + step_s) // HOUR_S)] if step_s % HOUR_S == 0 else []
    return minutes + hours
