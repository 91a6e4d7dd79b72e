"""What is inherited from dependencies: public methods alone are overridden, and ours take what theirs take."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import _taskqueue

MESSAGES = {"msgspec"}
"""Bases whose subclasses are declarations."""


def classes() -> Iterator[type]:
    """Every class of the package."""
    for found in pkgutil.walk_packages(_taskqueue.__path__, "_taskqueue."):
        if found.name.startswith("_taskqueue.wheel"):
            continue
        module = importlib.import_module(found.name)
        yield from (one for one in vars(module).values() if isinstance(one, type) and one.__module__ == found.name)


def overridden() -> Iterator[tuple[type, str, Any, Any]]:
    """Class, name, our method and the dependency's."""
    for one in classes():
        for base in one.__mro__[1:]:
            top = base.__module__.partition(".")[0]
            if top in MESSAGES or top == "_taskqueue" or top in sys.stdlib_module_names:
                continue
            for name, ours in vars(one).items():
                if inspect.isfunction(ours) and name in vars(base) and not (name.startswith("__") and name.endswith("__")):
                    yield one, name, ours, vars(base)[name]


def test_nothing_private_of_a_dependency_is_overridden() -> None:
    assert [f"{one.__qualname__}.{name}" for one, name, _, _ in overridden() if name.startswith("_")] == []


def test_what_overrides_a_method_takes_what_that_takes() -> None:
    found = list(overridden())

    assert {name for _, name, _, _ in found} >= {"collect"}, "the walk finds what it should"
    for one, name, ours, theirs in found:
        given = inspect.signature(theirs).parameters.values()
        positional = [object() for arg in given if arg.kind in (arg.POSITIONAL_ONLY, arg.POSITIONAL_OR_KEYWORD)]
        named = {arg.name: object() for arg in given if arg.kind is arg.KEYWORD_ONLY}
        try:
            inspect.signature(ours).bind(*positional, **named)
        except TypeError as error:
            raise AssertionError(f"{one.__qualname__}.{name}: {error}") from None


def test_the_packing_of_commands_is_where_it_was() -> None:
    """It is mixed in before the class that it changes, so the walk above does not see it."""
    from redis.asyncio.connection import AbstractConnection

    assert list(inspect.signature(AbstractConnection.pack_command).parameters) == ["self", "args"]
