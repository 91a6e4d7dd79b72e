"""Tasks for the dashboard to show: handlers that fail, wait and tell, and a shop full of what they left behind."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from tests.program import Program

FOLDER_HANDLERS = "deeds"
HANDLERS = '''
from typing import Literal
import anyio
from taskqueue import Context, task

@task(max_attempts=1)
async def fail(message: str) -> None:
    raise ValueError(message)

@task(max_attempts=9, backoff={"base": 3600, "max": 3600})
async def again_later(message: str) -> None:
    raise TimeoutError(message)

@task
async def nap(ctx: Context, seconds: float = 600.0, note: str = "napping") -> str:
    ctx.log.info("good night")
    await ctx.progress(3, 10, note)
    await anyio.sleep(seconds)
    return "awake"

@task
async def order(item: str, amount: int = 1, urgent: bool = False, size: Literal["small", "large"] = "small") -> dict[str, object]:
    """Takes an order."""
    return {"item": item, "amount": amount, "urgent": urgent, "size": size}
'''

FILLED_S = 15.0
T = TypeVar("T")
LONG = "a very long text without a break anywhere_" * 12


def submit(program: Program, **body: Any) -> str:
    """One task; gives its id."""
    status, answer = program.request("/tasks", {"payload": "x", **body})
    assert status == 202, answer
    return str(answer["task_id"])


def submit_many(program: Program, bodies: list[dict[str, Any]]) -> list[str]:
    """Many tasks; gives their ids."""
    ids: list[str] = []
    for start in range(0, len(bodies), 1000):
        status, answer = program.request("/tasks/batch", {"tasks": bodies[start : start + 1000]})
        assert answer.get("rejected") == 0, (status, answer)
        ids += [one["task_id"] for one in answer["results"]]
    return ids


def order(program: Program, method: str, path: str, body: object = None) -> None:
    """A request with another method than GET or POST, or one without a body."""
    data = b"" if body is None else json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(program.api + path, data=data, method=method), timeout=15).close()


def until(look: Callable[[], T], wanted: Callable[[T], object] = bool, seconds: float = FILLED_S) -> T:
    """Look again and again until it is as wanted; gives what was seen."""
    give_up = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < give_up, f"still {seen}"
        time.sleep(0.05)
    return seen


def state_of(program: Program, task_id: str) -> str:
    """Where a task stands; "gone" when it is not there."""
    status, answer = program.request(f"/tasks/{task_id}")
    return "gone" if status == 404 else str(answer["state"])


def listed(program: Program, query: str) -> list[dict[str, Any]]:
    """The tasks that a query finds."""
    return list(program.request(f"/tasks?limit=200&{query}")[1]["items"])


def fill(program: Program) -> None:
    """Tasks in every state, groups of errors, long names, a paused queue."""
    echoes = [{"payload": f"hello {n}", "queue": ("default", "emails", "images")[n % 3], "tags": [f"acct_{n % 5}"]} for n in range(40)]
    later = [{"payload": {"send": n}, "delay": f"{n + 1}h", "queue": "emails", "priority": n % 10} for n in range(8)]
    failing = [{"task": "fail", "payload": f"order {n} was refused", "queue": ("default", "emails")[n % 2]} for n in range(12)]
    retried = [{"task": "again_later", "payload": "upstream did not answer", "queue": "emails"} for _ in range(3)]
    naps = [{"task": "nap", "payload": {"note": f"step {n}"}} for n in range(5)]
    long = [
        {
            "task": "fail",
            "payload": LONG,
            "tags": ["a-tag-of-some-length"],
            "meta": {"order": "1" * 60},
            "unique": {"key": "k" * 120},
            "batch_id": "night-1",
        }
    ]
    unknown = [{"task": "nobody_knows_this", "payload": {"a": [1, {"b": 12345678901234567890}]}}]
    submit_many(program, echoes + later + failing + retried + naps + long + unknown)
    for task_id in submit_many(program, [{"payload": "x", "delay": 500}] * 3):
        order(program, "POST", f"/tasks/{task_id}/cancel")
    submit(program, expires_in=0.05, delay=1)
    order(program, "POST", "/queues/images/pause", {"reason": "deploy"})
    submit_many(program, [{"payload": "img", "queue": "images"}] * 5)
    wanted = {"dead": 13, "retrying": 3, "running": 5, "cancelled": 3, "expired": 1}
    until(lambda: {state: len(listed(program, f"state={state}")) for state in wanted}, lambda seen: seen == wanted)
