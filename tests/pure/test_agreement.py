"""The schema at the door and the binder in the worker agree: over types and values, what binds validates and the other way round."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import os
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _taskqueue.domain.errors import PayloadMismatch
from _taskqueue.tasks.binding import Signature, read_signature
from _taskqueue.tasks.mismatch import PayloadCheck
from _taskqueue.tasks.models import mentions_models


class Colour(enum.Enum):
    """Of texts."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """Of numbers."""

    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    """Numbers that add up."""

    READ = 1
    WRITE = 2


class Loose(enum.Enum):
    """Takes what it does not know."""

    ANY = "any"

    @classmethod
    def _missing_(cls, value: object) -> Loose:
        return cls.ANY


class Model(pydantic.BaseModel):
    """As users write them."""

    name: str
    n: int = 1


class Strict(pydantic.BaseModel):
    """Takes nothing else."""

    model_config = pydantic.ConfigDict(extra="forbid")
    when: datetime.datetime | None = None
    flag: bool = False
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    level: Level = Level.LOW
    tags: set[int] = set()


class Aliased(pydantic.BaseModel):
    """Goes by two names."""

    model_config = pydantic.ConfigDict(populate_by_name=True, str_strip_whitespace=True)
    to: str = pydantic.Field(alias="To", max_length=2)


class Pair(NamedTuple):
    """A tuple."""

    a: int
    b: str = "x"


class Lax(pydantic.BaseModel):
    """Of what comes in many forms."""

    d: decimal.Decimal
    day: datetime.date
    span: datetime.timedelta
    id: uuid.UUID
    path: pathlib.Path
    raw: bytes
    pair: Pair
    where: ipaddress.IPv4Address
    m: dict[int, float]


class Prepared(pydantic.BaseModel):
    """Makes its fields of anything."""

    words: list[str]

    @pydantic.field_validator("words", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split() if isinstance(value, str) else value


class Cat(pydantic.BaseModel):
    """One of two."""

    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    """The other."""

    kind: Literal["dog"]


class First(pydantic.BaseModel):
    """Told by a number."""

    kind: Literal[1]


class Second(pydantic.BaseModel):
    """The other."""

    kind: Literal[2]


@dataclasses.dataclass
class Mail:
    """A plain one."""

    to: str
    urgent: bool = False
    path: pathlib.Path = pathlib.Path("x")


@dataclasses.dataclass
class Holder:
    """A plain one with a model inside."""

    model: Model
    more: list[Model] = dataclasses.field(default_factory=list)


@pydantic.dataclasses.dataclass
class Checked:
    """pydantic's own kind."""

    n: int = pydantic.Field(gt=1)


class Point(msgspec.Struct):
    """msgspec's."""

    x: int
    y: float = 0.0


