"""Settings: where each value comes from, and what is said about a bad one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from _taskqueue.domain.errors import UsageError
from _taskqueue.settings import OPTIONS, SHARED_STORE_DEFAULT, STRICT_HEAD_START_MS, load_settings, parse_queues

Toml = Callable[[str], Path]


@pytest.fixture(autouse=True)
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toml:
    """A working folder of its own; writes its taskqueue.toml."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "taskqueue.toml"
        path.write_text(text)
        return path

    return write


def test_each_source_beats_the_next(toml: Toml, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1003\n")
    toml("port = 1004")
    flags, variable, file = {"port": "1001"}, {"TASKQUEUE_PORT": "1002"}, {"TASKQUEUE_PORT_FILE": str(secret)}

    found = [
        load_settings(flags, variable | file),
        load_settings({"port": None}, variable | file),
        load_settings({}, file),
        load_settings({}, {}),
    ]
    (tmp_path / "taskqueue.toml").unlink()
    found.append(load_settings({}, {}))

    assert [one.settings.port for one in found] == [1001, 1002, 1003, 1004, 8080]
    assert [one.sources["port"] for one in found] == ["--port", "TASKQUEUE_PORT", "TASKQUEUE_PORT_FILE", "taskqueue.toml", "default"]


def test_every_option_has_a_default_that_fits() -> None:
    loaded = load_settings({}, {})

    assert set(loaded.sources) == {option.name for option in OPTIONS}
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()


def test_redis_url_counts_after_its_own_variable_and_before_the_file(toml: Toml) -> None:
    toml('redis_url = "redis://file"')

    assert load_settings({}, {"REDIS_URL": "redis://common"}).settings.redis_url == "redis://common"
    assert load_settings({}, {"REDIS_URL": "redis://common"}).sources["redis-url"] == "REDIS_URL"
    both = {"REDIS_URL": "redis://common", "TASKQUEUE_REDIS_URL": "redis://own"}
    assert load_settings({}, both).settings.redis_url == "redis://own"
    assert load_settings({}, {}).settings.redis_url == "redis://file"
    assert load_settings({}, {"REDIS_URL": ""}).settings.redis_url == "redis://file"


@pytest.mark.parametrize(
    ("role", "url"), [("all", None), ("api,worker", None), ("api", SHARED_STORE_DEFAULT), ("worker", SHARED_STORE_DEFAULT),
                      ("scheduler", SHARED_STORE_DEFAULT)]
)  # fmt: skip
def test_only_a_whole_process_embeds_the_store(role: str, url: str | None) -> None:
    assert load_settings({"role": role}, {}).settings.redis_url == url


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("all", {"api", "worker", "scheduler"}),
        ("api", {"api"}),
        ("worker", {"worker", "scheduler"}),
        ("scheduler", {"scheduler"}),
        ("api, scheduler", {"api", "scheduler"}),
        ("api,all", {"api", "worker", "scheduler"}),
    ],
)
def test_a_worker_brings_the_scheduler(text: str, roles: set[str]) -> None:
    assert load_settings({"role": text}, {}).settings.roles == roles


def test_an_unknown_variable_warns_with_its_nearest_neighbour() -> None:
    (warning,) = load_settings({}, {"TASKQUEUE_CONCURENCY": "5", "PATH": "/bin"}).warnings

    assert "TASKQUEUE_CONCURENCY" in warning
    assert "did you mean 'TASKQUEUE_CONCURRENCY'" in warning


def test_known_variables_and_their_files_do_not_warn(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("redis://x")

    assert load_settings({}, {"TASKQUEUE_PORT": "1", "TASKQUEUE_REDIS_URL_FILE": str(tmp_path / "secret")}).warnings == ()


LINKS = {
    "TASKQUEUE_PORT": "tcp://10.96.0.12:8080", "TASKQUEUE_SERVICE_HOST": "10.96.0.12", "TASKQUEUE_SERVICE_PORT": "8080",
    "TASKQUEUE_SERVICE_PORT_HTTP": "8080", "TASKQUEUE_PORT_8080_TCP": "tcp://10.96.0.12:8080", "TASKQUEUE_PORT_8080_TCP_PROTO": "tcp",
    "TASKQUEUE_PORT_8080_TCP_PORT": "8080", "TASKQUEUE_PORT_8080_TCP_ADDR": "10.96.0.12",
    "TASKQUEUE_METRICS_PORT": "udp://[fd00::12]:2112", "TASKQUEUE_METRICS_SERVICE_HOST": "fd00::12",
    "TASKQUEUE_METRICS_PORT_2112_UDP_ADDR": "fd00::12", "TASKQUEUE_REDIS_PORT": "tcp://10.96.0.13:6379",
    "TASKQUEUE_REDIS_SERVICE_PORT_REDIS": "6379", "TASKQUEUE_REDIS_PORT_6379_SCTP_PROTO": "sctp",
}  # fmt: skip


def test_the_service_links_of_kubernetes_count_as_not_given(toml: Toml) -> None:
    toml("port = 1004")

    loaded = load_settings({}, LINKS)

    assert (loaded.settings.port, loaded.sources["port"], loaded.settings.metrics_port) == (1004, "taskqueue.toml", 2112)
    assert loaded.warnings == ()
    (note,) = loaded.notes
    assert all(name in note for name in LINKS)


def test_what_only_resembles_a_service_link_counts() -> None:
    loaded = load_settings({}, {"TASKQUEUE_PORT": "8081", "TASKQUEUE_SERVICE_HOSTS": "x", "TASKQUEUE_METRIC_PORT": "2113"})

    assert (loaded.settings.port, loaded.notes) == (8081, ())
    assert [warning.partition(" ")[0] for warning in loaded.warnings] == ["TASKQUEUE_METRIC_PORT", "TASKQUEUE_SERVICE_HOSTS"]
    with pytest.raises(UsageError, match=r"--port \(from --port\)"):
        load_settings({"port": "tcp://10.96.0.12:8080"}, {})


def test_an_unknown_key_in_the_file_is_an_error_that_names_the_nearest(toml: Toml) -> None:
    toml("concurency = 5")

    with pytest.raises(UsageError, match=r"unknown setting 'concurency'; did you mean 'concurrency'"):
        load_settings({}, {})


def test_a_file_that_is_no_toml_is_an_error_that_names_it(toml: Toml) -> None:
    toml("port = = 5")

    with pytest.raises(UsageError, match=r"taskqueue\.toml is not valid TOML"):
        load_settings({}, {})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the settings file"):
        load_settings({}, {}, tmp_path / "absent.toml")


def test_a_named_file_is_read_instead_of_the_one_in_the_folder(toml: Toml, tmp_path: Path) -> None:
    toml("port = 1")
    other = tmp_path / "other.toml"
    other.write_text("threads = 7")

    settings = load_settings({}, {}, other).settings

    assert (settings.port, settings.threads) == (8080, 7)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secret_file_that_cannot_be_read_is_an_error_that_names_the_variable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError, match="TASKQUEUE_REDIS_URL_FILE"):
        load_settings({}, {"TASKQUEUE_REDIS_URL_FILE": str(path)})


