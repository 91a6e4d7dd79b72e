"""Frozen settings: every option once, with its flag, its environment twin, its default and its unit in its name.

A value comes from the first of: flag, ``TASKQUEUE_*`` variable (or the file that ``TASKQUEUE_*_FILE`` names),
``taskqueue.toml``, default. ``REDIS_URL`` also counts for ``--redis-url``, after its own variable.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _taskqueue.domain.durability import Durability
from _taskqueue.domain.durations import parse_duration, parse_size
from _taskqueue.domain.errors import UsageError
from _taskqueue.domain.task import QUEUE_NAME, QUEUE_NAME_RULE, TASK_NAME, TASK_NAME_RULE

ENV_PREFIX = "TASKQUEUE_"
CONFIG_FILE = "taskqueue.toml"
CLIENT_VARIABLES = frozenset({"TASKQUEUE_API_URL", "TASKQUEUE_API_TOKEN"})
"""Meant for the Python client, which often shares an environment with a worker."""
SHARED_STORE_DEFAULT = "redis://localhost:6379/0"
WEIGHT_MAX = 1_000
RATE_MAX = 1_000_000
TOKEN_SCOPES = ("read", "submit", "operate", "admin")
SECRET_CHARS_MIN = 16
_TOKEN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
ROLES = ("all", "api", "worker", "scheduler")
_LINK = re.compile(r"TASKQUEUE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII)
_LINKED = re.compile(r"(tcp|udp|sctp)://", re.ASCII)
STRICT_HEAD_START_MS = 10**13
"""A head start no waiting time can make up for (300 years), yet exact in a double for all ten priorities."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """A token: its name, what it may do, and the SHA-256 of its secret, which is kept nowhere else."""

    name: str
    scopes: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What one process does. Times end in ``_s`` (seconds), sizes in ``_bytes``, counts in ``_max``."""

    roles: frozenset[str]
    """of api, worker, scheduler"""
    host: str
    port: int
    metrics_host: str
    metrics_port: int
    redis_url: str | None
    """None: the embedded store"""
    namespace: str
    data_dir: Path
    fsync: str
    durability: Durability
    handlers: tuple[str, ...]
    default_task: str
    queues: tuple[tuple[str, float], ...]
    """(queue, weight); empty: every queue"""
    concurrency: int
    threads: int
    processes: int
    drain_timeout_s: float
    lease_s: float
    stall_limit_s: float
    on_block: str
    max_crashes: int
    head_start_ms: int
    payload_bytes_max: int
    result_bytes_max: int
    retain_succeeded_s: float
    retain_failed_s: float
    retain_max: int
    log_level: str
    log_format: str
    log_tasks: str
    tokens: tuple[TokenTerms, ...]
    rate_limit_s: float
    """requests a second for each token or address; 0: no limit"""
    allowed_hosts: frozenset[str]
    cors_origins: frozenset[str]
    strict_tasks: bool


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as a user meets it."""

    name: str
    """``drain-timeout``: the flag without dashes; the variable and the file key follow from it"""
    default: str | None
    parse: Callable[[str], Any]
    help: str
    field: str
    repeatable: bool = False

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.replace("-", "_").upper()

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what to say about where they came from."""

    settings: Settings
    sources: Mapping[str, str]
    """option name → flag, environment, file or default"""
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """what only somebody who looks for it wants to know"""


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return parse


