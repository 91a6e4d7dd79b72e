"""``/queues``: how many tasks are in which state."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from _taskqueue.store.answers import Count
from _taskqueue.store.store import Store
from _taskqueue.upkeep.sampler import latency_s
from _taskqueue.web.problems import in_time, json_response


def queues_blueprint(store: Store) -> Blueprint:
    """The routes of this resource."""
    routes = Blueprint("queues", __name__)

    @routes.get("/queues")
    async def read_queues() -> Response:
        with in_time():
            counts = [await store.count(queue) for queue in await store.queues()]
            return json_response({"items": [_show(count, store.head_start_ms) for count in counts]})

    return routes


def _show(count: Count, head_start_ms: int) -> dict[str, Any]:
    return {
        "queue": count.queue,
        "counts": count.states,
        "unroutable": count.unroutable,
        "workers": count.workers,
        "latency_seconds": round(latency_s(count, head_start_ms), 3),
    }
