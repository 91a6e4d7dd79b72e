"""The measured tasks as handlers of ours."""

from __future__ import annotations

from benchmarks.peers import tally
from taskqueue import task


@task
async def noop(payload: str) -> int:
    """Nothing."""
    return await tally.noop(payload)


@task
async def wait(payload: str) -> int:
    """Waits 50 ms."""
    return await tally.wait(payload)


@task
async def stamp(payload: str) -> int:
    """Writes when it was sent and when it started."""
    return await tally.stamp(payload)


@task
async def nap(payload: str) -> int:
    """Writes its number at its start and at its end."""
    return await tally.nap(payload)
