"""Workers that die: nothing is lost, and a task that kills its workers is stopped."""

from __future__ import annotations

import time
from pathlib import Path

from tests.program import Program, running


def test_the_tasks_of_a_killed_worker_run_elsewhere(tmp_path: Path, bundled_url: str, breaking: list[str]) -> None:
    shared = ["--redis-url", bundled_url, "--namespace", "crash", "--lease", "1s", "--concurrency", "10", *breaking]
    with running(tmp_path, "--role", "api", *shared) as api, running(tmp_path, "--role", "worker", *shared) as victim:
        items = [{"task": "nap", "payload": {"number": number, "seconds": 0.5}} for number in range(40)]
        _, answer = api.request("/tasks/batch", {"tasks": items})
        give_up = time.monotonic() + 10
        while api.request("/queues")[1]["items"][0]["counts"]["running"] < 10:
            assert time.monotonic() < give_up
        victim.kill()

        with running(tmp_path, "--role", "worker", *shared):
            ends = [api.request(f"/tasks/{result['task_id']}?wait=20")[1] for result in answer["results"]]

    lost = [end for end in ends if end["crashes"]]
    assert {end["state"] for end in ends} == {"succeeded"}
    assert 1 <= len(lost) <= 10
    assert {attempt["outcome"] for end in lost for attempt in end["attempts"]} == {"lost"}


def test_a_task_that_kills_its_workers_ends_as_poison(tmp_path: Path, bundled_url: str, breaking: list[str]) -> None:
    shared = ["--redis-url", bundled_url, "--namespace", "poison", "--lease", "1s", "--max-crashes", "2", *breaking]
    with running(tmp_path, "--role", "api", *shared) as api:
        _, answer = api.request("/tasks", {"task": "poison", "payload": "x"})
        statuses = []
        for _ in range(2):
            worker = Program(tmp_path, "--role", "worker", *shared)
            statuses.append(worker.process.wait(20))

        with running(tmp_path, "--role", "worker", *shared) as survivor:
            _, task = api.request(f"/tasks/{answer['task_id']}?wait=20")
            assert survivor.process.poll() is None

    assert statuses == [9, 9]
    assert (task["state"], task["reason"], task["crashes"]) == ("dead", "poison", 2)
