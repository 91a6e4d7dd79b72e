"""The terms of a submission: each field good and bad, and all errors at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.task import Submission, Unique
from _taskqueue.terms import READERS, TermsError, read_submission, unknown_fields

SOON = datetime(2030, 1, 31, 8, tzinfo=UTC)


def read(fields: Mapping[str, Any]) -> Submission:
    """The submission of these fields with a payload that does not matter."""
    return read_submission(fields, b"hello", True)


@pytest.mark.parametrize(
    ("field", "value", "where", "expected"),
    [
        ("task", "img.resize:v2-x_1", "record.task", "img.resize:v2-x_1"),
        ("queue", "mails.eu-1_a", "queue", "mails.eu-1_a"),
        ("queue", "..a", "queue", "..a"),
        ("queue", "7", "queue", "7"),
        ("task", "_a", "record.task", "_a"),
        ("priority", 0, "record.priority", 0),
        ("priority", 9, "record.priority", 9),
        ("delay", 1.5, "delay_ms", 1_500),
        ("delay", 0, "delay_ms", 0),
        ("delay", "5m", "delay_ms", 300_000),
        ("run_at", SOON.isoformat(), "run_at_ms", round(SOON.timestamp() * 1000)),
        ("run_at", "2030-01-31T08:00:00Z", "run_at_ms", round(SOON.timestamp() * 1000)),
        ("run_at", "2030-01-31T10:00:00+02:00", "run_at_ms", round(SOON.timestamp() * 1000)),
        ("timeout", "2m", "record.timeout_s", 120.0),
        ("max_attempts", 1, "record.max_attempts", 1),
        ("max_attempts", 1000, "record.max_attempts", 1000),
        ("backoff", {"type": "constant", "base": 5}, "record.backoff", Backoff("constant", 5)),
        ("backoff", Backoff(base=3), "record.backoff", Backoff(base=3)),
        ("expires_in", "1h", "expires_in_ms", 3_600_000),
        ("expires_in", "1h", "record.expires_in_ms", 3_600_000),
        ("tags", ["a", "b", "a"], "record.tags", ("a", "b")),
        ("tags", [], "record.tags", ()),
        ("meta", {"trace": "x"}, "record.meta", {"trace": "x"}),
        ("run_at", "1969-12-31T23:59:59Z", "run_at_ms", 0),
        ("run_at", "9999-12-31T23:59:59-23:59", "run_at_ms", 253_402_300_799_999),
        ("unique", {"key": "a"}, "unique", Unique("a")),
        ("unique", {"key": "a", "ttl": "1m", "while": "ttl", "on_conflict": "reject"}, "unique", Unique("a", 60_000, "ttl", "reject")),
        ("unique", {"key": "a"}, "record.unique_key", "a"),
        ("unique", {"key": "a", "while": "ttl"}, "unique.ttl_ms", 3_600_000),
        ("batch_id", "night-1", "record.batch", "night-1"),
        ("retain", "1h", "retain_ms", 3_600_000),
    ],
)
def test_a_good_field_is_taken(field: str, value: Any, where: str, expected: Any) -> None:
    found: Any = read({field: value})

    for part in where.split("."):
        found = getattr(found, part)
    assert found == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", ""), ("task", "a b"), ("task", 5), ("task", "x" * 129), ("task", "é"), ("task", "a\n"),
        ("queue", ""), ("queue", "Mails"), ("queue", "a{b}"), ("queue", "q" * 65), ("queue", []),
        ("queue", "."), ("queue", ".."), ("queue", "_-"), ("queue", "a\n"), ("task", "."), ("task", "..:"), ("task", "_"),
        ("batch_id", "."),        ("batch_id", ".."), ("batch_id", ":"),
        ("priority", -1), ("priority", 10), ("priority", 1.5), ("priority", True), ("priority", "5"),
        ("delay", -1), ("delay", "soon"), ("delay", True), ("delay", []), ("delay", 10**10),
        pytest.param("delay", 10**400, id="delay-huge"), ("delay", float("nan")),
        ("run_at", "tomorrow"), ("run_at", "2030-01-31T08:00:00"), ("run_at", 5), ("run_at", "2999-13-01T00:00:00Z"),
        ("run_at", "20300131T080000Z"), ("run_at", "2030-W05-4T08:00:00Z"), ("run_at", "0001-01-01T00:00:00+25:00"),
        ("unique", "key"), ("unique", {}), ("unique", {"key": ""}), ("unique", {"key": "a", "ttl": 0}), ("unique", {"key": "a\n"}),
        ("unique", {"key": "a", "while": "no"}), ("unique", {"key": "a", "on_conflict": "no"}), ("unique", {"key": "a", "kee": 1}),
        ("batch_id", ""), ("batch_id", "a b"), ("batch_id", "x" * 65), ("batch_id", 5), ("retain", -1), ("retain", "long"),
        ("tags", ["a,b"]), ("tags", ["a\nb"]), ("meta", {"a": "x\0"}), ("meta", {"a b": "x"}),
        ("timeout", 0), ("timeout", "0s"), ("timeout", False), ("timeout", -1), ("timeout", {}),
        ("max_attempts", 0), ("max_attempts", 1001), ("max_attempts", "3"), ("max_attempts", True),
        ("backoff", {"bse": 1}), ("backoff", {"type": "linear"}), ("backoff", 5), ("backoff", {"factor": 0}),
        ("expires_in", 0), ("expires_in", -5), ("expires_in", "never"),
        ("tags", "a"), ("tags", ["a"] * 11), ("tags", [""]), ("tags", ["x" * 65]), ("tags", [1]), ("tags", {"a": 1}),
        ("meta", []), ("meta", {"a": 1}), ("meta", {"": "x"}), ("meta", {"k" * 65: "x"}), ("meta", {"a": "x" * 513}),
        ("meta", {str(number): "" for number in range(17)}), ("meta", {1: "x"}),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(TermsError) as caught:
        read({field: value})

    assert [(one.field, one.code) for one in caught.value.errors] == [(field, f"invalid_{field}")]
    assert caught.value.errors[0].detail


def test_every_field_has_a_good_and_a_bad_case_here() -> None:
    def fields_of(test: Any) -> set[str]:
        return {getattr(case, "values", case)[0] for mark in test.pytestmark for case in mark.args[1]}

    assert fields_of(test_a_good_field_is_taken) == set(READERS)
    assert fields_of(test_a_bad_field_is_refused_by_its_name) == set(READERS)


def test_all_bad_fields_are_reported_together() -> None:
    with pytest.raises(TermsError) as caught:
        read({"priority": 10, "queue": "A", "tags": "x", "delay": 5})

    assert [one.field for one in caught.value.errors] == ["priority", "queue", "tags"]
    assert all(name in str(caught.value) for name in ("priority", "queue", "tags"))


def test_delay_and_run_at_exclude_each_other() -> None:
    with pytest.raises(TermsError) as caught:
        read({"delay": 5, "run_at": SOON.isoformat()})

    assert [(one.field, one.code) for one in caught.value.errors] == [("run_at", "invalid_run_at")]
    assert "not both" in str(caught.value)


def test_a_null_field_counts_as_absent() -> None:
    assert read(dict.fromkeys(READERS)) == read({})


def test_absent_fields_leave_the_policy_to_the_handler() -> None:
    submission = read({})

    record = submission.record
    assert (record.task, record.payload, record.is_text, record.priority) == ("", b"hello", True, 5)
    assert (record.timeout_s, record.max_attempts, record.backoff, record.expires_in_ms) == (None, None, None, None)
    assert (submission.queue, submission.delay_ms, submission.run_at_ms, submission.expires_in_ms) == ("default", 0, None, None)


def test_the_queue_of_the_task_is_the_default() -> None:
    assert read_submission({}, b"", True, queue_default="mails").queue == "mails"
    assert read_submission({"queue": "other"}, b"", True, queue_default="mails").queue == "other"


@pytest.mark.parametrize(("wrong", "nearest"), [("priorty", "priority"), ("max_attempt", "max_attempts"), ("payloads", "payload")])
def test_an_unknown_field_names_its_nearest_neighbour(wrong: str, nearest: str) -> None:
    (error,) = unknown_fields([wrong])

    assert (error.field, error.code) == (wrong, "unknown_field")
    assert f"did you mean {nearest!r}" in error.detail


def test_an_unknown_field_like_no_other_lists_the_known_ones() -> None:
    (error,) = unknown_fields(["zzz"])

    assert all(name in error.detail for name in READERS)


def test_known_fields_are_not_reported() -> None:
    assert unknown_fields(["payload", *READERS]) == []
