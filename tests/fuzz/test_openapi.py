"""The API is what its document says: requests made from the document, right and wrong ones, against the real program."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.program import Program, running

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning",  # of patterns in the document that schemathesis compiles its own way
    "ignore::DeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

EXAMPLES = 12
LIMIT_S = 10

ENDLESS = ["/events", "/tasks/{task_id}/logs"]
"""Answers that go on for as long as somebody listens."""
FINAL = ["/workers/{worker}/stop", "/workers/{worker}/quiet"]
"""They would end the test with the process."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The whole program, with some tasks to find."""
    with running(tmp_path_factory.mktemp("fuzz"), "--log-tasks", "errors") as found:
        yield found


@pytest.fixture(scope="module")
def known(program: Program) -> dict[str, str]:
    """Values of path parameters that lead somewhere."""
    _, answer = program.request("/tasks", {"payload": "x", "batch_id": "b", "delay": "1h", "tags": ["a"]})
    return {"task_id": answer["task_id"], "queue": "default", "batch_id": "b"}


@pytest.fixture(scope="module")
def document(program: Program) -> Any:
    """The document, as schemathesis reads it; everything is tried but what never ends and what ends the process."""
    found = schemathesis.openapi.from_url(program.api + "/openapi.json")
    for path in ENDLESS + FINAL:
        found = found.exclude(path=path)
    return found


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_one_that_the_document_describes(document: Any, known: dict[str, str], mode: str) -> None:
    faults = [_try_out(found.ok(), schemathesis.GenerationMode(mode), known) for found in document.get_all_operations()]

    assert len(faults) > 30
    assert not any(faults), "\n\n".join(filter(None, faults))


def _try_out(operation: Any, mode: Any, known: dict[str, str]) -> str:
    """Send some requests to one operation; gives what is wrong with the answers, or nothing."""

    checks = schemathesis.checks.CHECKS
    excluded = []
    if operation.path == "/tasks/batch":  # one wrong item refuses itself, not the batch
        excluded.append(checks.get_one("negative_data_rejection"))

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if mode is schemathesis.GenerationMode.POSITIVE:
            _vary(case, known)
        case.call_and_validate(timeout=LIMIT_S, excluded_checks=excluded)

    try:
        send()
    except Unsatisfiable:  # nothing is wrong for an operation that takes nothing
        return ""
    except (schemathesis.checks.FailureGroup, AssertionError) as fault:
        return f"{operation.method.upper()} {operation.path}: {fault} {getattr(fault, 'exceptions', '')}"
    return ""


def _vary(case: Any, known: dict[str, str]) -> None:
    """A key is used for one request; nobody waits for long; path parameters lead somewhere every second time."""
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = secrets.token_hex(8)
    for name in {"cursor", "strict"} & set(case.query or {}):  # no cursor is a right one; strict refuses what else is ignored
        del case.query[name]
    for name in {"wait", "min_interval"} & set(case.query or {}):
        case.query[name] = "0.01"
    for name, value in list((case.path_parameters or {}).items()):
        if name in known and len(str(value)) % 2:
            case.path_parameters[name] = known[name]


def test_nothing_failed_and_the_process_lives(program: Program) -> None:
    lines = [json.loads(line) for line in program.output.splitlines() if line.startswith("{")]

    assert program.process.poll() is None
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert _call(program, "GET", "/readyz")[0] == 200


def test_nothing_but_log_lines_is_printed(program: Program) -> None:
    assert [line for line in program.output.splitlines() if not line.startswith("{")] == []


def _call(program: Program, method: str, path: str, body: object = None) -> tuple[int, Any, bytes]:
    """Any method; gives status, headers and body."""
    request = urllib.request.Request(program.api + path, None if body is None else json.dumps(body).encode(), method=method)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
