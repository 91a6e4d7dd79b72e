"""Handlers with ``process=True``: all of a Context is theirs, whatever ends them has a name, and nothing of them stays."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from _taskqueue.domain.states import State
from _taskqueue.store.answers import Sight
from _taskqueue.store.store import Store
from _taskqueue.tasks.discovery import AnyTask
from _taskqueue.tasks.keptlog import LINE_CHARS_MAX
from _taskqueue.work import processes
from tests.roles import processed
from tests.roles.conftest import Bench, Working, until

pytestmark = pytest.mark.anyio

TASKS: list[AnyTask] = [
    processed.pid, processed.awaits, processed.talks, processed.saves, processed.saves_too_much, processed.ends, processed.listens,
    processed.has_children, processed.forks, processed.leaves_a_thread, processed.rests, processed.pools, processed.listens_long,
    processed.forks_and_dies, processed.misuses,
]  # fmt: skip


def result_of(sight: Sight) -> Any:
    assert sight.outcome is not None
    assert sight.outcome.result is not None
    return msgspec.json.decode(sight.outcome.result)


def failure_of(sight: Sight) -> str:
    assert sight.outcome is not None
    assert sight.outcome.failure is not None
    return f"{sight.outcome.failure.type}: {sight.outcome.failure.message}"


async def log_of(store: Store, sight: Sight) -> list[str]:
    kept: bytes = await store.command("log", "HGET", store.key("logs", "default"), f"{sight.id}:1")
    return kept.decode().splitlines()


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_process_runs_one_task_after_the_other(working: Working) -> None:
    async with working(*TASKS) as bench:
        pids = [result_of(await bench.run("pid")) for _ in range(3)]
        assert result_of(await bench.run("awaits", b"text")) == "TEXT"

    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()
    assert not lives(pids[0])


async def test_a_handler_in_a_process_has_a_context(working: Working, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with working(*TASKS) as bench:
        task_id = await bench.submit("talks", b"text", tags=("a",))
        sight = await bench.reaches(task_id, State.SUCCEEDED)
        lines = await log_of(store, sight)

    assert result_of(sight) == [sight.id, "talks", 1, 3, ["a"], False, True, True]
    assert [line for line in lines if "WARNING" not in line] == ["printed", "to stderr", "no newline"]
    assert [line.split(" ", 1)[1] for line in lines if "WARNING" in line] == ["WARNING kept text"]
    said = {(record.name, record.getMessage()) for record in caplog.records}
    assert ("taskqueue.handler", "kept text") in said
    assert ("somebody", "a library says text") in said
    assert sight.progress is not None
    assert (sight.progress.done, sight.progress.total, sight.progress.message) == (3, 4, "caf?")


async def test_what_a_process_saves_is_there_in_the_next_attempt(working: Working) -> None:
    async with working(*TASKS) as bench:
        saved, attempt, more = result_of(await bench.run("saves"))
        assert (await bench.see(more)).state is State.SCHEDULED

    assert (saved, attempt) == ({"page": 1}, 2)


async def test_a_request_that_is_refused_is_an_error_in_the_process(working: Working) -> None:
    async with working(*TASKS) as bench:
        assert "more than --max-result" in result_of(await bench.run("saves_too_much"))


@pytest.mark.parametrize(
    ("how", "state", "said"),
    [
        ("killed", State.DEAD, "ProcessEnded: the process of this task was killed by signal 9 (out of memory?)"),
        ("crash", State.DEAD, "ProcessEnded: the process of this task was killed by signal 11"),
        ("exit", State.DEAD, "ProcessEnded: the process of this task ended with status 3 before its handler did"),
        ("sys.exit", State.DEAD, "SystemExit: 4"),
        ("closes", State.DEAD, "ProcessEnded: the process of this task ended with status 1 before its handler did"),
        ("unfit", State.DEAD, "TypeError: a value of type object has no JSON form"),
        ("discard", State.DEAD, "Discard: not wanted"),
        ("cancel", State.CANCELLED, ""),
        ("raises", State.DEAD, "Odd: (its text cannot be shown)"),
    ],
)
async def test_every_end_of_a_process_has_a_name(working: Working, how: str, state: State, said: str) -> None:
    async with working(*TASKS) as bench:
        sight = await bench.run("ends", how.encode(), state=state)
        assert result_of(await bench.run("awaits", b"next")) == "NEXT"

    if said:
        assert failure_of(sight) == said


async def test_a_result_that_is_unfit_is_not_tried_again(working: Working) -> None:
    async with working(*TASKS) as bench:
        sight = await bench.run("ends", b"unfit", state=State.DEAD, max_attempts=5)

    assert sight.outcome is not None
    assert (sight.outcome.reason, sight.outcome.attempt) == ("unfit_result", 1)


async def test_a_retry_of_a_process_keeps_its_time(working: Working) -> None:
    async with working(*TASKS) as bench:
        sight = await bench.run("ends", b"retry", state=State.RETRYING, max_attempts=2)

    assert sight.score is not None
    assert 3_590_000 < sight.score - sight.now_ms < 3_600_001  # the score has the priority behind its point


async def test_a_process_that_listens_may_clean_up(working: Working, tmp_path: Path) -> None:
    path = tmp_path / "said"
    async with working(*TASKS) as bench:
        sight = await bench.run("listens", str(path).encode(), state=State.DEAD)

    assert failure_of(sight) == "TimeoutError: still running after 3 s"
    assert path.read_text(encoding="utf-8") == "cleaned up"


@pytest.mark.parametrize("how", ["timeout", "cancel", "drain"])
async def test_nothing_of_a_process_stays(working: Working, tmp_path: Path, how: str) -> None:
    path = tmp_path / "pids"
    async with working(*TASKS, drain_timeout="0s") as bench:
        task_id = await bench.submit("has_children", str(path).encode(), **({} if how == "timeout" else {"timeout_s": 60.0}))
        await until(lambda: path.exists() and " " in path.read_text(encoding="utf-8"))
        pids = [int(one) for one in path.read_text(encoding="utf-8").split()]
        assert all(lives(one) for one in pids)
        await _end(bench, task_id, how)
        await until(lambda: not any(lives(one) for one in pids))


async def _end(bench: Bench, task_id: str, how: str) -> None:
    if how == "timeout":
        await bench.reaches(task_id, State.DEAD)
    elif how == "cancel":
        await bench.client.cancel(task_id)
        await bench.reaches(task_id, State.CANCELLED)
    else:
        await bench.stop()
        assert (await bench.see(task_id)).state is State.PENDING


async def test_a_process_that_does_not_start_costs_no_attempt(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_taskqueue.work.dispatcher.REST_S", 0.1)
    lacking = 2
    popen = subprocess.Popen

    def start(*args: Any, **options: Any) -> Any:
        nonlocal lacking
        if lacking:
            lacking -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*args, **options)

    monkeypatch.setattr("subprocess.Popen", start)
    async with working(*TASKS) as bench:
        sight = await bench.run("awaits", b"x")

    assert lacking == 0
    assert not sight.attempts


async def test_an_idle_process_is_ended(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "IDLE_S", 0.1)
    monkeypatch.setattr("_taskqueue.work.execution.LOGS_S", 0.1)
    async with working(*TASKS) as bench:
        first = result_of(await bench.run("pid"))
        await until(lambda: not lives(first))
        assert result_of(await bench.run("pid")) != first


async def test_what_a_process_prints_without_end_stays_within_its_log(working: Working) -> None:
    output = processes.Output()
    lines: list[str] = []
    output.on_line = lines.append
    began = time.monotonic()

    for _ in range(200):
        output.data_received(b"x" * 65_536)

    assert max(map(len, lines)) <= LINE_CHARS_MAX
    assert len(output._rest) <= LINE_CHARS_MAX
    assert time.monotonic() - began < 5


async def test_a_copy_that_a_handler_makes_of_its_process_says_nothing(working: Working) -> None:
    async with working(*TASKS, processes="1") as bench:
        told = [result_of(await bench.run("forks", text)) for text in (b"one", b"two", b"three")]
        await until(lambda: not any(lives(copy) for _, copy in told))

    assert [text for text, _ in told] == ["one", "two", "three"]


async def test_what_an_attempt_leaves_running_says_nothing_in_the_next_one(working: Working, store: Store) -> None:
    async with working(*TASKS, processes="1") as bench:
        first = await bench.run("leaves_a_thread", b"first")
        second = await bench.run("rests", b"second")

    assert (result_of(first), result_of(second)) == ("first", "second")
    assert second.progress is None
    assert await store.command("log", "HGET", store.key("logs", "default"), f"{second.id}:1") is None


async def test_what_the_processes_of_a_pool_log_is_printed(working: Working, store: Store) -> None:
    async with working(*TASKS) as bench:
        sight = await bench.run("pools")
        lines = await log_of(store, sight)

    assert result_of(sight) == sum(range(40))
    assert lines[0].endswith("WARNING before")
    assert any(line.endswith("WARNING " + "x" * 5_000) for line in lines)
    assert any(line.endswith("WARNING kept 39") for line in lines)


async def test_a_process_that_listens_has_its_second(working: Working, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "said"
    async with working(*TASKS) as bench:
        await bench.run("listens_long", str(path).encode(), state=State.DEAD)

    assert path.read_text(encoding="utf-8") == "cleaned up"
    assert "runs on" not in caplog.text


async def test_whole_numbers_stay_whole_on_their_way(working: Working, store: Store) -> None:
    async with working(*TASKS) as bench:
        sight = await bench.run("talks", b"text")
        kept = await store.command("progress", "HGET", store.key("progress", "default"), sight.id)

    assert msgspec.msgpack.decode(kept)[:2] == [3, 4]
    assert all(type(one) is int for one in msgspec.msgpack.decode(kept)[:2])


async def test_the_death_of_a_process_is_seen_whatever_it_has_forked(working: Working) -> None:
    async with working(*TASKS, processes="1") as bench:
        with anyio.fail_after(8):
            sight = await bench.run("forks_and_dies", state=State.DEAD)

    assert failure_of(sight) == "ProcessEnded: the process of this task was killed by signal 9 (out of memory?)"


async def test_what_cannot_be_carried_is_an_error_of_the_call(working: Working) -> None:
    async with working(*TASKS, processes="1") as bench:
        assert "the name of a task must be a text" in result_of(await bench.run("misuses"))
