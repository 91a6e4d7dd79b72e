"""Handlers of every kind for a long run."""

from __future__ import annotations

from anyio import sleep

from taskqueue import Context, Discard, task


@task(max_attempts=2, backoff={"base": 0.2, "max": 1})
async def doomed(ctx: Context, number: int) -> None:
    """Ends dead, under one of a few errors."""
    await sleep(0.01)
    raise ConnectionError(f"host {number % 20} does not answer")


@task
async def discarded(number: int) -> None:
    """Ends dead at once."""
    raise Discard("not worth another attempt")


@task
async def talkative(ctx: Context, number: int, size: int = 2_000) -> str:
    """Logs, progress, a checkpoint and a result."""
    for step in range(3):
        ctx.log.info("step %d of task %d", step, number)
        await ctx.progress(step, 3, "under way")
        await sleep(0.02)
    await ctx.save(number)
    return "r" * size


@task
def threaded(number: int, filler: str = "") -> int:
    """Runs in a thread."""
    return number + len(filler)