def _durability(text: str) -> Durability:
    return Durability(_one_of(*Durability)(text))


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isascii() or not text.strip().isdigit() or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _duration(low: str, high: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if not parse_duration(low) <= seconds <= parse_duration(high):
            raise ValueError(f"{text!r} is not between {low} and {high}")
        return seconds

    return parse


def _bytes(low: str, high: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        size = parse_size(text)
        if not parse_size(low) <= size <= parse_size(high):
            raise ValueError(f"{text!r} is not between {low} and {high}")
        return size

    return parse


def _roles(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ROLES:
            raise ValueError(f"{name!r} is no role; choose from {', '.join(ROLES)}, or several with commas")
    if "all" in names:
        return frozenset({"api", "worker", "scheduler"})
    return frozenset(names) | ({"scheduler"} if "worker" in names else set())


def parse_queues(text: str) -> tuple[tuple[str, float], ...]:
    """``"default,emails=5"`` → ``(("default", 1.0), ("emails", 5.0))``. Raises ValueError."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = part.partition("=")
        if not QUEUE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no queue name; use {QUEUE_NAME_RULE}")
        if weight and not (weight.isdigit() and 1 <= int(weight) <= WEIGHT_MAX):
            raise ValueError(f"{part!r} has no weight from 1 to {WEIGHT_MAX}")
        found[name] = float(weight or 1)
    return tuple(found.items())


def _namespace(text: str) -> str:
    if not QUEUE_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no namespace; use {QUEUE_NAME_RULE}")
    return text


def _task_name(text: str) -> str:
    if text and not TASK_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no task name; use {TASK_NAME_RULE}")
    return text


def _head_start(text: str) -> int:
    if text.strip().lower() == "inf":
        return STRICT_HEAD_START_MS
    return int(_duration("0s", "30d")(text) * 1000)


def parse_tokens(text: str) -> tuple[TokenTerms, ...]:
    """``name:scope[+scope]:secret`` divided by commas or lines. Raises ValueError, which never holds a secret."""
    found: list[TokenTerms] = []
    for part in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        name, _, rest = part.partition(":")
        scopes, _, secret = rest.partition(":")
        if not _TOKEN_NAME.fullmatch(name):
            raise ValueError(f"token {len(found) + 1} must read name:scope:secret, its name 1 to 64 letters, digits, _ . -")
        if not rest or not secret:
            raise ValueError(f"token {len(found) + 1} must read name:scope:secret")
        if set(scopes.split("+")) - set(TOKEN_SCOPES):
            raise ValueError(f"token {len(found) + 1}: the scope must be of {', '.join(TOKEN_SCOPES)}, several with +")
        if len(secret) < SECRET_CHARS_MIN:
            raise ValueError(f"token {len(found) + 1}: the secret must have at least {SECRET_CHARS_MIN} characters")
        found.append(token_terms(name, tuple(scopes.split("+")), secret))
    if len({token.name for token in found}) != len(found):
        raise ValueError("each token needs a name of its own")
    return tuple(found)


def token_terms(name: str, scopes: tuple[str, ...], secret: str) -> TokenTerms:
    """A token, its secret hashed."""
    return TokenTerms(name, scopes, hashlib.sha256(secret.encode()).hexdigest())


def _rate(text: str) -> float:
    number = text.strip().removesuffix("/s")
    if not number.isascii() or not number.isdigit() or not 0 <= int(number) <= RATE_MAX:
        raise ValueError(f"{text!r} is not a whole number of requests a second up to {RATE_MAX}")
    return float(number)


def _hosts(text: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


def _origins(text: str) -> frozenset[str]:
    found = _hosts(text)
    for origin in found:
        if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", origin):
            raise ValueError(f"{origin!r} is no origin; write it as https://example.com, without a path")
    return found


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _host(text: str) -> str:
    """``[::1]`` is how URLs write the address ``::1``."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _text(text: str) -> str:
    return text


OPTIONS: tuple[Option, ...] = (
    Option("role", "all", _roles, "what this process does: all, api, worker (with scheduler), scheduler; several with commas", "roles"),
    Option("host", "127.0.0.1", _host, "address the API listens on", "host"),
    Option("port", "8080", _whole(0, 65535), "port of the API; 0 takes a free one", "port"),
    Option("metrics-host", None, _host, "address of /metrics (default: that of the API)", "metrics_host"),
    Option("metrics-port", "2112", _whole(0, 65535), "port of /metrics; 0 takes a free one", "metrics_port"),
    Option("redis-url", None, _text, "shared store (default: embedded for role all, else redis://localhost:6379/0)", "redis_url"),
    Option("namespace", "taskqueue", _namespace, "first part of every key in the store", "namespace"),
    Option("data-dir", "./.taskqueue", Path, "where the embedded store keeps its data", "data_dir"),
    Option("fsync", "everysec", _one_of("everysec", "always"), "when the embedded store writes to disk: everysec, always", "fsync"),
    Option("durability", "primary", _durability, "what a submission waits for: primary (the store), disk, replica", "durability"),
    Option("handlers", "handlers", _text, "folder or dotted module with your tasks; repeatable", "handlers", repeatable=True),
    Option("default-task", "", _task_name, "task for submissions that name none (default: the only handler, else echo)", "default_task"),
    Option("queues", "", parse_queues, "queues to serve, with weights: default,emails=5 (default: every queue)", "queues"),
    Option("concurrency", "100", _whole(1, 10_000), "how many tasks run at once in this process", "concurrency"),
    Option("threads", "16", _whole(1, 1_000), "threads for handlers that are plain functions", "threads"),
    Option("processes", "2", _whole(1, 256), "processes for handlers with process=True", "processes"),
    Option("drain-timeout", "25s", _duration("0s", "1d"), "how long running tasks may finish at shutdown", "drain_timeout_s"),
    Option("lease", "30s", _duration("1s", "1h"), "how long a silent worker keeps its tasks", "lease_s"),
    Option("stall-limit", "60s", _duration("1s", "1d"), "how long handlers may block the event loop", "stall_limit_s"),
    Option("blocking-handlers", "warn", _one_of("warn", "thread"), "what those get that block it: warn, thread (from then on)", "on_block"),
    Option("max-crashes", "3", _whole(1, 100), "lost workers before a task is dead as poison", "max_crashes"),
    Option("head-start", "60s", _head_start, "head start of each priority level; inf makes priorities strict", "head_start_ms"),
    Option("max-payload", "1MiB", _bytes("1", "64MiB"), "largest payload of a task", "payload_bytes_max"),
    Option("max-result", "1MiB", _bytes("1", "64MiB"), "largest result or checkpoint of a task", "result_bytes_max"),
    Option("retain-succeeded", "1d", _duration("0s", "3650d"), "how long succeeded tasks are kept", "retain_succeeded_s"),
    Option("retain-failed", "30d", _duration("0s", "3650d"), "how long dead, cancelled and expired tasks are kept", "retain_failed_s"),
    Option("retain-max", "100000", _whole(0, 100_000_000), "how many finished tasks of one state a queue keeps", "retain_max"),
    Option("log-level", "info", _one_of("debug", "info", "warning", "error"), "debug, info, warning, error", "log_level"),
    Option("log-format", "auto", _one_of("auto", "json", "console"), "auto (console on a terminal), json, console", "log_format"),
    Option("log-tasks", "finish", _one_of("errors", "finish", "all"), "log errors, finish (each end), all (starts too)", "log_tasks"),
    Option("tokens", "", parse_tokens, "who may use the API: name:scope:secret, …; scopes read, submit, operate, admin", "tokens"),
    Option("rate-limit", "0", _rate, "requests a second for each token or address; 0 sets no limit", "rate_limit_s"),
    Option("allowed-hosts", "", _hosts, "names this server may be called by, besides addresses and localhost", "allowed_hosts"),
    Option("cors-origins", "", _origins, "sites whose pages may call the API: https://example.com, …", "cors_origins"),
    Option("strict-tasks", "off", _switch, "on refuses tasks that no live worker knows", "strict_tasks"),
)  # fmt: skip


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Loaded:
    """Put the settings together.

    Args:
        flags: option name → text (or list of texts), as given on the command line; absent or None where not given.
        environ: the environment.
        config: the settings file; None looks for ``taskqueue.toml`` in the working folder.

    Raises:
        UsageError: a value that does not fit; names the option, where it came from, and the rule.
    """
    links = _service_links(environ)
    environ = {name: text for name, text in environ.items() if name not in links}
    file = _read_file(config)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        text, sources[option.name] = _find(option, flags, environ, file)
        values[option.field] = _parse(option, text, sources[option.name])
    values["metrics_host"] = values["metrics_host"] or values["host"]
    values["redis_url"] = _store_url(values)
    notes = (f"service links of Kubernetes count as not given: {', '.join(links)}",) if links else ()
    return Loaded(Settings(**values), sources, tuple(_unknown_variables(environ)), notes)


def show_settings(settings: Settings) -> dict[str, Any]:
    """Every setting by its name, without secrets: of tokens only names and scopes, of URLs no credentials."""
    shown: dict[str, Any] = {}
    for option in OPTIONS:
        value = getattr(settings, option.field)
        if option.name == "tokens":
            value = [f"{token.name}:{'+'.join(token.scopes)}" for token in settings.tokens]
        elif option.name == "redis-url":
            value = _without_credentials(value) if value else None
        elif isinstance(value, frozenset):
            value = sorted(value)
        elif isinstance(value, Path):
            value = str(value)
        shown[option.name] = value
    return shown


def _without_credentials(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _store_url(values: Mapping[str, Any]) -> str | None:
    whole = {"api", "worker", "scheduler"} <= values["roles"]
    return values["redis_url"] or (None if whole else SHARED_STORE_DEFAULT)


def _find(option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], file: Mapping[str, Any]) -> tuple[Any, str]:
    if flags.get(option.name) is not None:
        return flags[option.name], option.flag
    if option.variable in environ:
        return environ[option.variable], option.variable
    if secret := environ.get(option.variable + "_FILE"):
        return _read_secret(secret, option), option.variable + "_FILE"
    if option.name == "redis-url" and environ.get("REDIS_URL"):
        return environ["REDIS_URL"], "REDIS_URL"
    if option.key in file:
        return file[option.key], CONFIG_FILE
    return option.default, "default"


def _parse(option: Option, value: Any, source: str) -> Any:
    try:
        if option.repeatable:
            texts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{value!r} is no text and no list of texts")
            return tuple(map(option.parse, texts))
        if value is None:
            return None
        if isinstance(value, list):
            value = ",".join(map(_as_text, value))
        return option.parse(_as_text(value))
    except ValueError as error:
        raise UsageError(f"{option.flag} (from {source}): {error}") from None


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is neither a text nor a number")
    return str(value)


def _read_secret(path: str, option: Option) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option.variable}_FILE: cannot read {path}: {error}") from None


def _read_file(config: Path | None) -> Mapping[str, Any]:
    path = config or Path(CONFIG_FILE)
    if config is None and not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    known = [option.key for option in OPTIONS]
    for key in found:
        if key not in known:
            raise UsageError(f"{path}: unknown setting {key!r}{_did_you_mean(key, known)}")
    return found


def _service_links(environ: Mapping[str, str]) -> list[str]:
    """Kubernetes tells each pod of every Service of its namespace (kubernetes.io, "Environment variables" of Services): one
    named ``taskqueue`` comes as ``TASKQUEUE_PORT=tcp://10.96.0.12:8080`` and more.
    """
    return sorted(
        name
        for name, text in environ.items()
        if _LINK.fullmatch(name) or (name.startswith(ENV_PREFIX) and name.endswith("_PORT") and _LINKED.match(text))
    )


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = [option.variable for option in OPTIONS]
    both = {*known, *(name + "_FILE" for name in known), *CLIENT_VARIABLES}
    strange = sorted(name for name in environ if name.startswith(ENV_PREFIX) and name not in both)
    return [f"{name} is no setting and is ignored{_did_you_mean(name, known)}" for name in strange]


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
