"""What many build by hand: FastAPI on uvicorn, enqueueing with arq. Run in its own environment."""

# mypy: disable-error-code="import-not-found,untyped-decorator,no-any-unimported,misc"
from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from arq.connections import RedisSettings, create_pool
from fastapi import FastAPI
from pydantic import BaseModel

ACCEPTED = 202


class Submission(BaseModel):
    """The body."""

    payload: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A pool for the life of the app."""
    app.state.pool = await create_pool(RedisSettings.from_dsn(os.environ["BENCH_URL"]))
    yield
    await app.state.pool.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/tasks", status_code=ACCEPTED)
async def submit(body: Submission) -> dict[str, str]:
    """Enqueue, answer with the job's id."""
    job = await app.state.pool.enqueue_job("noop", body.payload)
    return {"task_id": job.job_id}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), access_log=False, log_level="warning")
