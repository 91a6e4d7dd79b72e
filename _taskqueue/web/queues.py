"""``/queues``: how many tasks are in which state."""

from __future__ import annotations

from typing import Any

import anyio
from quart import Blueprint, Response

from _taskqueue.domain.errors import StoreUnavailable
from _taskqueue.store.store import Count, Store
from _taskqueue.upkeep.sampler import latency_s
from _taskqueue.web.problems import from_store, json_response

ANSWER_S = 0.9


def queues_blueprint(store: Store) -> Blueprint:
    """The routes of this resource."""
    routes = Blueprint("queues", __name__)

    @routes.get("/queues")
    async def read_queues() -> Response:
        with anyio.move_on_after(ANSWER_S):
            counts = [await store.count(queue) for queue in await store.queues()]
            return json_response({"items": [_show(count, store.head_start_ms) for count in counts]})
        raise from_store(StoreUnavailable("the store did not answer in time"))

    return routes


def _show(count: Count, head_start_ms: int) -> dict[str, Any]:
    return {
        "queue": count.queue,
        "counts": count.states,
        "unroutable": count.unroutable,
        "workers": count.workers,
        "latency_seconds": round(latency_s(count, head_start_ms), 3),
    }
