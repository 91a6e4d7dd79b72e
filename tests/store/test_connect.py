"""Store URLs: which are understood, how bad ones are refused, and that passwords are never shown."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.address import Address, hide_password, read_address
from _taskqueue.store.connect import SOCKET_TIMEOUT_S, Connector
from _taskqueue.store.engines import find_servers
from tests.conftest import start_server

pytestmark = pytest.mark.anyio

NOBODY = {"username": None, "password": None}
ME = {"username": "me", "password": "s@c:r/t#"}
LOGIN = "me:s%40c%3Ar%2Ft%23@"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", Address("redis", (("localhost", 6379),), login=NOBODY)),
        ("redis://:6380/3", Address("redis", (("localhost", 6380),), database=3, login=NOBODY)),
        ("redis://localhost:6379/0", Address("redis", (("localhost", 6379),), login=NOBODY)),
        ("redis://[::1]:6380/1", Address("redis", (("::1", 6380),), database=1, login=NOBODY)),
        ("redis://[fe80::1%25lo]", Address("redis", (("fe80::1%lo", 6379),), login=NOBODY)),
        (f"rediss://{LOGIN}host.example/2", Address("rediss", (("host.example", 6379),), database=2, login=ME)),
        ("redis://:a@b:c@host", Address("redis", (("host", 6379),), login={"username": None, "password": "a@b:c"})),
        ("redis://host?db=4&client_name=shop", Address("redis", (("host", 6379),), "", "", 4, NOBODY, {"client_name": "shop"})),
        ("redis://host?username=me&password=x%20y", Address("redis", (("host", 6379),), login={"username": "me", "password": "x y"})),
        ("redis://host?socket_timeout=2.5", Address("redis", (("host", 6379),), "", "", 0, NOBODY, {"socket_timeout": 2.5})),
        ("rediss://host?ssl_cert_reqs=none", Address("rediss", (("host", 6379),), "", "", 0, NOBODY, {"ssl_cert_reqs": "none"})),
        (
            "rediss://host?ssl_check_hostname=false",
            Address("rediss", (("host", 6379),), "", "", 0, NOBODY, {"ssl_check_hostname": False}),
        ),
        ("unix:///tmp/redis.sock", Address("unix", socket="/tmp/redis.sock", login=NOBODY)),  # noqa: S108 - a name
        ("unix:///my%23data/a@b:c d?db=2", Address("unix", socket="/my#data/a@b:c d", database=2, login=NOBODY)),
        ("unix:///d\u00e4t\udcff/redis.sock", Address("unix", socket="/d\u00e4t\udcff/redis.sock", login=NOBODY)),
        (f"unix://{LOGIN}/run/redis", Address("unix", socket="/run/redis", login=ME)),
        ("redis+sentinel://one:26379,two/queue", Address("redis+sentinel", (("one", 26379), ("two", 26379)), "", "queue", 0, NOBODY)),
        (f"redis+sentinel://{LOGIN}[::1]/queue/3", Address("redis+sentinel", (("::1", 26379),), "", "queue", 3, ME)),
        ("redis+sentinel://one/queue?db=5", Address("redis+sentinel", (("one", 26379),), "", "queue", 5, NOBODY)),
        (
            f"redis+cluster://{LOGIN}[::1]:7000,[2001:db8::2],three:7002/0",
            Address("redis+cluster", (("::1", 7000), ("2001:db8::2", 6379), ("three", 7002)), login=ME),
        ),
        ("memory://", Address("memory", login=NOBODY)),
    ],
)
def test_a_store_url_is_understood(url: str, expected: Address) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("localhost:6379", "is no store URL"),
        ("mysql://host", "redis://"),
        ("redis://host:port/0", "is no store URL"),
        ("redis://host:0", "port"),
        ("redis://host:65536", "port"),
        ("redis://::1:6379/0", r"\[::1\]:6379"),
        ("redis://[::g]:6379/0", "host"),
        ("redis://[127.0.0.1]", "host"),
        ("redis://one,two", "host"),
        ("redis://ho st", "space"),
        ("redis://host/zero", "database"),
        ("redis://host/-1", "database"),
        ("redis://host/1/2", "database"),
        ("redis://host/65536", "database"),
        ("redis://host/٣", "database"),
        ("redis://host?db=-1", "option db"),
        ("redis://host?db=", "option db"),
        ("redis://host/1?db=2", "twice"),
        ("redis://host?db=1&db=2", "db stands twice"),
        ("unix://tmp/redis.sock", "begins with /"),
        ("unix://", "begins with /"),
        ("redis+sentinel://one:26379", "service name"),
        ("redis+sentinel://one:26379/service/x", "service name"),
        ("redis+sentinel://me:12/34@one:26379", "not percent-encoded"),
        ("redis+sentinel://me:12/34:56", "not percent-encoded"),
        ("redis+cluster://one:x", "names a host wrongly"),
        ("redis+cluster://one:7000,", "names a host wrongly"),
        ("redis+cluster://one:7000/1", "no database but 0"),
        ("memory://somewhere", "nothing follows"),
    ],
)
def test_a_bad_url_is_refused_with_what_to_write(url: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        Connector(url)

    assert "\n" not in str(caught.value)


PLACES = ["redis://host", "rediss://host", "unix:///tmp/redis.sock", "redis+sentinel://one/queue", "redis+cluster://one:7000"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("timeout=5", "'timeout' is not known here; known are db,"),
        ("decode_responses=True", "'decode_responses' is not known"),
        ("connection_class=x", "'connection_class' is not known"),
        ("retry_on_timeout=yes", "'retry_on_timeout' is not known"),
        ("protocol=9", "'protocol' is not known"),
        ("%70assword=x", "'%70assword' is not known"),
        ("socket_timeout=0", "option socket_timeout must be a number of seconds from 0.1 to 30"),
        ("socket_timeout=-1", "option socket_timeout"),
        ("socket_timeout=1e3", "option socket_timeout"),
        ("socket_timeout=nan", "option socket_timeout"),
        ("socket_connect_timeout=86400", "option socket_connect_timeout"),
        ("client_name=a%20b", "option client_name"),
        ("ssl_cert_reqs=never", "option ssl_cert_reqs"),
        ("ssl_check_hostname=maybe", "option ssl_check_hostname"),
        ("ssl_ca_certs=/no/such/file", "option ssl_ca_certs"),
    ],
)
def test_an_option_that_is_unknown_or_unfit_is_named(place: str, option: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        Connector(f"{place}?{option}")

    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_of_tls_are_refused_without_it() -> None:
    with pytest.raises(UsageError, match="ssl_cert_reqs is for TLS; write rediss://"):
        Connector("redis://host?ssl_cert_reqs=none")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "mysql"])
@pytest.mark.parametrize("password", ["se#cret", "se/cret", "12/34", "se?cret", "12?cret=34", "se/c@r:et", "se#c?r/e@t", "se/cret:1"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(scheme: str, password: str) -> None:
    place = "/tmp/redis.sock" if scheme == "unix" else "host:6379/queue"  # noqa: S108 - a name
    with pytest.raises(UsageError) as caught:
        Connector(f"{scheme}://me:{password}@{place}")

    said = str(caught.value)
    assert f"{scheme}://me:***@{place}" in said
    assert scheme == "mysql" or "%40 for @" in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("redis://user:secret@host/0", "redis://user:***@host/0"),
        ("redis://us/er:sec@ret@host/0", "redis://us/er:***@host/0"),
        ("redis://host/0", "redis://host/0"),
        ("redis://host:6379?password=secret&db=1", "redis://host:6379?password=***&db=1"),
        ("rediss://host?ssl_password=secret", "rediss://host?ssl_password=***"),
        ("redis://:secret", "redis://:***"),
        ("redis://me:secret/0", "redis://me:***"),
        (":secret@host:6379", ":***@host:6379"),
        ("redis+cluster://one:7000,two:7001", "redis+cluster://one:7000,two:7001"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix:///tmp/a:b.sock", "unix:///tmp/a:b.sock"),
    ],
)
def test_a_password_is_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown


@pytest.fixture(scope="module")
def odd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of a server on ::1 and on a socket in a folder of an odd name, whose user has a password of odd characters."""
    folder = tmp_path_factory.mktemp("o#d?@f:lder")
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
            port = str(free.getsockname()[1])
    except OSError:
        pytest.skip("this machine has no IPv6")
    login = ("--user", "me", "on", f">{ME['password']}", "~*", "&*", "+@all")
    process, _ = start_server(find_servers()[0].path, folder, "--port", port, "--bind", "::1", *login)
    yield [f"redis://{LOGIN}[::1]:{port}/2?client_name=me", f"unix://{LOGIN}{quote(str(folder))}/redis.sock?db=2&client_name=me"]
    process.terminate()
    process.wait()


async def test_every_client_arrives_there_as_who_it_is(odd_server: list[str]) -> None:
    for url in odd_server:
        connector = Connector(url)
        clients = [connector.client(), connector.blocking_client()]
        said = [await client.execute_command(*command) for client in clients for command in (("ACL", "WHOAMI"), ("CLIENT", "INFO"))]
        thread = connector.thread_client()
        said += [thread.execute_command("ACL", "WHOAMI"), thread.execute_command("CLIENT", "INFO")]
        for client in clients:
            await client.aclose()
        thread.close()

        assert said[::2] == [b"me"] * 3
        assert all(" db=2 " in str(info) and " name=me " in str(info) for info in said[1::2])


@pytest.mark.parametrize("place", PLACES)
async def test_time_limits_of_the_url_hold(place: str) -> None:
    terms = Connector(f"{place}?socket_timeout=2&socket_connect_timeout=1")._terms(None)

    assert (terms["socket_timeout"], terms["socket_connect_timeout"]) == (2.0, 1.0)
    assert Connector(place)._terms(None)["socket_timeout"] == SOCKET_TIMEOUT_S