class Shut(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Takes nothing else."""

    first_one: int


class Row(msgspec.Struct, array_like=True):
    """A list."""

    a: int
    b: str = ""


class Tagged(msgspec.Struct, tag="t"):
    """With a tag."""

    a: int


class Other(msgspec.Struct, tag="o"):
    """With another."""


class Around(msgspec.Struct):
    """A model where pydantic cannot look."""

    model: Model
    when: datetime.date | None = None


class Node(msgspec.Struct):
    """Within itself."""

    child: Node | None = None


class Tree(pydantic.BaseModel):
    """Within itself."""

    children: list[Tree] = []


class Box(TypedDict, total=False):
    """A dict."""

    width: int


class Name(str):
    """A text of its own kind."""

    __slots__ = ()


Number = NewType("Number", int)

NOW, ID = "2030-01-31T08:00:00Z", "12345678-1234-5678-1234-567812345678"
EXAMPLES: list[tuple[Any, Any]] = [
    (int, 5),
    (float, 0.5),
    (bool, True),
    (str | None, "a"),
    (bytes | None, "YQ=="),
    (int | None, 5),
    (int | str, 5),
    (float | None, 1),
    (None, None),
    (Any | None, 5),
    (object, [1]),
    (decimal.Decimal, "1.5"),
    (datetime.datetime, NOW),
    (datetime.date, "2030-01-31"),
    (datetime.time, "08:00:00"),
    (datetime.timedelta, "PT1S"),
    (uuid.UUID, ID),
    (Number, 5),
    (Name, "a"),
    (list[int], [1, 2]),
    (set[int], [1, 1]),
    (frozenset[str], ["a"]),
    (tuple[int, str], [1, "a"]),
    (tuple[int, ...], [1, 2]),
    (list[datetime.datetime], [NOW]),
    (Sequence[int], [1]),
    (Iterable[int], [1]),
    (collections.deque[int], [1]),
    (collections.OrderedDict[str, int], {"a": 1}),
    (collections.Counter[str], {"a": 1}),
    (collections.defaultdict[str, int], {"a": 1}),
    (dict[str, int], {"a": 1}),
    (dict[int, str], {"1": "a"}),
    (dict[uuid.UUID, int], {ID: 1}),
    (dict[datetime.date, int], {"2030-01-31": 1}),
    (dict[Literal["a", "b"], int], {"a": 1}),
    (dict[Colour, int], {"red": 1}),
    (Mapping[str, float], {"a": 1.5}),
    (dict, {"a": [1]}),
    (list, [1, {}]),
    (Colour, "red"),
    (Level, 1),
    (Loose, "?"),
    (Rights, 3),
    (dict[Rights, int], {"3": 1}),
    (Literal["a", 1, None], "a"),
    (Literal[1, 2], 1),
    (pathlib.Path, "/srv"),
    (list[pathlib.Path], ["a"]),
    (pathlib.Path | None, "a"),
    (os.PathLike[str], "a"),
    (ipaddress.IPv4Address, "127.0.0.1"),
    (ipaddress.IPv6Network, "::/0"),
    (zoneinfo.ZoneInfo, "Europe/Berlin"),
    (re.Pattern[str], "a+"),
    (Annotated[int, msgspec.Meta(ge=2, lt=5)], 3),
    (Annotated[str, msgspec.Meta(min_length=2, pattern="^[a-z]+$")], "ab"),
    (Annotated[str, msgspec.Meta(pattern=r"^\d+$")], "12"),
    (Annotated[list[int], msgspec.Meta(max_length=2)], [1, 2]),
    (Annotated[set[int], msgspec.Meta(min_length=2, max_length=2)], [1, 1, 2]),
    (Annotated[bytes, msgspec.Meta(max_length=2)], "YWI="),
    (Mail, {"to": "a", "urgent": True, "path": "b"}),
    (Point, {"x": 1, "y": 2}),
    (Shut, {"firstOne": 1}),
    (Row, [1, "a"]),
    (Tagged, {"type": "t", "a": 1}),
    (Tagged | Other | None, {"type": "t", "a": 1}),
    (Node, {"child": {"child": None}}),
    (Box, {"width": 1}),
    (Pair, [1, "a"]),
    (Mail | None, {"to": "a"}),
    (list[Mail], [{"to": "a"}]),
    (dict[str, Point], {"a": {"x": 1}}),
    (Around, {"model": {"name": "a", "n": 2}, "when": "2030-01-31"}),
    (Model, {"name": "a", "n": 2}),
    (list[Model], [{"name": "a", "n": 2}]),
    (Model | None, {"name": "a"}),
    (dict[str, Model], {"a": {"name": "a"}}),
    (Model | int, {"name": "a"}),
    (tuple[Model, int], [{"name": "a"}, 1]),
    (Strict, {"when": NOW, "flag": True, "rate": 1.5, "kind": "a", "level": 1, "tags": [1, 1]}),
    (Aliased, {"To": "a"}),
    (Aliased, {"to": " ab "}),
    (Prepared, {"words": ["a"]}),
    (Tree, {"children": [{"children": []}]}),
    (Holder, {"model": {"name": "a"}, "more": [{"name": "b", "n": 3}]}),
    (Checked, {"n": 2}),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], {"kind": "cat", "lives": 9}),
    (Annotated[First | Second, pydantic.Field(discriminator="kind")], {"kind": 2}),
    (Annotated[str, msgspec.Meta(extra_json_schema={"format": "email"})], "no address"),
    (Annotated[int, pydantic.Field(gt=1)], 2),
    (pydantic.PositiveInt, 2),
    (pydantic.HttpUrl, "https://a.b"),
    (pydantic.SecretStr, "a"),
    (
        Lax,
        {
            "d": "1.5",
            "day": "2030-01-31",
            "span": "PT1S",
            "id": ID,
            "path": "a",
            "raw": "a",
            "pair": [1, "a"],
            "where": "127.0.0.1",
            "m": {"1": 0.5},
        },
    ),
]
WORDS = [
    "a", "b", "red", "true", "5", "5.0", "1_0", "x", "", "YQ==", "YWJj", "2030-01-31", "2030-02-30", "2030-01-31T08:00:00",
    "2030-01-31 08:00:00Z", "2030-01-31T08:00:00.123456789+01:00", "2030-01-31T25:00:00", "08:00:00", "08:00", "PT1S", "P1DT2H", "1.5",
    "NaN", "1e400", "cat", "dog", "/srv", "127.0.0.1", "::/0", "Europe/Berlin", "1/3", "(", "12", "٣", "abc\n", " a ", "https://a.b/c",
    "12345678-1234-5678-1234-567812345678", "12345678123456781234567812345678", "t", "o",
]  # fmt: skip
KEYS = [
    "name", "n", "when", "flag", "rate", "kind", "level", "tags", "To", "to", "words", "lives", "urgent", "path", "model", "more", "x",
    "y", "firstOne", "a", "b", "type", "child", "children", "width", "value", "1", "01", "-0", "2030-01-31",
    "12345678-1234-5678-1234-567812345678", "red",
]  # fmt: skip

SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    5,
    -1,
    2**63,
    2**70,
    -(2**64),
    1e300,
    1.0,
    2.0,
    -1.0,
    0.5,
    2.5,
    1e16,
    [],
    [1],
    [1.0, 1],
    [None],
    {},
    {"a": 1},
    {"name": "a"},
    *WORDS,
]
values = st.recursive(
    st.sampled_from(SCALARS) | st.text(max_size=3) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=6,
)


def changed(value: Any) -> Iterator[Any]:
    """A value with each of its parts replaced by each scalar, left out, or with another beside it."""
    yield from SCALARS
    if isinstance(value, dict):
        yield from ({**value, key: 1} for key in KEYS if key not in value)
        for key, inner in value.items():
            yield {name: one for name, one in value.items() if name != key}
            yield from ({**value, key: one} for one in changed(inner))
    if isinstance(value, list):
        yield [*value, 1]
        for index, inner in enumerate(value):
            yield [*value[:index], *value[index + 1 :]]
            yield from ([*value[:index], one, *value[index + 1 :]] for one in changed(inner))


def signature_of(kind: Any) -> Signature:
    def f(value) -> None: ...  # type: ignore[no-untyped-def]

    f.__annotations__["value"] = kind
    return read_signature(f, "task f")


def binds(signature: Signature, payload: bytes, is_text: bool = False) -> bool:
    try:
        signature.bind(payload, is_text)
    except PayloadMismatch:
        return False
    return True


SIGNATURES = [signature_of(kind) for kind, _ in EXAMPLES]
CHECKS = [PayloadCheck(one.schema, ["value"]) for one in SIGNATURES]
WIDER = [
    Loose,
    Rights,
    dict[Rights, int],
    collections.defaultdict[str, int],
    collections.OrderedDict[str, int],
    collections.deque[int],
    Iterable[int],
    zoneinfo.ZoneInfo,
    re.Pattern[str],
    Annotated[str, msgspec.Meta(pattern=r"^\d+$")],
    Annotated[set[int], msgspec.Meta(min_length=2, max_length=2)],
    Annotated[bytes, msgspec.Meta(max_length=2)],
    *[kind for kind, _ in EXAMPLES if mentions_models(kind)],
]
"""Their schemas cannot tell all: code of the user's decides, or JSON Schema has no word for it."""


def fits(check: PayloadCheck, payload: bytes) -> bool:
    return check.faults(payload, False) == []


@pytest.mark.parametrize(("number", "kind"), list(enumerate(kind for kind, _ in EXAMPLES)), ids=str)
def test_an_example_binds_and_whatever_is_changed_in_it_the_schema_knows(number: int, kind: Any) -> None:
    signature, check, example = SIGNATURES[number], CHECKS[number], EXAMPLES[number][1]

    assert binds(signature, msgspec.json.encode(example))
    assert fits(check, msgspec.json.encode(example))
    wrong = []
    for value in changed(example):
        payload = msgspec.json.encode(value)
        bound, fit = binds(signature, payload), fits(check, payload)
        if (bound and not fit) or (fit and not bound and kind not in WIDER):
            wrong.append((value, bound, fit))
    assert wrong == []


@settings(max_examples=100, deadline=None)
@given(value=values)
def test_what_binds_validates_and_what_validates_binds(value: Any) -> None:
    payload = msgspec.json.encode(value)
    for (kind, _), signature, check in zip(EXAMPLES, SIGNATURES, CHECKS, strict=True):
        if binds(signature, payload):
            assert fits(check, payload), kind
        else:
            assert not fits(check, payload) or kind in WIDER, kind


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Model, {}),
        (Model, []),
        (Model, {"name": 1}),
        (Model, {"name": "a", "n": "many"}),
        (list[Model], [{"name": "a"}, {}]),
        (list[Model], {}),
        (Model | None, "a"),
        (dict[str, Model], {"a": 1}),
        (Strict, {"nme": 1}),
        (Strict, {"flag": "maybe"}),
        (Strict, {"kind": "c"}),
        (Tree, {"children": [1]}),
        (Holder, {}),
        (Checked, {"n": 1}),
        (Checked, {"n": None}),
        (Lax, {}),
        (pydantic.PositiveInt, 0),
        (pydantic.SecretStr, 5),
        (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], {"kind": "cow"}),
    ],
)
def test_the_door_knows_what_no_model_takes(kind: Any, value: Any) -> None:
    signature, payload = signature_of(kind), msgspec.json.encode(value)

    assert not binds(signature, payload)
    assert not fits(PayloadCheck(signature.schema, ["value"]), payload)
