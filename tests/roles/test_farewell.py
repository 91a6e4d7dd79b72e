"""A worker that stops in order while the store is away: whoever starts next gives its tasks back, and no crash is counted."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from _taskqueue.domain.errors import StoreUnavailable
from _taskqueue.domain.states import State
from _taskqueue.tasks.spec import task
from tests.roles.conftest import Working, until

pytestmark = pytest.mark.anyio
SHARED = "redis://localhost:6379/0"
"""Says that the store is no embedded one; nobody connects to it."""


@task
async def sleeps(text: str) -> None:
    if text == "long":
        await asyncio.sleep(60)


async def left(working: Working, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A worker that stopped without its store; gives the id of what ran on it."""
    async with working(sleeps, data_dir=str(folder), redis_url=SHARED, drain_timeout="0s") as bench:
        task_id = await bench.submit("sleeps", b"long")
        await until(lambda: bench.worker.busy == 1)

        async def fail(*args: Any, **options: Any) -> Any:
            raise StoreUnavailable("away")

        for name in ("settle_and_claim", "release", "held_by", "wait_and_claim", "forget_worker"):
            monkeypatch.setattr(bench.worker._store, name, fail)
        bench.life.stop()
        with anyio.fail_after(10):
            await bench.ended.wait()
        assert not bench.worker.clean
        assert (await bench.see(task_id)).state is State.RUNNING
    return task_id


async def test_the_next_worker_gives_back_what_stopped_unheard(working: Working, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = await left(working, tmp_path / "data", monkeypatch)
    (path,) = (tmp_path / "data").glob("left-*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    async with working(sleeps, data_dir=str(tmp_path / "data"), redis_url=SHARED, drain_timeout="0s") as bench:
        await until(lambda: bench.worker.busy == 1)
        sight = await bench.see(task_id)

    assert (sight.state, sight.crashes, sight.failed_attempts) == (State.RUNNING, 0, 0)
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"store": ["redis://elsewhere", "x"], "leases": [["default", "a"]]}'])
async def test_a_file_of_others_is_left_alone(working: Working, tmp_path: Path, text: str) -> None:
    path = tmp_path / "left-x.json"
    path.write_text(text, encoding="utf-8")

    async with working(sleeps, data_dir=str(tmp_path), redis_url=SHARED) as bench:
        await bench.run("sleeps", b"short")

    assert path.read_text(encoding="utf-8") == text


async def test_where_nothing_can_be_kept_the_worker_ends_all_the_same(
    working: Working, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    await left(working, tmp_path / "file", monkeypatch)
