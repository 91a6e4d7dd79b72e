"""Reads store URLs: strictly, since a part of a password that is not percent-encoded would be taken for a host.

    redis://user:password@host:port/db         rediss:// the same over TLS
    unix://user:password@/path/to/socket?db=1
    redis+sentinel://user:password@host:port,host:port/service/db
    redis+cluster://user:password@host:port,host:port
    memory://

An IPv6 address stands in brackets. Options follow as ``?name=value&name=value``; see OPTIONS and TLS_OPTIONS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_plus

from _taskqueue.domain.errors import UsageError

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "memory")
PORT_DEFAULT, PORT_SENTINEL = 6379, 26379
PORT_MAX = DATABASE_MAX = 65_535
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 0.1, 30.0
NAME_CHARS_MAX = 40

_HINT = "write {form}; odd characters of a password as %40 for @, %3A for :, %2F for /, %23 for #, %3F for ?"
_FORMS = {
    "unix": "unix://user:password@/path/to/socket?db=0",
    "redis+sentinel": "redis+sentinel://user:password@host:port,host:port/service/db",
    "redis+cluster": "redis+cluster://user:password@host:port,host:port",
    "memory": "memory://",
}
_HOST = re.compile(r"\w(?:[\w.-]*\w)?\.?")
_PASSWORD_OPTION = re.compile(r"([?&](?:ssl_)?password=)[^&]*")
_UNFINISHED = re.compile(r"(:)(?!\d{1,5}(?:[/?,]|$))[^/].*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is, and how to log in."""

    scheme: str
    nodes: tuple[tuple[str, int], ...] = ()
    """one of a plain server, several Sentinels or nodes of a Cluster"""
    socket: str = ""
    service: str = ""
    database: int = 0
    login: Mapping[str, str | None] = field(default_factory=dict)
    """username and password"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """arguments of redis-py's connections, checked"""


def hide_password(url: str) -> str:
    """The URL as it may be shown, whatever the password is made of."""
    scheme, separator, rest = url.rpartition("://") if "://" not in url else url.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    place = place if at else _UNFINISHED.sub(r"\1***", place) if not place.startswith(("/", "[")) else place
    return _PASSWORD_OPTION.sub(r"\1***", f"{scheme}{separator}{user}{':***' if colon else ''}{at}{place}")


def read_address(url: str) -> Address:
    """The parts of a store URL.

    Raises:
        UsageError: it is none, or holds what is not known here; one line that shows no password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise UsageError(f"{hide_password(url)!r} is no store URL; write one of " + ", ".join(f"{one}://" for one in SCHEMES))
    return _Reader(scheme, rest, hide_password(url)).read()


class _Reader:
    """Reads what follows the scheme."""

    def __init__(self, scheme: str, rest: str, shown: str) -> None:
        self._scheme, self._shown = scheme, shown
        self._place, _, self._query = rest.partition("?")
        self._authority, _, self._path = self._place.partition("/")
        self._rest = rest

    def read(self) -> Address:
        """The whole of it."""
        self._see_that_it_is_encoded()
        login, _, hosts = self._authority.rpartition("@")
        user, _, password = login.partition(":")
        nodes = self._nodes(hosts)
        options = self._options()
        path = unquote(self._path)
        given = {"username": unquote(user) or options.pop("username", None), "password": unquote(password) or options.pop("password", None)}
        service, database = self._target(path, options.pop("db", None))
        return Address(self._scheme, nodes, f"/{path}" if self._scheme == "unix" else "", service, database, given, options)

    def _refuse(self, why: str) -> NoReturn:
        form = _FORMS.get(self._scheme, f"{self._scheme}://user:password@host:port/db")
        raise UsageError(f"{self._shown!r} is no store URL: {why}; {_HINT.format(form=form)}")

    def _see_that_it_is_encoded(self) -> None:
        behind = "" if self._scheme == "unix" else self._path  # a socket may lie in any folder
        if "#" in self._rest or "@" in behind or ":" in behind or "@" in self._query:
            self._refuse("a # anywhere, an @ or : behind the host, is part of a password that is not percent-encoded")
        if self._scheme != "unix" and any(not letter.isprintable() or letter == " " for letter in self._rest):
            self._refuse("it holds a space or a control character")
        if self._scheme == "memory" and self._rest:
            self._refuse("nothing follows memory://")
        if self._scheme == "unix" and (self._authority.rpartition("@")[2] or not self._path):
            self._refuse("the path of a socket begins with /")

    def _nodes(self, hosts: str) -> tuple[tuple[str, int], ...]:
        if self._scheme in ("unix", "memory"):
            return ()
        if "+" in self._scheme:
            return tuple(map(self._node, hosts.split(",")))
        return (self._node(hosts if hosts and not hosts.startswith(":") else f"localhost{hosts}"),)

    def _node(self, text: str) -> tuple[str, int]:
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%25|%)?\w*)\]|([^:\[\]]*))(?::([0-9]{1,5}))?", text)
        if found is None:
            self._refuse("it names a host wrongly (write host:port, an IPv6 address as [::1]:6379)")
        six, name, port = found[1], unquote(found[2] or ""), found[3]
        if six is not None:
            name = unquote(six)
            if not _is_ipv6(name):
                self._refuse("it names a host wrongly: what stands in brackets is no IPv6 address")
        elif not _HOST.fullmatch(name):
            self._refuse("it names a host wrongly (letters, digits, . and -)")
        number = int(port) if port else PORT_SENTINEL if self._scheme == "redis+sentinel" else PORT_DEFAULT
        if not 1 <= number <= PORT_MAX:
            self._refuse(f"its port is not from 1 to {PORT_MAX}")
        return name, number

    def _target(self, path: str, chosen: int | None) -> tuple[str, int]:
        """The service of a Sentinel, and the database."""
        service, text = "", path.removesuffix("/")
        if self._scheme == "unix":
            return "", chosen or 0
        if self._scheme == "redis+sentinel":
            service, _, text = text.partition("/")
            if not service:
                self._refuse("it must end in the service name")
        if text and chosen is not None:
            self._refuse("it names the database twice")
        try:
            database = _database(text or "0") if chosen is None else chosen
        except ValueError as error:
            self._refuse(f"the database, behind the {'service name' if service else 'host'}, must be {error}")
        if database and self._scheme == "redis+cluster":
            self._refuse("a Cluster has no database but 0")
        return service, database

    def _options(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in filter(None, self._query.split("&")):
            name, _, text = part.partition("=")
            if name in found:
                self._refuse(f"the option {name} stands twice")
            read = OPTIONS.get(name) or TLS_OPTIONS.get(name)
            if read is None:
                known = ", ".join((*OPTIONS, *TLS_OPTIONS) if self._scheme == "rediss" else OPTIONS)
                raise UsageError(f"{self._shown!r}: the option {name[:NAME_CHARS_MAX]!r} is not known here; known are {known}")
            if name in TLS_OPTIONS and self._scheme != "rediss":
                raise UsageError(f"{self._shown!r}: the option {name} is for TLS; write rediss://, or leave it out")
            try:
                found[name] = read(unquote_plus(text))
            except ValueError as error:
                raise UsageError(f"{self._shown!r}: the option {name} must be {error}") from None
        return found


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > DATABASE_MAX:
        raise ValueError(f"a whole number from 0 to {DATABASE_MAX}")
    return int(text)


def _timeout(text: str) -> float:
    seconds = float(text) if re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text, re.ASCII) else 0.0
    if not TIMEOUT_MIN_S <= seconds <= TIMEOUT_MAX_S:
        raise ValueError(f"a number of seconds from {TIMEOUT_MIN_S:g} to {TIMEOUT_MAX_S:g}")
    return seconds


def _word(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,100}", text):
        raise ValueError("a word of up to 100 letters, digits and signs")
    return text


def _text(text: str) -> str:
    return text


def _switch(text: str) -> bool:
    switches = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in switches:
        raise ValueError("true or false")
    return switches[text.lower()]


def _requirement(text: str) -> str:
    if text not in ("none", "optional", "required"):
        raise ValueError("none, optional or required")
    return text


def _file(text: str) -> str:
    if not Path(text).exists():
        raise ValueError("the path of a file that is there")
    return text


OPTIONS: dict[str, Callable[[str], Any]] = {
    "db": _database,
    "username": _text,
    "password": _text,
    "client_name": _word,
    "socket_timeout": _timeout,
    "socket_connect_timeout": _timeout,
}
"""Option → its reader. Options that would change what answers look like, or how often a command is sent, are none."""
TLS_OPTIONS: dict[str, Callable[[str], Any]] = {
    "ssl_cert_reqs": _requirement,
    "ssl_check_hostname": _switch,
    "ssl_ca_certs": _file,
    "ssl_ca_path": _file,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": _text,
}
"""Of rediss:// alone."""
