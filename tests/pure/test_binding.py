"""From a payload to a handler's arguments, by five rules, and back."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import re
import threading
import zoneinfo
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _taskqueue.domain.errors import HandlerError, PayloadMismatch
from _taskqueue.tasks.binding import Signature, encode_json, read_signature
from _taskqueue.tasks.context import Context
from _taskqueue.tasks.mismatch import PayloadCheck


@dataclasses.dataclass
class Mail:
    """A plain type of a user."""

    to: str
    urgent: bool = False


class Point(msgspec.Struct):
    """A msgspec type of a user."""

    x: int
    y: int = 0


class Box(TypedDict):
    """A typed dict of a user."""

    width: int


class Model(pydantic.BaseModel):
    """A pydantic type of a user."""

    value: int = pydantic.Field(ge=0)


@dataclasses.dataclass
class Holder:
    """A plain type with what only pydantic and we know."""

    model: Model
    paths: list[pathlib.Path]


class Unknown:
    """What nothing makes of JSON."""


@dataclasses.dataclass
class WithUnknown:
    """It is inside."""

    one: list[Unknown]


@dataclasses.dataclass
class Equipped:
    """With a helper that no payload brings."""

    a: int
    helper: Unknown | None = None


class Exotic(Mapping[str, int]):
    """Abstract."""


def signature_of(function: Callable[..., Any]) -> Signature:
    return read_signature(function, "task f")


def bound(function: Callable[..., Any], payload: bytes, is_text: bool = False) -> dict[str, Any]:
    return signature_of(function).bind(payload, is_text)


def test_a_context_is_filled_wherever_it_stands() -> None:
    def last(text: str, ctx: Context) -> None: ...
    def first(ctx: Context, a: int, b: int) -> None: ...
    def alone(anything: Context) -> None: ...

    assert (signature_of(last).context, [one.name for one in signature_of(last).parameters]) == ("ctx", ["text"])
    assert (signature_of(first).context, [one.name for one in signature_of(first).parameters]) == ("ctx", ["a", "b"])
    assert (signature_of(alone).context, signature_of(alone).parameters) == ("anything", ())
    assert bound(alone, b"anything at all") == {}


@pytest.mark.parametrize("payload", [b"hello", b'{"a": 1}', b"[1", b"", b"5"])
def test_a_text_or_bytes_parameter_gets_the_payload_untouched(payload: bytes) -> None:
    def text(one: str) -> None: ...
    def raw(one: bytes) -> None: ...

    assert bound(text, payload) == {"one": payload.decode()}
    assert bound(raw, payload) == {"one": payload}


def test_bytes_may_be_anything_and_texts_must_be_utf_8() -> None:
    def text(one: str) -> None: ...
    def raw(one: bytes) -> None: ...

    assert bound(raw, b"\xff") == {"one": b"\xff"}
    with pytest.raises(PayloadMismatch, match="not UTF-8"):
        bound(text, b"\xff")


def test_one_typed_parameter_gets_the_whole_json_value() -> None:
    def number(n: int) -> None: ...
    def mail(mail: Mail) -> None: ...
    def point(p: Point) -> None: ...
    def box(b: Box) -> None: ...
    def many(items: list[int]) -> None: ...
    def any_object(data: dict[str, int]) -> None: ...
    def model(m: Model) -> None: ...

    assert bound(number, b"5") == {"n": 5}
    assert bound(mail, b'{"to": "a", "urgent": true}') == {"mail": Mail("a", True)}
    assert bound(point, b'{"x": 1}') == {"p": Point(1)}
    assert bound(box, b'{"width": 3}') == {"b": {"width": 3}}
    assert bound(many, b"[1, 2]") == {"items": [1, 2]}
    assert bound(any_object, b'{"data": 1}') == {"data": {"data": 1}}
    assert bound(model, b'{"value": 7}') == {"m": Model(value=7)}


def test_an_object_with_the_parameters_name_is_unwrapped_for_plain_types_only() -> None:
    def number(n: int) -> None: ...
    def many(items: list[int]) -> None: ...
    def point(p: Point) -> None: ...

    assert bound(number, b'{"n": 5}') == {"n": 5}
    assert bound(many, b'{"items": [1]}') == {"items": [1]}
    with pytest.raises(PayloadMismatch):
        bound(point, b'{"p": {"x": 1}}')
    with pytest.raises(PayloadMismatch):
        bound(number, b'{"n": 5, "m": 6}')


def test_an_object_without_the_only_parameter_leaves_its_default() -> None:
    def number(n: int = 3) -> int:
        return n

    assert number(**bound(number, b"{}")) == 3


def test_a_plain_text_converts_to_a_type_that_texts_can_have() -> None:
    def at(when: datetime) -> None: ...

    assert bound(at, b"2030-01-31T08:00:00Z", is_text=True) == {"when": datetime(2030, 1, 31, 8, tzinfo=UTC)}


def test_several_parameters_take_an_object_by_name() -> None:
    def several(a: int, b: str, c: float = 1.5) -> None: ...

    assert bound(several, b'{"b": "x", "a": 1}') == {"a": 1, "b": "x"}
    assert bound(several, b'{"b": "x", "a": 1, "c": 2}') == {"a": 1, "b": "x", "c": 2.0}


def test_a_default_may_stand_before_a_keyword_without_one() -> None:
    def several(a: int = 1, *, b: str) -> None: ...

    assert bound(several, b'{"b": "x"}') == {"b": "x"}


@pytest.mark.parametrize("payload", [b'{"a": 1}', b'{"a": "x", "b": "y"}', b'{"a": 1, "b": "x", "z": 0}', b"[1]", b"text", b"", b"\xff"])
def test_an_object_that_does_not_fit_is_a_mismatch(payload: bytes) -> None:
    def several(a: int, b: str) -> None: ...

    with pytest.raises(PayloadMismatch):
        bound(several, payload)


@pytest.mark.parametrize("payload", [b'"x"', b"1.5", b"[", b"", b"null", b"\xff"])
def test_a_value_that_does_not_fit_is_a_mismatch_that_names_the_parameter(payload: bytes) -> None:
    def number(count: int) -> None: ...

    with pytest.raises(PayloadMismatch, match="count"):
        bound(number, payload)


def test_a_model_that_refuses_is_a_mismatch() -> None:
    def model(m: Model) -> None: ...

    with pytest.raises(PayloadMismatch, match=r"^m: value: Input should be greater than or equal to 0$"):
        bound(model, b'{"value": "-1"}')


@pytest.mark.parametrize(("payload", "value"), [(b"5", 5), (b'{"a": 1}', {"a": 1}), (b"hello", "hello"), (b"", ""), (b"null", None)])
def test_an_unannotated_parameter_gets_json_if_it_parses_else_the_text(payload: bytes, value: Any) -> None:
    assert bound(lambda anything: None, payload) == {"anything": value}


def test_variable_and_positional_parameters_are_refused_at_declaration() -> None:
    def stars(*rest: int) -> None: ...
    def keywords(**rest: int) -> None: ...
    def positional(a: int, b: int, c: int, /) -> None: ...

    for function in (stars, keywords, positional):
        with pytest.raises(HandlerError, match="task f: parameter"):
            signature_of(function)


def test_one_positional_only_parameter_is_refused_or_can_be_called() -> None:
    def positional(a: int, /) -> int:
        return a

    try:
        signature = signature_of(positional)
    except HandlerError:
        return
    assert positional(**signature.bind(b"5", False)) == 5  # type: ignore[call-arg]


def declared(text: str) -> Signature:
    """The signature of ``f`` in a file of this text, whose imports for type checkers alone never ran."""
    names: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n{text}", names)  # noqa: S102 - the texts are those below
    return read_signature(names["f"], "task f")


@pytest.mark.parametrize(
    "text",
    [
        "def f(ctx: Context, name: str) -> Sequence[str]: ...",
        "def f(ctx: taskqueue.Context, name: str) -> 1 / 0: ...",
        "def f(ctx: tq.Context, name: str): ...",
        "def f(ctx: 'Context', name: str): ...",
        "def f(name: str, ctx: Context | None = None): ...",
        "from typing import Annotated, Optional\ndef f(name: str, ctx: Optional[Annotated[Context, 1]] = None): ...",
    ],
)
def test_only_parameters_are_evaluated_and_the_context_is_known_by_name(text: str) -> None:
    signature = declared(text)

    assert signature.context == "ctx"
    assert signature.bind(b"hello", True) == {"name": "hello"}


def test_another_context_of_the_users_own_is_no_context() -> None:
    signature = declared("class Context(dict): ...\ndef f(ctx: Context): ...")

    assert signature.context is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def f(a: int, rows: Sequence[str]): ...",
            "task f: parameter rows: its annotations cannot be read: name 'Sequence' is not defined; import it",
        ),
        ("def f(a: int, rows: int[str]): ...", "task f: parameter rows: its annotations cannot be read: "),
        ("def f(rows: 1 / 0): ...", "task f: parameter rows: its annotations cannot be read: division by zero"),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass M:\n    a: Sequence[str]\ndef f(m: M): ...",
            "task f: parameter m: .*'Sequence'.*TYPE_CHECKING",
        ),
        ("def f(one: Context, two: Context): ...", "task f: parameters one and two both take the context"),
    ],
)
def test_annotations_that_cannot_be_read_are_refused_by_their_parameter(text: str, words: str) -> None:
    with pytest.raises(HandlerError, match=words) as caught:
        declared(text)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        range,
        complex,
        Callable,
        type,
        Unknown,
        list[Unknown],
        dict[str, Unknown | None],
        WithUnknown,
        int | Unknown,
        dict[bool, int],
        dict[tuple[int, int], int],
        Exotic,
        5,
        threading.Lock,
        Iterator[int],
    ],
)
def test_a_type_that_nothing_makes_of_json_is_refused_at_declaration_by_its_parameter(kind: Any) -> None:
    def f(good: int, bad: int) -> None: ...

    f.__annotations__["bad"] = kind

    with pytest.raises(HandlerError, match=r"^task f: parameter bad: ") as caught:
        signature_of(f)
    assert "\n" not in str(caught.value)


def test_a_default_may_be_of_a_type_that_nothing_makes_of_json() -> None:
    def several(a: int, helper: Unknown | int = 5) -> None: ...
    def alone(helper: Unknown | None = None) -> None: ...
    def inside(m: Equipped) -> None: ...

    assert bound(several, b'{"a": 1}') == {"a": 1}
    assert bound(alone, b"{}") == {}
    assert bound(inside, b'{"a": 1}') == {"m": Equipped(1)}
    for function, payload, where in ((several, b'{"a": 1, "helper": {}}', "helper"), (inside, b'{"a": 1, "helper": {}}', "m: helper")):
        with pytest.raises(PayloadMismatch, match=f"^{where}: no payload can give it a value$"):
            bound(function, payload)


def test_models_bind_wherever_they_stand() -> None:
    def many(items: list[Model]) -> None: ...
    def maybe(m: Model | None = None) -> None: ...
    def several(m: Model, k: int, more: list[Model] = []) -> None: ...  # noqa: B006 - as users write it
    def inside(h: Holder) -> None: ...

    one = Model(value=1)
    assert bound(many, b'[{"value": 1}]') == bound(many, b'{"items": [{"value": "1"}]}') == {"items": [one]}
    assert (bound(maybe, b"null"), bound(maybe, b'{"value": 1}')) == ({"m": None}, {"m": one})
    assert bound(several, b'{"m": {"value": 1}, "k": 2.0}') == {"m": one, "k": 2}
    assert bound(several, b'{"k": 2, "more": [{"value": 1}], "m": {"value": 1}}') == {"m": one, "k": 2, "more": [one]}
    assert bound(inside, b'{"model": {"value": 1}, "paths": ["a"]}') == {"h": Holder(one, [pathlib.Path("a")])}


def test_types_of_the_standard_library_bind_and_bind_back() -> None:
    def f(path: pathlib.Path, host: ipaddress.IPv4Address, last: deque[int], count: Counter[str], zone: zoneinfo.ZoneInfo) -> None: ...

    values = {
        "path": pathlib.Path("a/b"), "host": ipaddress.ip_address("127.0.0.1"), "last": deque([1, 2]), "count": Counter(a=2),
        "zone": zoneinfo.ZoneInfo("Europe/Berlin"),
    }  # fmt: skip
    signature = signature_of(f)

    assert signature.bind(*signature.payload_of((), values)) == values
    with pytest.raises(PayloadMismatch, match=r"Expected `int`, got `str` - at `\$\[0\]` - at `\$\.last`"):
        signature.bind(b'{"path": "a", "host": "127.0.0.1", "last": ["x"], "count": {}, "zone": "UTC"}', False)


def test_two_models_of_one_name_stay_two() -> None:
    def model(kind: Any) -> Any:
        return pydantic.create_model("Same", inner=pydantic.create_model("Inner", value=kind))

    def f(a: int, b: int) -> None: ...

    f.__annotations__.update(a=model(str), b=list[model(int)])  # type: ignore[misc]
    signature = signature_of(f)

    assert bound(f, b'{"a": {"inner": {"value": "x"}}, "b": [{"inner": {"value": 1}}]}')["b"][0].inner.value == 1
    for payload, words in (
        (b'{"a": {"inner": {"value": 1}}, "b": []}', "a.inner.value: expected a string, got an integer"),
        (b'{"a": {"inner": {"value": "x"}}, "b": [{"inner": {"value": "x"}}]}', "b.0.inner.value: expected an integer, got a string"),
    ):
        assert [str(one) for one in PayloadCheck(signature.schema, ["a", "b"]).faults(payload, False)] == [words]


def test_models_bind_back_by_their_aliases() -> None:
    class Renamed(pydantic.BaseModel):
        to: str = pydantic.Field(alias="To")

    def f(m: int, k: int) -> None: ...

    f.__annotations__["m"] = list[Renamed]
    signature = signature_of(f)

    values = {"m": [Renamed(To="a")], "k": 1}
    assert signature.bind(*signature.payload_of((), dict(values))) == values


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"nme": "a"}', "unknown field 'nme'; did you mean 'name'?; missing: name, mail"),
        (b'{"name": "a", "mail": {"to": "a"}, "zzz": 1}', "unknown field 'zzz'; known are name, mail, age"),
        (
            b'{"name": 1, "mail": {}, "age": "x"}',
            "mail: missing: to; name: expected a string, got an integer; age: expected an integer or null, got a string",
        ),
        (b'{"name": "a", "nme": 1, "mail": {"to": "a"}}', "unknown field 'nme'; known are name, mail, age"),
        (b"[]", "expected an object, got a list"),
        (b"text", "the payload is not JSON, which this task needs"),
    ],
)
def test_a_mismatch_says_in_plain_words_all_that_is_wrong(payload: bytes, words: str) -> None:
    def f(name: str, mail: Mail, age: int | None = None) -> None: ...

    with pytest.raises(PayloadMismatch) as caught:
        bound(f, payload)

    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        (int, b'"x"', "value: expected an integer, got a string"),
        (int, b'{"value": "x"}', "value: expected an integer, got a string"),
        (int, b'{"vlue": 1}', "unknown field 'vlue'; did you mean 'value'?; missing: value"),
        (list[int], b'[1, "x"]', "value: 1: expected an integer, got a string"),
        (dict[str, int], b'{"1": "x"}', "value: 1: expected an integer, got a string"),
        (datetime, b'"soon"', "value: expected a date and time such as 2030-01-31T08:00:00Z"),
        (Model, b'{"value": []}', "value: expected an integer, got a list"),
        (Model | None, b"5", "value: expected an object, got an integer"),
        (bytes | None, b'"?"', "value: expected text in base64"),
        (Literal["a", 1], b"2", 'value: expected 1 or "a"'),
    ],
)
def test_a_mismatch_of_the_only_parameter_tells_of_its_own_type(kind: Any, payload: bytes, words: str) -> None:
    def f(value: int) -> None: ...

    f.__annotations__["value"] = kind
    with pytest.raises(PayloadMismatch) as caught:
        bound(f, payload)

    assert str(caught.value) == words


def test_what_only_the_library_refuses_is_told_without_the_value() -> None:
    def f(m: Model, k: int) -> None: ...

    with pytest.raises(PayloadMismatch) as caught:
        bound(f, b'{"m": {"value": "-77"}, "k": 1}')

    assert str(caught.value) == "m: value: Input should be greater than or equal to 0"


@pytest.mark.parametrize(
    "payload", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"1e400", b"1e999999999", b"1.0e999999999", b"9" * 5_000]
)
def test_payloads_that_no_parser_likes_are_mismatches(payload: bytes) -> None:
    def f(a: int, b: float = 0) -> None: ...
    def g(a: list[Any]) -> None: ...
    def h(m: Model) -> None: ...

    for function in (f, g, h):
        with pytest.raises(PayloadMismatch):
            bound(function, payload)


def test_a_whole_number_written_as_a_fraction_is_an_integer_and_others_keep_their_digits() -> None:
    def f(n: int, price: Decimal, rate: float) -> None: ...

    found = bound(f, b'{"n": 1e2, "price": 0.1000000000000000055511151231257827, "rate": 2.50}')

    assert found == {"n": 100, "price": Decimal("0.1000000000000000055511151231257827"), "rate": 2.5}


def test_a_type_no_json_can_fill_is_refused_at_declaration() -> None:
    def f(a: int | Mail | Point) -> None: ...

    with pytest.raises(HandlerError, match="task f: "):
        signature_of(f)


def test_a_signature_shows_its_parameters() -> None:
    def f(ctx: Context, name: str, count: int = 1) -> None: ...

    assert str(signature_of(f)) == "name: str, count: int"


@given(st.integers(-(2**63), 2**63 - 1), st.text(), st.none() | st.lists(st.integers(0, 9)))
def test_several_arguments_bind_back(a: int, b: str, c: list[int] | None) -> None:
    def f(a: int, b: str, c: list[int] | None = None) -> None: ...

    signature = signature_of(f)

    payload, is_text = signature.payload_of((a,), {"b": b, "c": c})

    assert signature.bind(payload, is_text) == {"a": a, "b": b, "c": c}


@given(st.text())
def test_one_text_binds_back_whatever_it_says(text: str) -> None:
    def f(one: str) -> None: ...

    signature = signature_of(f)

    assert signature.bind(*signature.payload_of((text,), {})) == {"one": text}


@given(st.binary())
def test_bytes_bind_back(raw: bytes) -> None:
    def f(one: bytes) -> None: ...

    signature = signature_of(f)

    assert signature.bind(*signature.payload_of((raw,), {})) == {"one": raw}


@pytest.mark.parametrize("value", ["hello", "5", "null", '"x"', '{"a": 1}', "", 5, None, [1, "x"]])
def test_a_value_for_an_unannotated_parameter_binds_back(value: Any) -> None:
    signature = signature_of(lambda anything: None)

    assert signature.bind(*signature.payload_of((value,), {})) == {"anything": value}


@pytest.mark.parametrize("value", ["hello", "5", "null", 5, None])
def test_a_value_for_a_union_binds_back(value: str | int | None) -> None:
    def f(one: str | int | None) -> None: ...

    signature = signature_of(f)

    assert signature.bind(*signature.payload_of((value,), {})) == {"one": value}


def test_a_dataclass_a_struct_and_a_date_bind_back() -> None:
    def mail(m: Mail) -> None: ...
    def point(p: Point) -> None: ...
    def at(when: datetime) -> None: ...
    def both(m: Mail, when: datetime) -> None: ...

    now = datetime(2030, 1, 31, 8, tzinfo=UTC)
    for function, arguments in (
        (mail, {"m": Mail("a", True)}),
        (point, {"p": Point(1, 2)}),
        (at, {"when": now}),
        (both, {"m": Mail("a"), "when": now}),
    ):
        signature = signature_of(function)
        assert signature.bind(*signature.payload_of((), dict(arguments))) == arguments


def test_arguments_that_do_not_fit_are_a_type_error() -> None:
    def f(a: int, b: int = 2) -> None: ...
    def none() -> None: ...

    signature = signature_of(f)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"c": 1}), ((), {"b": 1})]

    for args, kwargs in calls:
        with pytest.raises(TypeError, match="argument"):
            signature.payload_of(args, kwargs)
    with pytest.raises(TypeError, match="takes 0 arguments but 1"):
        signature_of(none).payload_of((1,), {})


def test_a_task_without_parameters_binds_back_to_nothing() -> None:
    def f(ctx: Context) -> None: ...

    signature = signature_of(f)

    assert signature.bind(*signature.payload_of((), {})) == {}


def test_the_default_of_the_only_parameter_is_sent() -> None:
    def f(n: int = 4) -> None: ...

    signature = signature_of(f)

    assert signature.bind(*signature.payload_of((), {})) == {"n": 4}


def test_models_have_a_json_form_and_strange_objects_have_none() -> None:
    assert encode_json({"m": Model(value=3)}) == b'{"m":{"value":3}}'
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode_json([object()])


@dataclasses.dataclass
class Measured:
    """Has a number inside."""

    at: str
    values: dict[str, list[float]]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "the value is nan"),
        (float("inf"), "the value is inf"),
        ({"a": [1.0, {"b": float("-inf")}]}, "a[1].b is -inf"),
        (Measured("x", {"y": [0.0, float("nan")]}), "values.y[1] is nan"),
        ((None, float("nan")), "[1] is nan"),
    ],
)
def test_a_number_that_json_cannot_say_is_refused_and_never_a_silent_null(value: object, where: str) -> None:
    with pytest.raises(ValueError, match=re.escape(where)):
        encode_json(value)


@pytest.mark.parametrize("value", [None, [None, 1.5], {"null": 0.0}, "null", Measured("null", {}), msgspec.Raw(b"[null]")])
def test_what_is_null_by_itself_is_kept(value: object) -> None:
    assert b"null" in encode_json(value)
