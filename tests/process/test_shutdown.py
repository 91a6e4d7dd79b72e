"""How the program ends: signals, under load, with the store away."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.conftest import Server
from tests.program import Program, running


def submit_naps(program: Program, count: int, seconds: float) -> list[str]:
    items = [{"task": "nap", "payload": {"number": number, "seconds": seconds}} for number in range(count)]
    _, answer = program.request("/tasks/batch", {"tasks": items})
    return [result["task_id"] for result in answer["results"]]


def counts(program: Program) -> dict[str, int]:
    _, answer = program.request("/queues")
    found: dict[str, int] = answer["items"][0]["counts"]
    return found


def until_running(program: Program, count: int) -> None:
    give_up = time.monotonic() + 10
    while counts(program)["running"] < count:
        assert time.monotonic() < give_up, counts(program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_program_ends_at_once_with_status_0(tmp_path: Path, number: int) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data")) as program:
        began = time.monotonic()
        status = program.stop(number)

    assert status == 0
    assert time.monotonic() - began < 3
    assert "Traceback" not in program.output


def test_running_tasks_finish_and_the_rest_waits_for_the_next_start(tmp_path: Path, breaking: list[str]) -> None:
    flags = ["--data-dir", str(tmp_path / "data"), "--concurrency", "20", *breaking]
    with running(tmp_path, *flags) as program:
        ids = submit_naps(program, 100, 1.0)
        until_running(program, 20)
        status = program.stop()

    with running(tmp_path, *flags) as again:
        ends = [again.request(f"/tasks/{task_id}?wait=20")[1] for task_id in ids]
    runs = (tmp_path / "ledger.txt").read_text().split()
    assert status == 0
    assert "Traceback" not in program.output
    assert {end["state"] for end in ends} == {"succeeded"}
    assert {end["result"] for end in ends} == {1}
    assert len(runs) == len(set(runs)) == 100


def test_what_does_not_finish_in_time_goes_back_without_costing_an_attempt(tmp_path: Path, breaking: list[str]) -> None:
    flags = ["--data-dir", str(tmp_path / "data"), "--drain-timeout", "0s", *breaking]
    with running(tmp_path, *flags) as program:
        ids = submit_naps(program, 5, 3.0)
        until_running(program, 5)
        status = program.stop()

    with running(tmp_path, *flags) as again:
        ends = [again.request(f"/tasks/{task_id}?wait=20")[1] for task_id in ids]
    assert status == 0
    assert [(end["state"], end["result"], end["crashes"]) for end in ends] == [("succeeded", 1, 0)] * 5


def test_a_second_signal_leaves_at_once(tmp_path: Path, breaking: list[str], start: Callable[..., Server]) -> None:
    _, url = start()
    with running(tmp_path, "--redis-url", url, *breaking) as program, running(tmp_path, "--role", "api", "--redis-url", url) as api:
        submit_naps(program, 5, 30.0)
        until_running(api, 5)
        program.process.send_signal(signal.SIGTERM)
        while "SIGTERM: stopping" not in program.output:
            assert program.process.poll() is None
        began = time.monotonic()
        program.stop()

        assert time.monotonic() - began < 3
        assert counts(api)["pending"] == 5
        assert "Traceback" not in program.output


def test_it_ends_while_the_store_is_away(tmp_path: Path, breaking: list[str], start: Callable[..., Server]) -> None:
    server, url = start()
    with running(tmp_path, "--redis-url", url, "--drain-timeout", "2s", *breaking) as program:
        submit_naps(program, 5, 30.0)
        until_running(program, 5)
        server.kill()
        server.wait()
        began = time.monotonic()
        status = program.stop()

    assert status == 75
    assert time.monotonic() - began < 2 + 5
    assert "Traceback" not in program.output


def test_a_thread_that_never_ends_does_not_keep_the_process(tmp_path: Path, breaking: list[str]) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), "--drain-timeout", "0s", *breaking) as program:
        program.request("/tasks", {"task": "stuck", "payload": "x"})
        until_running(program, 1)
        began = time.monotonic()
        status = program.stop()

    assert status == 0
    assert time.monotonic() - began < 5


def test_a_waiting_reader_is_answered_when_the_program_stops(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data")) as program, ThreadPoolExecutor(1) as threads:
        _, later = program.request("/tasks", {"payload": "x", "delay": "1h"})
        reader = threads.submit(program.request, f"/tasks/{later['task_id']}?wait=30")
        while not reader.running():
            pass
        program.request("/version")  # the reader's request was sent before this one
        program.stop()

        status, task = reader.result(5)
    assert (status, task["state"]) == (200, "scheduled")


def test_clients_that_say_nothing_do_not_spoil_the_end(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data")) as program:
        host, port = program.api.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as half, socket.create_connection((host, int(port))) as mute:
            half.sendall(b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
            mute.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            program.request("/version")
            status = program.stop()

    assert status == 0
    assert "Traceback" not in program.output
