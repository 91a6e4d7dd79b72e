"""Faults of payloads large and small, which are listed in no more time than a payload takes to read."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pydantic
import pytest

from _taskqueue.tasks.binding import read_signature
from _taskqueue.tasks.mismatch import FAULTS_MAX, PayloadCheck

MANY = 100_000
LIST_S = 3.0
"""To make an error of each wrong item would take a minute."""


class Tree(pydantic.BaseModel):
    """Within itself."""

    name: str
    children: list[Tree] = []


def check_of(function: Any) -> PayloadCheck:
    signature = read_signature(function, "task f")
    return PayloadCheck(signature.schema, [one.name for one in signature.parameters])


def numbers(n: list[int]) -> None: ...
def several(rows: list[int | None], k: int) -> None: ...
def mapped(m: dict[str, int]) -> None: ...
def fields(a: int) -> None: ...
def nested(n: list[list[list[int]]]) -> None: ...
def tree(t: Tree) -> None: ...


def leaves(depth: int) -> dict[str, Any]:
    return {"name": 5, "children": [leaves(depth - 1) for _ in range(8)] if depth else []}


@pytest.mark.parametrize(
    ("function", "payload", "words"),
    [
        (numbers, ["a"] * MANY, "n: 0: expected an integer, got a string"),
        (numbers, [1] * MANY + ["a"], f"n: {MANY}: expected an integer, got a string"),
        (numbers, [1] * MANY + ["a"] + [1] * MANY, f"n: {MANY}: expected an integer, got a string"),
        (several, {"rows": ["a"] * MANY, "k": 1}, "rows.0: expected an integer or null, got a string"),
        (mapped, {str(number): "a" for number in range(MANY)}, "m: 0: expected an integer, got a string"),
        (mapped, {str(number): number or "a" for number in range(MANY)}, "m: 0: expected an integer, got a string"),
        (fields, {str(number): 1 for number in range(MANY)}, "unknown field '0'; known are a"),
        (nested, [[[1] * 30] * 30] * 30 + [[[1], [2, "a"]]], "n: 30.1.1: expected an integer, got a string"),
        (nested, [[["a"] * 30] * 30] * 30, "n: 0.0.0: expected an integer, got a string"),
        (tree, leaves(5), "t: name: expected a string, got an integer"),
    ],
)
def test_the_faults_of_a_large_payload_are_listed_at_once(function: Any, payload: Any, words: str) -> None:
    check, raw = check_of(function), msgspec.json.encode(payload)
    began = time.monotonic()

    faults = check.faults(raw, False)

    assert time.monotonic() - began < LIST_S
    assert check.told(faults).startswith(words)
    assert 0 < len(faults) <= FAULTS_MAX


def test_a_length_is_no_fault_of_what_was_cut_down() -> None:
    check = PayloadCheck({"type": "array", "items": {"type": "integer"}, "minItems": 1_000}, ["n"])

    assert [one.path for one in check.faults(msgspec.json.encode([1] * 3_000 + ["a"]), False)] == [(3_000,)]
    assert check.faults(msgspec.json.encode([1] * 3_000), False) == []


def test_a_length_that_is_too_large_is_told() -> None:
    check = PayloadCheck({"type": "array", "items": {"type": "integer"}, "maxItems": 10}, ["n"])

    assert [one.words for one in check.faults(msgspec.json.encode([1] * 3_000), False)] == ["it has more than 10 items"]


def test_a_schema_that_nobody_can_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="type"):
        PayloadCheck({"type": "no such type"}, [])
