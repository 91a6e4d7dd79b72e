"""How calls are put together: paths, parameters, and the types of what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from _taskqueue.remote.flows import Flow, Patience, Request, decode, exchange

T = TypeVar("T")


def path(*parts: str) -> str:
    """A path; what stands in its parts cannot change its shape."""
    return "".join("/" + quote(part, safe="") for part in parts)


def given(params: Mapping[str, str | None]) -> dict[str, str]:
    """The parameters that have a value."""
    return {name: value for name, value in params.items() if value is not None}


class _Items(msgspec.Struct):
    items: list[msgspec.Raw]


class Asking:
    """What every call needs.

    Args:
        patience: how long to try.
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience

    def _ask(self, kind: type[T], request: Request) -> Flow[T]:
        reply = yield from exchange(self.patience, request)
        return decode(reply.body, kind)

    def _get(self, kind: type[T], where: str, **params: str | None) -> Flow[T]:
        return (yield from self._ask(kind, Request("GET", where, given(params), repeatable=True)))

    def _items(self, kind: type[T], where: str, **params: str | None) -> Flow[list[T]]:
        page = yield from self._get(_Items, where, **params)
        return [decode(item, kind) for item in page.items]

    def _act(self, kind: type[T], method: str, where: str, body: Mapping[str, Any] | None = None, **params: str | None) -> Flow[T]:
        """What would be done twice if it were sent twice, so it is not."""
        content = None if body is None else msgspec.json.encode(body)
        return (yield from self._ask(kind, Request(method, where, given(params), content)))
