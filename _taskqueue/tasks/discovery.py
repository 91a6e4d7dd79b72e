"""Finds the user's tasks: imports the named modules and everything below them, and collects the values it finds."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from _taskqueue.domain.errors import HandlerError
from _taskqueue.tasks.callables import plain_function
from _taskqueue.tasks.folders import INIT, Home, aliases, home_of, restore, walk
from _taskqueue.tasks.imports import helpers, import_file
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
    modules: dict[str, str] = field(default_factory=dict)
    """task → the module it was found in"""
    warnings: list[str] = field(default_factory=list)
    """what was left out, and why"""

    def find(self, name: str) -> AnyTask | None:
        """The task of this name; an empty name means the default."""
        return self.tasks.get(name or self.default)

    def home_of(self, spec: AnyTask) -> Home:
        """Where another process finds this task."""
        return home_of(self.modules.get(spec.name) or str(plain_function(spec.function).__module__))

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

    Returns:
        What was found; its ``warnings`` say what was left out, and why.

    Raises:
        HandlerError: modules do not import, two tasks have one name, or the default task does not exist; names all that is wrong.
    """
    search = _Search(Registry())
    for name in modules:
        search.look_into(name)
    registry = search.result()
    own = list(registry.tasks)
    registry.tasks.setdefault(ECHO, builtin_echo)
    registry.default = default_task or (own[0] if len(own) == 1 else ECHO)
    if registry.default not in registry.tasks:
        raise HandlerError(f"the default task {registry.default!r} does not exist; known are {', '.join(sorted(registry.tasks))}")
    return registry


def find_task(home: Home, name: str) -> AnyTask:
    """A task of this name where it was found, in another process.

    Raises:
        LookupError: it is not there any more.
    """
    restore(home)
    for value in _values(importlib.import_module(home.module)):
        if issubclass(type(value), TaskSpec) and value.name == name:
            found: AnyTask = value
            return found
    raise LookupError(f"module {home.module} has no task {name!r}")


class _Search:
    """Goes through modules, and keeps what it finds and what is wrong."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._errors: dict[str, None] = {}
        """in order; a file that fails for another one that imports it as well is told once"""
        self._seen: set[int] = set()
        self._files: dict[Path, str] = {}
        self._without: list[Path] = []

    def look_into(self, name: str) -> None:
        """Import one module and all that is below it."""
        root = self._look_at(name, None)
        if root is None:
            return
        folders, before = [Path(str(one)) for one in getattr(root, "__path__", ())], len(self._files)
        for folder in folders:
            aliases().roots.add(str(folder))
            self._look_below(name, folder)
        if len(self._files) == before and not self._errors and not _holds(_values(root)):
            where = f"{folders[0]}: there is no handler file in it" if folders else f"handler module {name}: there is no task in it"
            self._registry.warnings.append(where)

    def _look_below(self, name: str, folder: Path) -> None:
        broken: list[str] = []
        for dotted, path in walk(name, folder):
            if path.is_dir():
                self._registry.warnings.append(f"{path}: left out, for it is a virtual environment")
            elif not dotted.startswith(tuple(broken)) and self._look_at(dotted, path) is None and path.name == INIT:
                broken.append(f"{dotted}.")

    def _look_at(self, name: str, file: Path | None) -> ModuleType | None:
        try:
            module = import_file(name, file)
        except HandlerError as error:
            self._errors[str(error)] = None
            return None
        values = _values(module)
        if file is not None:
            self._files[file] = name.rpartition(".")[2]
            if file.name != INIT and not _holds(values):
                self._without.append(file)
        self._collect(name, values)
        return module

    def _collect(self, module: str, values: list[Any]) -> None:
        for value in values:
            if issubclass(type(value), type) and value.__module__ == module:
                self._warn_of_methods(value)
            if not _holds([value]) or id(value) in self._seen:
                continue
            self._seen.add(id(value))
            if isinstance(value, Hook):
                self._registry.hooks.append(value)
            else:
                self._add(value, module)

    def _add(self, spec: AnyTask, module: str) -> None:
        other = self._registry.tasks.setdefault(spec.name, spec)
        if other is spec:
            self._registry.modules[spec.name] = module
        elif other.function is not spec.function:  # else the same task with other terms of submission
            self._errors[f"two tasks are named {spec.name!r}: {other.file} and {spec.file}; rename one"] = None

    def _warn_of_methods(self, owner: type) -> None:
        for value in vars(owner).values():
            if issubclass(type(value), TaskSpec):
                self._registry.warnings.append(
                    f"{value.file}: the task {value.name} is left out, for it stands in a class; move it to the module"
                )

    def result(self) -> Registry:
        """What was found.

        Raises:
            HandlerError: all that is wrong.
        """
        if self._errors:
            first, *more = self._errors
            raise HandlerError("\n  ".join([f"{len(more) + 1} things are wrong with the handlers:", first, *more]) if more else first)
        known = helpers(self._files) if self._without else set()
        self._registry.warnings += [
            f"{file}: there is no task in it; put @task over a function, or a leading _ before the name of a file that is no handler"
            for file in self._without
            if file not in known
        ]
        return self._registry


def _values(module: Any) -> list[Any]:
    return list(getattr(module, "__dict__", {}).values())


def _holds(values: list[Any]) -> bool:
    """Whether there is a task or a hook among these, of whose attributes none is looked at: they may run code of the user's."""
    return any(issubclass(type(value), (TaskSpec, Hook)) for value in values)
