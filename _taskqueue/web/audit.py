"""Who did what: every call that changes something, in the log and in the store, the last thousand."""

from __future__ import annotations

import logging

import msgspec
from quart import Response, g, request

from _taskqueue.domain.errors import StoreError
from _taskqueue.store.store import Store
from _taskqueue.web.frame import request_id
from _taskqueue.web.problems import Problem, in_time
from _taskqueue.web.routing import Route
from _taskqueue.web.shapes import Time, show_time

KEPT = 1_000
PATH_CHARS_MAX = 200

log = logging.getLogger("taskqueue.audit")


class AuditEntry(msgspec.Struct):
    """One call that changed something."""

    at: Time | None
    caller: str
    address: str
    method: str
    path: str
    status: int
    request_id: str


class Audit:
    """Writes and reads the trail."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def note(self, found: Route, response: Response) -> None:
        """Keep this call, if it changes something and was allowed to."""
        if not found.mutates or response.status_code in (401, 403, 404, 422):
            return
        caller = g.caller.name
        log.info(
            "%s: %s %s → %d", caller, request.method, request.path[:PATH_CHARS_MAX], response.status_code, extra={"event": "audit"}
        )  # fmt: skip
        fields = {
            "caller": caller, "address": str(request.remote_addr), "method": request.method, "path": request.path[:PATH_CHARS_MAX],
            "status": response.status_code, "request_id": request_id(),
        }  # fmt: skip
        flat = [part for pair in fields.items() for part in pair]
        try:
            with in_time():
                await self._store.command("audit", "XADD", self._store.key("audit"), "MAXLEN", "~", KEPT, "*", *flat)
        except (StoreError, Problem):
            log.warning("the audit trail in the store lacks the line above")

    async def read(self, limit: int) -> list[AuditEntry]:
        """The latest entries. Raises StoreError."""
        found = await self._store.command("audit", "XREVRANGE", self._store.key("audit"), "+", "-", "COUNT", limit)
        return [_read(entry_id.decode(), flat) for entry_id, flat in found]


def _read(entry_id: str, flat: list[bytes] | dict[bytes, bytes]) -> AuditEntry:
    pairs = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    fields = {name.decode(): value.decode() for name, value in pairs.items()}
    status = int(fields.pop("status", 0))
    return AuditEntry(at=show_time(int(entry_id.partition("-")[0])), status=status, **fields)
