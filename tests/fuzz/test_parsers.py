"""Whatever comes, a parser gives a value or the one error it is documented to raise; and what is written reads back."""

from __future__ import annotations

import base64
import contextlib
import math
import re
import string
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from _taskqueue.domain import ids
from _taskqueue.domain.durations import DURATION_MAX_S, parse_duration, parse_size
from _taskqueue.domain.errors import UsageError
from _taskqueue.domain.states import State
from _taskqueue.domain.task import Failure, FailureSample, Record, Submission, fault_of
from _taskqueue.filters import FILTERS, Filter, read_filter
from _taskqueue.settings import OPTIONS, load_settings, parse_queues, parse_tokens, show_settings
from _taskqueue.store import wire
from _taskqueue.store.browse import Position
from _taskqueue.terms import READERS, TIME_MAX_MS, TermsError, read_submission, read_time, unknown_fields
from _taskqueue.web.access import Access, Bucket, host_name, is_loopback
from _taskqueue.web.bodies import EditBody, OperationBody, QueueBody, RerunBody, RetryBody, SessionBody, SubmitBody
from _taskqueue.web.cursors import Cursors
from _taskqueue.web.idempotency import KEY_CHARS_MAX, read_key
from _taskqueue.web.problems import Problem
from _taskqueue.web.reading import read_payload, read_seconds, read_states
from _taskqueue.web.routing import UNREADABLE, read_body
from _taskqueue.web.shapes import show_time

pytestmark = pytest.mark.filterwarnings("ignore:Possible set difference:FutureWarning")  # of the pattern of tags

SOME = settings(max_examples=150, deadline=None)

SECRET = "S3cretS3cretS3cretS3cret"  # noqa: S105 - must not be seen

any_text = st.text(max_size=60)
near_duration = st.text("0123456789.smhdw -+eE_\u0660\u00b2\n", max_size=14)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
states = st.sampled_from([*State, "failing", "", ",", "DEAD", " dead"])
words = st.text(string.printable + "\u00e9\u65e5'\"\\:,", max_size=40)


def only(error: type[Exception], call: Callable[..., Any], *args: Any) -> Any:
    """The value of a call, or None when it raises this error; anything else passes through and fails the test."""
    try:
        return call(*args)
    except error as expected:
        assert str(expected)
        return None


# -- durations, sizes, times ------------------------------------------------------------------------------------------


@SOME
@given(st.one_of(any_text, near_duration, st.floats(), st.integers()))
@example("1" * 5_000)
@example(10**400)
@example("\u0661s")
def test_a_duration_is_a_finite_number_of_seconds_or_a_value_error(value: Any) -> None:
    seconds = only(ValueError, parse_duration, value)

    assert seconds is None or (0 <= seconds <= DURATION_MAX_S and math.isfinite(seconds))


@SOME
@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m", "h", "d", "w", ""]), st.sampled_from(["", " "]))
def test_a_duration_means_what_it_says(count: int, unit: str, gap: str) -> None:
    each = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}[unit]

    seconds = only(ValueError, parse_duration, f"{count}{gap}{unit}")

    assert seconds == (pytest.approx(count * each) if count * each <= DURATION_MAX_S else None)


@SOME
@given(st.one_of(any_text, st.text("0123456789kKmMgGiIbB ", max_size=12)))
def test_a_size_is_a_whole_number_of_bytes_or_a_value_error(text: str) -> None:
    size = only(ValueError, parse_size, text)

    assert size is None or (isinstance(size, int) and size >= 0)


