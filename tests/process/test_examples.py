"""The handlers that ship, on real input."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.program import ROOT, Program, running

PAGE = b"<html>hello</html>"


class Pages(http.server.BaseHTTPRequestHandler):
    """One page; everything else is gone."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/page" else 404)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("examples")
    with running(folder, "--handlers", str(ROOT / "handlers"), "--data-dir", str(folder / "data")) as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch_hash_hashes_a_page(program: Program, site: str) -> None:
    _, task = program.request("/tasks?wait=10", {"task": "fetch_hash", "payload": f"{site}/page"})

    assert task["state"] == "succeeded", task["error"]
    assert task["result"]["sha256"] == hashlib.sha256(PAGE).hexdigest()


def test_fetch_hash_gives_up_on_a_page_that_is_gone(program: Program, site: str) -> None:
    _, task = program.request("/tasks?wait=10", {"task": "fetch_hash", "payload": f"{site}/gone"})

    assert (task["state"], task["reason"], len(task["attempts"])) == ("dead", "discarded", 1)
    assert "answers 404" in task["error"]["message"]


def test_thumbnail_shrinks_a_picture_in_a_process(program: Program, tmp_path: Path) -> None:
    source, target = tmp_path / "large.png", tmp_path / "small.png"
    Image.new("RGB", (800, 400), "teal").save(source)

    _, task = program.request(
        "/tasks?wait=20", {"task": "thumbnail", "payload": {"source": str(source), "target": str(target), "width": 100}}
    )

    assert task["state"] == "succeeded", task["error"]
    with Image.open(target) as small:
        assert small.size == (100, 50)


def test_thumbnail_of_nothing_is_discarded_with_the_reason(program: Program) -> None:
    _, task = program.request("/tasks?wait=20", {"task": "thumbnail", "payload": {"source": "/no/such.png", "target": "x.png"}})

    assert (task["state"], task["reason"]) == ("dead", "discarded")
    assert "/no/such.png" in task["error"]["message"]


def test_word_count_counts(program: Program) -> None:
    _, task = program.request("/tasks?wait=10", {"task": "word_count", "payload": "To be or not to be"})

    assert task["result"] == {"words": 6, "different": 4, "top": [["to", 2], ["be", 2], ["or", 1], ["not", 1]]}


def test_flaky_succeeds_after_its_failures(program: Program) -> None:
    _, task = program.request("/tasks?wait=15", {"task": "flaky", "payload": {"failures": 2}, "backoff": {"base": 0.01}})

    assert task["result"] == "succeeded in attempt 3"
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["error", "error"]


def test_count_up_reports_its_progress(program: Program) -> None:
    _, task = program.request("/tasks?wait=10", {"task": "count_up", "payload": {"steps": 3, "pause": 0.01}})

    assert (task["result"], task["progress"]["done"]) == (3, 3)