BAD = [
    ("role", "boss"), ("role", ""), ("port", "65536"), ("port", "-1"), ("port", "http"), ("port", "8e3"), ("port", "٣"), ("port", ""),
    ("metrics-port", "x"), ("namespace", "A"), ("namespace", ""), ("namespace", "a{b}"), ("namespace", ".."),
    ("queues", "mails,.."), ("default-task", "."), ("fsync", "never"), ("default-task", "a b"),
    ("queues", "Default"), ("queues", "a=0"), ("queues", "a=x"), ("queues", "a=1001"), ("concurrency", "0"), ("concurrency", "10001"),
    ("threads", "0"), ("processes", "257"), ("drain-timeout", "2d"), ("drain-timeout", "soon"), ("lease", "0s"), ("lease", "2h"),
    ("stall-limit", "10ms"), ("max-crashes", "0"), ("head-start", "31d"), ("head-start", "nan"), ("max-payload", "0"),
    ("max-payload", "65MiB"), ("max-payload", "much"), ("max-result", "1tb"), ("retain-succeeded", "-1s"), ("retain-failed", "4000d"),
    ("retain-max", "1.5"), ("log-level", "loud"), ("log-format", "xml"), ("log-tasks", "none"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_names_the_flag_and_its_source(name: str, text: str) -> None:
    variable = "TASKQUEUE_" + name.replace("-", "_").upper()

    with pytest.raises(UsageError) as by_flag:
        load_settings({name: text}, {})
    with pytest.raises(UsageError) as by_variable:
        load_settings({}, {variable: text})

    assert str(by_flag.value).startswith(f"--{name} (from --{name}): ")
    assert str(by_variable.value).startswith(f"--{name} (from {variable}): ")
    assert "\n" not in str(by_flag.value)


@pytest.mark.parametrize(
    ("line", "flag"),
    [("port = true", "--port"), ("port = 80.5", "--port"), ("host = {a = 1}", "--host"), ("lease = 2020-01-01", "--lease"),
     ("handlers = 5", "--handlers"), ("handlers = [1979-05-27]", "--handlers"), ("handlers = true", "--handlers")],
)  # fmt: skip
def test_a_bad_value_in_the_file_names_the_flag_and_the_file(toml: Toml, line: str, flag: str) -> None:
    toml(line)

    with pytest.raises(UsageError) as caught:
        load_settings({}, {})

    assert str(caught.value).startswith(f"{flag} (from taskqueue.toml): ")


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ({"head-start": "inf"}, "head_start_ms", STRICT_HEAD_START_MS),
        ({"head-start": "1m"}, "head_start_ms", 60_000),
        ({"max-payload": "2MiB"}, "payload_bytes_max", 2 << 20),
        ({"drain-timeout": "0s"}, "drain_timeout_s", 0.0),
        ({"handlers": ["a", "b"]}, "handlers", ("a", "b")),
        ({"queues": "default,mails=5"}, "queues", (("default", 1.0), ("mails", 5.0))),
        ({"host": "192.0.2.1"}, "metrics_host", "192.0.2.1"),
        ({"host": "192.0.2.1", "metrics-host": "::1"}, "metrics_host", "::1"),
        ({"host": "[::1]"}, "host", "::1"),
        ({"metrics-host": "[2001:db8::1]"}, "metrics_host", "2001:db8::1"),
    ],
)
def test_a_good_value_is_parsed(flags: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(load_settings(flags, {}).settings, field) == value


def test_lists_in_the_file_work_as_commas(toml: Toml) -> None:
    toml('queues = ["default", "mails=5"]\nhandlers = ["a", "b"]\nrole = ["api", "scheduler"]')

    settings = load_settings({}, {}).settings

    assert settings.queues == (("default", 1.0), ("mails", 5.0))
    assert settings.handlers == ("a", "b")
    assert settings.roles == {"api", "scheduler"}


def test_a_variable_may_name_several_handlers() -> None:
    assert load_settings({}, {"TASKQUEUE_HANDLERS": "a,b"}).settings.handlers == ("a", "b")


def test_no_queues_means_every_queue() -> None:
    assert parse_queues("") == ()
    assert parse_queues(" a , b=2 ,") == (("a", 1.0), ("b", 2.0))
