"""The yardstick: a plain Quart view on Hypercorn that makes one Redis call."""

from __future__ import annotations

import asyncio
import os
import uuid

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, request
from redis.asyncio import Redis

ACCEPTED = 202

app = Quart(__name__)
redis = Redis.from_url(os.environ["BENCH_URL"])


@app.post("/tasks")
async def submit() -> tuple[dict[str, str], int]:
    """Store the payload, answer with an id."""
    body = await request.get_json()
    task_id = uuid.uuid4().hex
    await redis.set(task_id, body["payload"])
    return {"task_id": task_id}, ACCEPTED


def main() -> None:
    """Serve until killed."""
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['BENCH_PORT']}"]
    uvloop.install()
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