@SOME
@given(st.one_of(json_values, st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", fullmatch=True)))
@example("9999-12-31T23:59:59-23:59")
@example("0001-01-01T00:00:00+23:59")
@example("2016-12-31T23:59:60Z")
@example("2030-02-30T00:00:00Z")
def test_a_time_is_within_the_years_that_can_be_shown_or_a_value_error(value: Any) -> None:
    ms = only(ValueError, read_time, value)

    assert ms is None or (0 <= ms <= TIME_MAX_MS and (not ms or show_time(ms)))


@SOME
@given(st.integers(1, 2**33 * 1000))  # from the year 2242 on a float of seconds cannot hold each millisecond
def test_a_time_that_is_shown_reads_back(ms: int) -> None:
    assert read_time(show_time(ms)) == ms


def test_a_time_may_be_written_in_small_letters() -> None:
    assert read_time("2030-01-31t08:00:00z") == read_time("2030-01-31T08:00:00Z")


# -- filters ----------------------------------------------------------------------------------------------------------


@SOME
@given(st.lists(st.tuples(st.one_of(st.sampled_from([*FILTERS, "q", "meta.k", "meta.", "word", ""]), any_text), words), max_size=6))
def test_filters_are_read_or_refused_by_name(fields: list[tuple[str, str]]) -> None:
    wanted = only(TermsError, read_filter, fields)

    assert wanted is None or (isinstance(wanted, Filter) and wanted.digest == read_filter(fields).digest)


@SOME
@given(st.one_of(words, st.text(max_size=1_100)))
@example('"')
@example("'")
@example("\\")
@example("state:")
@example(":")
@example("meta.:x")
@example("state:dead,")
@example("x" * 1_001)
def test_one_line_of_search_is_read_or_refused(line: str) -> None:
    wanted = only(TermsError, read_filter, [("q", line)])

    assert wanted is None or isinstance(wanted, Filter)


@SOME
@given(st.lists(st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True), min_size=1, max_size=4), st.lists(states, min_size=1, max_size=3))
def test_a_line_means_the_same_as_its_parameters(names: list[str], some: list[str]) -> None:
    line = f"queue:{','.join(names)} state:{','.join(some)}"
    assume(" " not in line.partition(" ")[2])

    by_line = only(TermsError, read_filter, [("q", line)])
    by_fields = only(TermsError, read_filter, [("queue", ",".join(names)), ("state", ",".join(some))])

    assert by_line == by_fields or ":" in line.split("state:")[1] or line.endswith("state:")


@SOME
@given(any_text)
def test_states_are_states_or_a_problem(text: str) -> None:
    found = only(Problem, read_states, "state", text)

    assert found is None or found <= set(State)


def test_digests_tell_filters_apart() -> None:
    lines = ["", "state:dead", "state:dead,retrying", "queue:dead", "tag:a", "meta.a:a", "dead", "error:a", "worker:a", "task:a"]

    assert len({read_filter([("q", line)]).digest for line in lines}) == len(lines)


# -- cursors ----------------------------------------------------------------------------------------------------------

filters = st.builds(
    Filter,
    states=st.lists(st.sampled_from(list(State)), max_size=2).map(tuple),
    tags=st.lists(any_text, max_size=2).map(tuple),
    words=st.lists(any_text, max_size=2).map(tuple),
)
positions = st.builds(Position, st.floats(allow_nan=False), any_text)


@SOME
@given(st.binary(min_size=1, max_size=40), filters, st.booleans(), positions)
def test_a_cursor_reads_back(secret: bytes, wanted: Filter, descending: bool, at: Position) -> None:
    cursors = Cursors(secret)

    text = cursors.write(wanted, descending, at)

    assert text is not None
    assert re.fullmatch("[A-Za-z0-9_-]+", text)
    assert cursors.read(text, wanted, descending) == at


@SOME
@given(filters, filters, st.booleans(), st.booleans(), positions)
def test_a_cursor_is_good_for_its_list_only(mine: Filter, other: Filter, up: bool, down: bool, at: Position) -> None:
    cursors = Cursors(b"secret")

    found = only(Problem, cursors.read, cursors.write(mine, up, at), other, down)

    assert found == (at if (mine, up) == (other, down) else None)


@SOME
@given(positions, st.data())
def test_a_cursor_that_was_tampered_with_is_refused(at: Position, data: Any) -> None:
    cursors = Cursors(b"secret")
    raw = bytearray(base64.urlsafe_b64decode((text := cursors.write(Filter(), True, at) or "") + "=" * (-len(text) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(Problem) as refused:
        cursors.read(base64.urlsafe_b64encode(raw).decode().rstrip("="), Filter(), True)

    assert (refused.value.status, refused.value.code) == (400, "cursor_mismatch")


@SOME
@given(st.one_of(any_text, st.text(string.ascii_letters + string.digits + "-_=", max_size=60)))
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    assume(text)

    with pytest.raises(Problem) as refused:
        Cursors(b"secret").read(text, Filter(), True)

    assert refused.value.code == "cursor_mismatch"


# -- ids --------------------------------------------------------------------------------------------------------------


@SOME
@given(st.one_of(any_text, st.text(ids.ALPHABET, min_size=26, max_size=26).map(lambda tail: "task" + tail)))
def test_an_id_names_a_route_or_none(text: str) -> None:
    route = ids.route_of(text)

    assert route is None or 0 <= route < ids.ROUTES_MAX


@SOME
@given(st.integers(0, 2**47), st.integers(1, ids.ROUTES_MAX - 1), st.binary(min_size=8, max_size=8))
def test_a_minted_id_names_its_route(ms: int, route: int, entropy: bytes) -> None:
    mint = ids.IdMint(lambda: ms, lambda count: (entropy * (count // 8 + 1))[:count])

    made = [mint.mint(route) for _ in range(5)]

    assert [ids.route_of(one) for one in made] == [route] * 5
    assert made == sorted(set(made))


# -- settings and tokens ----------------------------------------------------------------------------------------------


@SOME
@given(
    st.sampled_from(OPTIONS), st.one_of(any_text, near_duration, st.integers(), st.floats(), st.booleans(), st.lists(any_text, max_size=3))
)
def test_any_value_of_any_setting_is_taken_or_refused_by_name(option: Any, value: Any) -> None:
    try:
        loaded = load_settings({option.name: value}, {})
    except UsageError as error:
        assert option.flag in str(error)
    else:
        assert show_settings(loaded.settings)


@SOME
@given(any_text)
def test_queues_are_names_with_weights_or_a_value_error(text: str) -> None:
    found = only(ValueError, parse_queues, text)

    assert found is None or all(weight >= 1 for _, weight in found)


names = st.from_regex(r"[A-Za-z0-9_.-]{1,10}", fullmatch=True)
secrets = st.text(string.ascii_letters + string.digits + ":+-_=/", min_size=16, max_size=30)


@SOME
@given(
    st.dictionaries(
        names, st.tuples(st.lists(st.sampled_from(["read", "submit", "operate", "admin"]), min_size=1, max_size=3), secrets), max_size=4
    )
)
def test_tokens_read_back_without_their_secrets(tokens: dict[str, tuple[list[str], str]]) -> None:
    text = ", ".join(f"{name}:{'+'.join(scopes)}:{secret}" for name, (scopes, secret) in tokens.items())

    found = parse_tokens(text)

    assert {token.name: token.scopes for token in found} == {name: tuple(scopes) for name, (scopes, _) in tokens.items()}
    assert not [secret for _, secret in tokens.values() if secret in repr(found)]


@SOME
@given(st.text(string.ascii_letters + string.digits + "+:,\n ", max_size=60))
def test_tokens_are_read_or_refused(text: str) -> None:
    found = only(ValueError, parse_tokens, text)

    assert found is None or len({token.name for token in found}) == len(found)


@pytest.mark.parametrize("terms", ["shop:{}", "shop:admin:x,other:{}", "shop::{}", "shop:{}:admin", "bad name:admin:{}"])
def test_a_mistake_in_the_tokens_does_not_show_a_secret(terms: str) -> None:
    secret = SECRET

    with pytest.raises(ValueError) as refused:
        parse_tokens(terms.format(secret))

    assert secret not in str(refused.value)


def test_a_secret_without_a_name_is_not_shown() -> None:
    secret = SECRET

    with pytest.raises(ValueError) as refused:
        parse_tokens(secret)

    assert secret not in str(refused.value)


@SOME
@given(any_text)
def test_hosts_are_names(text: str) -> None:
    assert isinstance(host_name(text), str)
    assert isinstance(is_loopback(text), bool)


@SOME
@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_a_cookie_of_plain_letters_that_we_did_not_write_is_nobodys(value: str) -> None:
    access = Access(parse_tokens("me:admin:0123456789abcdef"), guarded=False, rate_s=0, hosts=None, secret=b"s")

    assert access._by_cookie(value).name == "nobody"


@pytest.mark.parametrize("value", ["me|1|\u00e9", "\u65e5||\u65e5", "me|\u00b2|\u00e9"])
def test_a_cookie_of_any_letters_that_we_did_not_write_is_nobodys(value: str) -> None:
    access = Access(parse_tokens("me:admin:0123456789abcdef"), guarded=False, rate_s=0, hosts=None, secret=b"s")

    assert access._by_cookie(value).name == "nobody"


@SOME
@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.floats(0, 10), max_size=40))
def test_a_bucket_gives_no_more_than_its_rate(rate: int, burst: int, pauses: list[float]) -> None:
    now = [0.0]
    bucket, given_ = Bucket(rate, burst, lambda: now[0]), 0
    for pause in pauses:
        now[0] += pause
        wait_s = bucket.take("me")
        given_ += not wait_s
        assert 0 <= wait_s <= 1 / rate + 1e-6

    assert given_ <= burst + rate * now[0] + 1e-6


# -- the Idempotency-Key ----------------------------------------------------------------------------------------------


@SOME
@given(st.text(max_size=300))
@example('"')
@example('""')
@example('"\\"')
@example('"\\\\"')
@example(" \t")
def test_a_key_is_plain_text_or_a_problem(text: str) -> None:
    key = only(Problem, read_key, text)

    assert key is None or (1 <= len(key) <= KEY_CHARS_MAX and key.isascii() and key.isprintable())


@SOME
@given(st.text(string.ascii_letters + string.digits + string.punctuation + " ", min_size=1, max_size=255))
def test_a_key_is_the_same_quoted_or_bare(key: str) -> None:
    assume(key == key.strip() and not key.startswith('"'))
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert read_key(key) == key
    if "\\" not in key:
        assert read_key(quoted) == key


def test_a_quoted_key_may_hold_backslashes() -> None:
    assert read_key(r'"a\\"') == "a\\"
    assert read_key(r'"a\\\"b"') == r"a\"b"


# -- bodies -----------------------------------------------------------------------------------------------------------


@SOME
@given(st.dictionaries(st.one_of(st.sampled_from(list(READERS)), any_text), json_values, max_size=6))
def test_any_fields_are_a_submission_or_named_one_by_one(fields: dict[str, Any]) -> None:
    try:
        found = read_submission(fields, b"x", True)
    except TermsError as error:
        assert {one.field for one in error.errors} <= set(READERS)
    else:
        assert isinstance(found, Submission)
        assert wire.decode_record(wire.encode(found.record)) == found.record
    assert {one.field for one in unknown_fields(fields)} == set(fields) - set(READERS) - {"payload"}


@SOME
@given(
    st.sampled_from([SubmitBody, RetryBody, RerunBody, EditBody, QueueBody, SessionBody, OperationBody]),
    st.one_of(st.binary(max_size=80), json_values.map(msgspec.json.encode)),
)
def test_any_body_is_read_or_a_problem(kind: Any, body: bytes) -> None:
    try:
        found = read_body(body, kind)
    except Problem as problem:
        assert problem.status in (400, 422)
        assert msgspec.json.encode(problem.document())
    else:
        assert isinstance(found, kind)


@SOME
@given(st.one_of(json_values.map(msgspec.json.encode), st.text(max_size=40).map(msgspec.json.encode)))
def test_a_payload_reads_back(raw: bytes) -> None:
    payload, is_text = read_payload(raw)

    assert is_text is raw.startswith(b'"')
    assert (msgspec.json.encode(payload.decode()) if is_text else payload) == raw


@SOME
@given(st.binary(max_size=60))
def test_a_payload_that_is_none_is_an_unreadable_one(raw: bytes) -> None:
    with contextlib.suppress(*UNREADABLE):
        read_payload(raw)


@SOME
@given(st.one_of(json_values, any_text, near_duration))
def test_seconds_are_a_number_or_a_problem(value: Any) -> None:
    assume(isinstance(value, (str, int, float)))

    found = only(Problem, read_seconds, "wait", value)

    assert found is None or 0 <= found <= DURATION_MAX_S


# -- what is stored ---------------------------------------------------------------------------------------------------


@SOME
@given(st.integers(0, 80_000).map(bytes), st.lists(any_text, max_size=3).map(tuple), st.dictionaries(names, any_text, max_size=3))
def test_a_record_whose_payload_was_cut_reads_back_but_for_its_end(payload: bytes, tags: tuple[str, ...], meta: dict[str, str]) -> None:
    record = Record("t", False, payload=payload, tags=tags, meta=meta)
    packed = wire.encode(record)

    found = wire.decode_cut(packed[: wire.CUT_BYTES], len(packed))

    assert msgspec.structs.replace(found, payload=b"") == msgspec.structs.replace(record, payload=b"")
    assert len(found.payload) == len(payload)
    kept = len(payload) - max(0, len(packed) - wire.CUT_BYTES)
    assert found.payload[:kept] == payload[:kept]


@SOME
@given(names, st.text(max_size=30), st.text(max_size=700))
def test_a_fault_is_a_fingerprint_and_a_sample_on_one_line(task: str, kind: str, message: str) -> None:
    assume(all(letter.encode(errors="replace") for letter in kind + message))

    print_, _, sample = fault_of(task, Failure(kind, message)).partition(" ")

    assert re.fullmatch("[0-9a-f]{12}", print_)
    assert "\n" not in sample
    assert msgspec.json.decode(sample, type=FailureSample) == FailureSample(task, kind, message[:500])
