"""The real program: roles, stores, health, metrics, restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.program import Program, running


def embedded(folder: Path) -> list[str]:
    return ["--data-dir", str(folder / "data")]


def server_pid(folder: Path) -> int:
    """The embedded server of this data dir."""
    found = subprocess.run(["/usr/bin/pgrep", "-f", f"unixsocket:{folder}"], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def test_a_task_runs_and_the_metrics_count_it(tmp_path: Path) -> None:
    with running(tmp_path, *embedded(tmp_path)) as program:
        _, task = program.request("/tasks?wait=10", {"payload": "hello"})
        text = urllib.request.urlopen(program.metrics + "/metrics", timeout=5).read().decode()

    samples = {(one.name, one.labels.get("task")): one.value for family in text_string_to_metric_families(text) for one in family.samples}
    assert (task["state"], task["result"]) == ("succeeded", "hello")
    assert samples["taskqueue_tasks_finished_total", "echo"] == 1
    assert samples["taskqueue_worker_slots", None] > 0


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_answers_on_both_ports(tmp_path: Path, path: str) -> None:
    with running(tmp_path, "--redis-url", "memory://") as program:
        for url in (program.api, program.metrics):
            with urllib.request.urlopen(url + path, timeout=5) as answer:
                assert answer.status == 200


def test_api_and_worker_share_a_store(tmp_path: Path, bundled_url: str) -> None:
    shared = ["--redis-url", bundled_url, "--namespace", "split"]
    with running(tmp_path, "--role", "api", *shared) as api, running(tmp_path, "--role", "worker", *shared) as worker:
        _, task = api.request("/tasks?wait=10", {"payload": "over there"})

        assert task["state"] == "succeeded"
        assert f":{worker.process.pid}:" in task["worker"]
        assert worker.api == ""


def test_the_data_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, *embedded(tmp_path)) as program:
        _, later = program.request("/tasks", {"payload": "later", "delay": "1h"})
        program.stop()

    with running(tmp_path, *embedded(tmp_path)) as program:
        _, task = program.request(f"/tasks/{later['task_id']}")

    assert task["state"] == "scheduled"


def test_the_data_survives_a_kill_of_everything(tmp_path: Path) -> None:
    with running(tmp_path, *embedded(tmp_path)) as program:
        _, later = program.request("/tasks", {"payload": "later", "delay": "1h"})
        os.kill(server_pid(tmp_path / "data"), signal.SIGKILL)
        program.kill()

    with running(tmp_path, *embedded(tmp_path)) as program:
        status, _ = program.request(f"/tasks/{later['task_id']}")

    assert status == 200


def test_a_dead_embedded_server_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path, *embedded(tmp_path)) as program:
        os.kill(server_pid(tmp_path / "data"), signal.SIGKILL)
        give_up = time.monotonic() + 10
        status, answer = program.request("/version")
        while status != 202 and time.monotonic() < give_up:
            status, answer = program.request("/tasks?wait=5", {"payload": "after"})

    assert (status, answer["state"]) == (202, "succeeded")


def test_a_second_process_on_one_data_dir_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, *embedded(tmp_path)) as program:
        second = Program(tmp_path, *embedded(tmp_path))

        assert second.process.wait(20) == 2
        assert "in use by another process" in second.output
        assert program.request("/tasks?wait=5", {"payload": "still here"})[1]["state"] == "succeeded"


def test_a_worker_that_knows_the_name_takes_what_was_held(tmp_path: Path, bundled_url: str, breaking: list[str]) -> None:
    shared = ["--redis-url", bundled_url, "--namespace", "held"]
    with running(tmp_path, *shared) as program:
        _, answer = program.request("/tasks", {"task": "nap", "payload": {"number": 1, "seconds": 0}})
        give_up = time.monotonic() + 10
        while program.request("/queues")[1]["items"][0]["unroutable"] != 1:
            assert time.monotonic() < give_up

        with running(tmp_path, "--role", "worker", *shared, *breaking):
            _, task = program.request(f"/tasks/{answer['task_id']}?wait=10")

    assert (task["state"], task["result"]) == ("succeeded", 1)


def test_a_handler_that_blocks_the_loop_is_named_and_loses_nothing(tmp_path: Path, breaking: list[str]) -> None:
    with running(tmp_path, "--redis-url", "memory://", "--lease", "1s", *breaking) as program:
        _, task = program.request("/tasks?wait=10", {"task": "block", "payload": {"seconds": 2.5}})

        assert (task["state"], task["attempt"], task["crashes"]) == ("succeeded", 1, 0)
        assert "things.py" in program.output
