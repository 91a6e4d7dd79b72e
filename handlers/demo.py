"""Examples: the smallest task, one that fails twice, and a long one that shows its progress."""

from __future__ import annotations

import anyio

from taskqueue import Context, task


@task
async def echo(payload: str) -> str:
    """Answers with its payload. Submissions that name no task come here."""
    return payload


@task(max_attempts=5, backoff={"base": 0.5, "max": 5})
async def flaky(ctx: Context, failures: int = 2) -> str:
    """Fails ``failures`` times, then succeeds: watch it being retried."""
    if ctx.attempt <= failures:
        ctx.log.info("attempt %d will fail", ctx.attempt)
        raise ConnectionError(f"attempt {ctx.attempt} failed on purpose")
    return f"succeeded in attempt {ctx.attempt}"


@task(timeout="10m")
async def count_up(ctx: Context, steps: int = 10, pause: float = 0.5) -> int:
    """Counts to ``steps`` and reports each; after a crash or a shutdown it goes on where it was."""
    done: int = ctx.saved or 0
    while done < steps:
        await anyio.sleep(pause)
        done += 1
        await ctx.save(done)
        await ctx.progress(done, steps, f"step {done}")
    return done
