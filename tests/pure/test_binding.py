"""From a payload to a handler's arguments, by five rules, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _taskqueue.domain.errors import HandlerError, PayloadMismatch
from _taskqueue.tasks.binding import Signature, encode_json, read_signature
from _taskqueue.tasks.context import Context


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


def test_annotations_that_cannot_be_read_are_refused_with_the_name() -> None:
    def f(a: int) -> None: ...

    f.__annotations__["a"] = "Nowhere"

    with pytest.raises(
        HandlerError, match="task f: parameter a: its annotations cannot be read: name 'Nowhere' is not defined; import it outside"
    ):
        signature_of(f)


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
