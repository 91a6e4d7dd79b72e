"""What a user's callable is: its name, whether it is a coroutine function, and the types of its parameters.

Decorators are looked through: partials, ``functools.wraps``, bound methods, objects with ``__call__``.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from _taskqueue.domain.errors import HandlerError
from _taskqueue.domain.task import message_of
from _taskqueue.tasks.context import Context

LAYERS_MAX = 50
_RUNNERS = frozenset({"run", "run_until_complete", "run_sync", "run_coroutine_threadsafe", "async_to_sync", "start_blocking_portal"})
"""A wrapper that uses one of these awaits the coroutine itself, so it is a plain function."""
_CONTEXT = re.compile(r"(\w+\.)*Context")


def layers(function: Any) -> Iterator[Any]:
    """The callable itself, then what it wraps, down to the plain function."""
    for _ in range(LAYERS_MAX):
        yield function
        below = _below(function)
        if below is None:
            return
        function = below


def _below(function: Any) -> Any:
    if isinstance(function, functools.partial):
        return function.func
    if isinstance(function, types.MethodType):
        return function.__func__
    if not isinstance(function, (types.FunctionType, type)):
        call = inspect.getattr_static(type(function), "__call__", None)
        if isinstance(call, types.FunctionType):
            return call
    try:
        wrapped = getattr(function, "__wrapped__", None)
    except Exception:  # noqa: BLE001 - code of the user's
        return None
    return wrapped if callable(wrapped) else None


def plain_function(function: Any) -> Any:
    """The innermost layer."""
    *_, last = layers(function)
    return last


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives a coroutine, as far as its layers tell."""
    for layer in layers(function):
        if _is(inspect.iscoroutinefunction, layer):
            return True
        if isinstance(layer, types.FunctionType) and not _RUNNERS.isdisjoint(layer.__code__.co_names):
            return False
    return False


def is_generator_function(function: Any) -> bool:
    """Whether calling it gives a generator of either kind."""
    return any(_is(inspect.isgeneratorfunction, layer) or _is(inspect.isasyncgenfunction, layer) for layer in layers(function))


def _is(question: Callable[[Any], bool], layer: Any) -> bool:
    try:
        return question(layer)
    except Exception:  # noqa: BLE001 - it looks at attributes, which may be code of the user's
        return False


def name_of(function: Any) -> str:
    """Its own name, which partials and objects have not; empty when there is none."""
    for layer in layers(function):
        name = getattr(layer, "__name__", None) if isinstance(layer, (types.FunctionType, types.BuiltinFunctionType, type)) else None
        if isinstance(name, str):
            return name
    return ""


def place_of(function: Any) -> str:
    """File and line, for messages."""
    code = getattr(plain_function(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, types.CodeType) else "somewhere"


def label_of(function: Any) -> str:
    """What to call it in messages, whatever it is."""
    plain = plain_function(function)
    known = isinstance(plain, (types.FunctionType, types.BuiltinFunctionType, type))
    return str(plain.__qualname__) if known else f"an object of type {type(function).__name__}"


def typed_parameters(function: Callable[..., Any], where: str) -> list[tuple[inspect.Parameter, Any]]:
    """Each parameter with its type, ``Any`` where it has none. Return types are nobody's business.

    Raises:
        HandlerError: the parameters cannot be read, or the type of one cannot be resolved.
    """
    try:
        found = list(inspect.signature(function).parameters.values())
    except Exception as error:  # noqa: BLE001 - whatever a __signature__ of the user's does
        raise HandlerError(f"{where}: its parameters cannot be read: {message_of(error)}") from None
    plain = plain_function(function)
    ours = {"Context": Context, "taskqueue": types.SimpleNamespace(Context=Context)}  # imported for type checkers only
    names = {**ours, **getattr(plain, "__globals__", {})}
    generic = getattr(plain, "__type_params__", ())
    return [(one, Any if one.annotation is one.empty else _type_of(one, names, generic, where)) for one in found]


def _type_of(one: inspect.Parameter, names: dict[str, Any], generic: tuple[Any, ...], where: str) -> Any:
    holder = types.SimpleNamespace(__annotations__={one.name: one.annotation}, __type_params__=generic)
    try:
        return typing.get_type_hints(holder, names, include_extras=True)[one.name]
    except NameError as error:
        if isinstance(one.annotation, str) and _CONTEXT.fullmatch(one.annotation.strip()):
            return Context
        raise HandlerError(f"{where}: parameter {one.name}: {undefined(error)}") from None
    except Exception as error:  # noqa: BLE001 - annotations are code of the user's
        raise HandlerError(f"{where}: parameter {one.name}: its annotations cannot be read: {message_of(error)}") from None


def undefined(error: NameError) -> str:
    """What to do about a name in an annotation that means nothing when the file runs."""
    return f"its annotations cannot be read: {error}; import it outside `if TYPE_CHECKING:`, where it exists when the file runs"


def is_context(kind: Any) -> bool:
    """Whether a parameter of this type gets the context: ``Context``, also annotated or optional."""
    wraps = typing.get_origin(kind) in {typing.Union, types.UnionType, typing.Annotated}
    return kind is Context or (wraps and any(map(is_context, typing.get_args(kind))))
