"""Cursors: opaque, signed, and good only for the list they come from."""

from __future__ import annotations

import base64
import hmac

import msgspec

from _taskqueue.filters import Filter
from _taskqueue.store.browse import Position
from _taskqueue.web.problems import Problem

SEAL_BYTES = 12


class _Content(msgspec.Struct, array_like=True):
    digest: str
    descending: bool
    key: float
    id: str


class Cursors:
    """Writes and reads cursors.

    Args:
        secret: the same in every replica, so that each reads the others' cursors.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, wanted: Filter, descending: bool, at: Position | None) -> str | None:
        """The cursor of what follows this position."""
        if at is None:
            return None
        content = msgspec.msgpack.encode(_Content(wanted.digest, descending, at.key, at.id))
        return base64.urlsafe_b64encode(self._seal(content) + content).decode().rstrip("=")

    def read(self, text: str, wanted: Filter, descending: bool) -> Position | None:
        """The position of a cursor. Raises Problem when it is none, or belongs to another list."""
        if not text:
            return None
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            seal, content = raw[:SEAL_BYTES], raw[SEAL_BYTES:]
            if not hmac.compare_digest(seal, self._seal(content)):
                raise ValueError
            found = msgspec.msgpack.decode(content, type=_Content)
        except (ValueError, msgspec.DecodeError):
            raise Problem(400, "cursor_mismatch", "this is no cursor of this server; begin without one") from None
        if (found.digest, found.descending) != (wanted.digest, descending):
            raise Problem(400, "cursor_mismatch", "this cursor belongs to another filter or order; begin without one")
        return Position(found.key, found.id)

    def _seal(self, content: bytes) -> bytes:
        return hmac.new(self._secret, content, "sha256").digest()[:SEAL_BYTES]
