"""The real program where it is told to run: in a pod, without documentation, in the C locale."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.program import running

LINKS = {"TASKQUEUE_PORT": "tcp://10.96.0.12:8080", "TASKQUEUE_SERVICE_HOST": "10.96.0.12", "TASKQUEUE_METRICS_PORT": "tcp://10.96.0.13:80"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_service_links_of_kubernetes_do_no_harm(tmp_path: Path) -> None:
    with running(tmp_path, "--redis-url", "memory://", "--log-level", "debug", environ=LINKS) as program:
        assert program.request("/tasks?wait=10", {"task": "echo", "payload": 1})[1]["state"] == "succeeded"

        said = [line for line in program.output.splitlines() if any(name in line for name in LINKS)]
        assert len(said) == 1
        assert json.loads(said[0])["level"] == "debug"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_it_listens_on_ipv6(tmp_path: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    with running(tmp_path, "--redis-url", "memory://", "--role", "api", "--host", host) as program:
        assert program.api.startswith("http://[::1]:")
        assert program.metrics.startswith("http://[::1]:")
        assert program.request("/queues")[0] == 200


@pytest.mark.parametrize("environ", [{"PYTHONOPTIMIZE": "2"}, C_LOCALE], ids=["optimized", "c-locale"])
def test_it_works_there(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "taskqueue.toml").write_text('default_task = "shout"  # größer\n', encoding="utf-8")
    (tmp_path / "mine").mkdir()
    text = 'from taskqueue import task\n@task\ndef shout(text: str) -> str:\n    """Größer."""\n    return text.upper()\n'
    (tmp_path / "mine" / "loud.py").write_text(text, encoding="utf-8")

    with running(tmp_path, "--handlers", str(tmp_path / "mine"), environ=environ) as program:
        answer = program.request("/tasks?wait=10", {"payload": "größer"})[1]
        assert (answer["state"], answer["result"]) == ("succeeded", "GRÖSSER")
        for path in ("/readyz", "/openapi.json", "/handlers", "/queues"):
            assert program.request(path)[0] == 200
        assert program.stop() == 0
