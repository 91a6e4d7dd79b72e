"""Store URLs: which are understood, how bad ones are refused, and that passwords are never shown."""

from __future__ import annotations

import pytest

from _taskqueue.domain.errors import UsageError
from _taskqueue.store.connect import Connector, hide_password


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "rediss://user:secret@host/2",
        "unix:///tmp/redis.sock",
        "redis+sentinel://one:26379,two/service",
        "redis+sentinel://:secret@one:26379/service/3",
        "redis+cluster://one:7000,two:7001",
        "memory://",
    ],
)
def test_a_store_url_is_understood(url: str) -> None:
    assert "secret" not in Connector(url).shown


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("localhost:6379", "is no store URL"),
        ("mysql://host", "redis://"),
        ("redis://host:port/0", "is no store URL"),
        ("redis+sentinel://one:26379", "service name"),
        ("redis+sentinel://one:26379/service/x", "service name"),
        ("redis+cluster://one:x", "names a host wrongly"),
    ],
)
def test_a_bad_url_is_refused_with_what_to_write(url: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Connector(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("redis://user:secret@host/0", "redis://user:***@host/0"),
        ("redis://host/0", "redis://host/0"),
    ],
)
def test_a_password_is_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown
