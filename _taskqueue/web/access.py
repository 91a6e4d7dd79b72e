"""Who may do what: tokens with scopes, the generated token, the session of the browser, limits of rate.

Decision: bound to loopback and without tokens everything is open, but to what a proxy brings, which comes from anywhere:
that may do as much as what comes from beyond loopback. Bound beyond it without tokens, submitting and reading
one task by its id stay open (the contract has no credentials); the rest needs the token made at the first start. With
tokens configured their scopes apply to all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from _taskqueue.settings import TokenTerms
from _taskqueue.web.problems import Problem
from _taskqueue.web.routing import Route, Scope

COOKIE = "taskqueue_session"
SESSION_S = 7 * 24 * 3600
PEERS_MAX = 10_000
LOGINS_MAX, LOGINS_S = 10, 60.0
"""Failed credentials a minute that one address may send."""
PROBES = frozenset(("/livez", "/readyz"))
"""Asked by load balancers under any name or none (HTTP/1.0), and they show nothing."""
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")

_IMPLIED: dict[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.SUBMIT: frozenset({Scope.SUBMIT}),
    Scope.OPERATE: frozenset({Scope.READ, Scope.SUBMIT, Scope.OPERATE}),
    Scope.ADMIN: frozenset({Scope.READ, Scope.SUBMIT, Scope.OPERATE, Scope.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Visit:
    """What a request says of its sender."""

    host: str
    peer: str
    """the address that the connection came from"""
    authorization: str = ""
    cookie: str = ""
    """the value of the session cookie"""
    proxied: bool = False
    """a proxy says that it hands the request on"""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request."""

    name: str
    scopes: frozenset[Scope]


ANYBODY = Caller("anybody", _IMPLIED[Scope.ADMIN])
NOBODY = Caller("nobody", frozenset())
PROXIED = Caller("proxied", frozenset())
"""Anybody at all, though the address is loopback's."""

log = logging.getLogger("taskqueue.access")


class Bucket:
    """Tokens that refill with time, one bucket per key; the least recently seen key is forgotten first."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self.burst, self._clock = per_second, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one; gives 0, or the seconds until there is one again."""
        now = self._clock()
        level, at = self._levels.pop(key, (self.burst, now))
        level = min(self.burst, level + (now - at) * self._rate)
        wait_s = 0.0 if level >= 1 else (1 - level) / self._rate
        self._levels[key] = (level if wait_s else level - 1, now)
        if len(self._levels) > PEERS_MAX:
            self._levels.popitem(last=False)
        return wait_s


class Access:
    """Checks each request.

    Args:
        tokens: the configured ones, and the generated one.
        guarded: a token is needed for all but the contract, though none was configured.
        rate_s: requests a second for each token or address; 0 sets no limit.
        hosts: names that may stand in the Host header besides addresses and localhost; None takes any.
        secret: signs the sessions of browsers; the same in every replica.
    """

    def __init__(self, tokens: Sequence[TokenTerms], *, guarded: bool, rate_s: float, hosts: frozenset[str] | None, secret: bytes) -> None:
        self._tokens, self._guarded, self._hosts, self._secret = tokens, guarded, hosts, secret
        self._rates = Bucket(rate_s, max(1.0, rate_s)) if rate_s else None
        self._failures = Bucket(LOGINS_MAX / LOGINS_S, LOGINS_MAX)
        self._warned = False

    @property
    def open(self) -> bool:
        """Nobody needs a token for anything."""
        return not self._tokens

    def admit(self, found: Route, visit: Visit) -> Caller:
        """Who it is. Raises Problem for a wrong host, wrong credentials, too many requests, and a scope that is missing.

        Probes and pages, which need no scope, do not count against the rate.
        """
        if found.path not in PROBES:
            self._check_host(visit)
        caller = self._identify(visit)
        if found.scope is Scope.NONE:
            return caller
        self._check_rate(caller, visit)
        self._check_scope(found, caller)
        return caller

    def _check_scope(self, found: Route, caller: Caller) -> None:
        if found.scope in caller.scopes or (found.contract and self._contract_is_open(caller)):
            return
        if caller is NOBODY:
            problem = Problem(401, "unauthorized", "this needs a token: send Authorization: Bearer <token>")
            problem.headers["WWW-Authenticate"] = 'Bearer realm="taskqueue"'
            raise problem
        if caller is PROXIED:
            self._warn()
            raise Problem(
                403, "forbidden", "this came through a proxy and no tokens are set, so only submitting and reading one task are open; "
                "start with --tokens to admit more", scope=found.scope.value,
            )  # fmt: skip
        raise Problem(403, "forbidden", f"the token {caller.name!r} has no scope {found.scope.value!r}", scope=found.scope.value)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("requests come through a proxy and no tokens are set: all but submitting and reading a task by its id is refused")

    def _contract_is_open(self, caller: Caller) -> bool:
        return self._guarded or caller is PROXIED or Scope.SUBMIT in caller.scopes

    def _identify(self, visit: Visit) -> Caller:
        if self.open:
            return PROXIED if visit.proxied else ANYBODY
        given = secret_of(visit.authorization)
        if given is not None:
            return self._by_secret(given, visit.peer)
        return self._by_cookie(visit.cookie) if visit.cookie else NOBODY

    def _by_secret(self, secret: str, peer: str) -> Caller:
        digest = hashlib.sha256(secret.encode(errors="replace")).hexdigest()
        found: TokenTerms | None = None
        for token in self._tokens:  # all of them, so that the time tells nothing
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is not None:
            return _caller(found)
        if wait_s := self._failures.take(peer):
            raise Problem(429, "rate_limited", "too many wrong tokens from this address", retry_after_s=int(wait_s) + 1)
        problem = Problem(401, "unauthorized", "this token is not known")
        problem.headers["WWW-Authenticate"] = 'Bearer realm="taskqueue", error="invalid_token"'
        raise problem

    def sign_in(self, secret: str, peer: str) -> tuple[Caller, str]:
        """Exchange a token for the value of a session cookie. Raises Problem."""
        caller = ANYBODY if self.open else self._by_secret(secret, peer)
        ends = str(int(time.time()) + SESSION_S)
        return caller, f"{caller.name}|{ends}|{self._seal(caller.name, ends)}"

    def _by_cookie(self, value: str) -> Caller:
        name, _, rest = value.partition("|")
        ends, _, seal = rest.partition("|")
        good = hmac.compare_digest(seal.encode(), self._seal(name, ends).encode())
        if not good or not ends.isascii() or not ends.isdigit() or int(ends) < time.time():
            return NOBODY
        return next((_caller(token) for token in self._tokens if token.name == name), NOBODY)

    def _seal(self, name: str, ends: str) -> str:
        """Ends with the session, and with the token behind it."""
        digest = next((token.digest for token in self._tokens if token.name == name), "")
        return hmac.new(self._secret, f"{name}|{ends}|{digest}".encode(), "sha256").hexdigest()

    def _check_rate(self, caller: Caller, visit: Visit) -> None:
        if self._rates is None:
            return
        key = visit.peer if caller in (ANYBODY, NOBODY, PROXIED) else f"token {caller.name}"
        if wait_s := self._rates.take(key):
            problem = Problem(429, "rate_limited", "too many requests; slow down", retry_after_s=int(wait_s) + 1)
            problem.headers["RateLimit-Policy"] = f'"default";q={self._rates.burst:.0f};w=1'
            problem.headers["RateLimit"] = f'"default";r=0;t={int(wait_s) + 1}'
            raise problem

    def _check_host(self, visit: Visit) -> None:
        """A page whose name was re-bound to this machine's loopback address is a foreign page."""
        if self._hosts is None:
            return
        name = host_name(visit.host).lower()
        if name not in self._hosts and not _is_address(name):
            raise Problem(
                421, "wrong_host", f"this server is not called {name[:100]!r}; name it with --allowed-hosts to admit it"
            )  # fmt: skip


def _caller(token: TokenTerms) -> Caller:
    return Caller(token.name, frozenset().union(*(_IMPLIED[Scope(scope)] for scope in token.scopes)))


def is_proxied(headers: Any) -> bool:
    """Whether one of a request's headers is of a proxy."""
    return any(name in headers for name in PROXY_HEADERS)


def secret_of(authorization: str) -> str | None:
    """The token in an Authorization header: Bearer, or the password of Basic; None without one."""
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return None


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name if not rest or rest.startswith(":") else host
    return host.rpartition(":")[0] if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def new_token() -> str:
    """A fresh secret of 256 bits."""
    return f"tq_{secrets.token_urlsafe(32)}"


def cookie_header(value: str, *, secure: bool, age_s: int = SESSION_S) -> str:
    """The Set-Cookie header of a session."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar[COOKIE] = value
    except CookieError:  # pragma: no cover - names of tokens are plain
        jar[COOKIE] = ""
    morsel = jar[COOKIE]
    morsel["path"], morsel["max-age"], morsel["httponly"], morsel["samesite"] = "/", age_s, True, "Strict"
    if secure:
        morsel["secure"] = True
    return morsel.OutputString()
