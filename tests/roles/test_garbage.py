"""An attempt leaves nothing to the garbage collector: a circle of objects per task took a fifth of a worker's time, and kept payloads."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from types import CoroutineType, FrameType

import pytest

from _taskqueue.domain.states import State
from _taskqueue.tasks.context import Context
from _taskqueue.tasks.spec import task
from tests.roles.conftest import Working

pytestmark = pytest.mark.anyio

TASKS = 50


@task
async def plain(text: str) -> str:
    """A task that works."""
    return text


@task
async def talks(ctx: Context, text: str) -> None:
    """Uses what its context offers."""
    ctx.log.info("I have %s", text)
    await ctx.progress(1, 2)
    await ctx.save(text)


@task
def threaded(ctx: Context) -> str:
    """Runs in a thread."""
    return ctx.id


@task(max_attempts=1)
async def fails(text: str) -> None:
    """Raises."""
    raise ValueError(text)


@pytest.fixture
def uncollected() -> Iterator[list[object]]:
    """With the collector off, what it would have had to take away is kept here."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def _kind_of(left: object) -> str:
    """What it is, when it can be part of an attempt; a worker of the test before may be among what is found."""
    code = left.f_code if isinstance(left, FrameType) else left.cr_code if isinstance(left, CoroutineType) else None
    if code is not None:
        return f"{type(left).__name__} of {code.co_qualname}" if "_taskqueue" in code.co_filename else ""
    ours = isinstance(left, asyncio.Task) or type(left).__module__.startswith("_taskqueue")
    return type(left).__qualname__ if ours else ""


@pytest.mark.parametrize("one", [plain, talks, threaded, fails], ids=lambda one: one.name)
async def test_an_attempt_leaves_no_circle_of_objects(working: Working, uncollected: list[object], one: object) -> None:
    async with working(plain, talks, threaded, fails) as bench:
        end = State.DEAD if one is fails else State.SUCCEEDED
        await bench.run(one.name, state=end)  # type: ignore[attr-defined]
        gc.collect()
        uncollected.clear()
        ids = [await bench.submit(one.name) for _ in range(TASKS)]  # type: ignore[attr-defined]
        for task_id in ids:
            await bench.reaches(task_id, end)
        gc.collect()
        found = Counter(filter(None, map(_kind_of, uncollected)))

    assert not {name: count for name, count in found.items() if count >= TASKS}  # what comes once a call or a worker may
