"""Finds the user's tasks: imports the named modules and everything below them, and collects the values it finds."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from _taskqueue.domain.errors import HandlerError
from _taskqueue.tasks.spec import Hook, TaskSpec, task

AnyTask = TaskSpec[Any, Any, Any]
ECHO = "echo"


@task(name=ECHO)
async def builtin_echo(payload: str) -> str:
    """Answers with its payload, so that a fresh install does something."""
    return payload


@dataclass(slots=True)
class Registry:
    """The tasks of one process, by name."""

    tasks: dict[str, AnyTask] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)
    default: str = ECHO
    """the task of submissions that name none"""

    def find(self, name: str) -> AnyTask | None:
        """The task of this name; an empty name means the default."""
        return self.tasks.get(name or self.default)

    def knows(self, name: str) -> bool:
        """Whether :meth:`find` would find it."""
        return (name or self.default) in self.tasks

    def hooks_of(self, kind: str) -> list[Any]:
        """The functions of one kind of hook, in the order they were found."""
        return [hook.function for hook in self.hooks if hook.kind == kind]

    def queues(self) -> list[str]:
        """Every queue a task declares."""
        return sorted({spec.queue for spec in self.tasks.values()})


def discover(modules: Iterable[str], default_task: str = "") -> Registry:
    """Import these modules, packages with all that is below them, and collect their tasks and hooks.

    Args:
        modules: dotted names.
        default_task: the task of submissions that name none; empty: the only one found, else ``echo``.

    Raises:
        HandlerError: a module does not import, two tasks have one name, or the default task does not exist.
    """
    registry = Registry()
    seen: set[int] = set()
    for name in modules:
        for module in _import_all(name):
            _collect(module, registry, seen)
    own = list(registry.tasks)
    registry.tasks.setdefault(ECHO, builtin_echo)
    registry.default = default_task or (own[0] if len(own) == 1 else ECHO)
    if registry.default not in registry.tasks:
        raise HandlerError(f"the default task {registry.default!r} does not exist; known are {', '.join(sorted(registry.tasks))}")
    return registry


def _import_all(name: str) -> Iterator[ModuleType]:
    module = _import(name)
    yield module
    for folder in getattr(module, "__path__", ()):
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if not any(part.startswith("_") or not part.isidentifier() for part in parts):
                yield _import(".".join((name, *parts)))


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except HandlerError as error:
        raise HandlerError(f"{_last_place(error, name)}: {error}") from None
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            searched = ", ".join(path or "." for path in sys.path[:3])
            raise HandlerError(f"there is no handler module {name!r} (searched {searched}, …); see --handlers") from None
        raise HandlerError(f"{_last_place(error, name)}: {error}") from None
    except SyntaxError as error:
        raise HandlerError(f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's file raises
        raise HandlerError(f"{_last_place(error, name)}: {type(error).__name__}: {error}") from None


def _last_place(error: BaseException, name: str) -> str:
    """File and line in the user's code nearest to the error."""
    ours = str(Path(__file__).parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen")) and "importlib" not in frame.filename
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else f"handler module {name}"


def _collect(module: ModuleType, registry: Registry, seen: set[int]) -> None:
    for value in vars(module).values():
        if not isinstance(value, (TaskSpec, Hook)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Hook):
            registry.hooks.append(value)
            continue
        other = registry.tasks.get(value.name)
        if other is not None and other.function is value.function:
            continue  # the same task with other terms of submission
        if other is not None:
            raise HandlerError(f"two tasks are named {value.name!r}: {other.file} and {value.file}; rename one")
        registry.tasks[value.name] = value
