"""The Idempotency-Key header (IETF draft-ietf-httpapi-idempotency-key-header-07).

Before anything is stored, the key is taken together with the ids the new tasks will have. A repetition finds them and
submits under the same ids, which the store does not do twice; so a request that was cut off anywhere, even by the death
of this process, can be sent again and yields the same tasks. Once answered, the answer itself is replayed for a day.
A request that was refused leaves its key as it is: the repetition tries the same ids again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from quart import request

from _taskqueue.store.store import Store
from _taskqueue.web.problems import Problem

KEY_CHARS_MAX = 255
LIFE_MS = 24 * 3600 * 1000


class Kept(msgspec.Struct, array_like=True):
    """What lies under a key."""

    fingerprint: str
    ids: list[str]
    body: bytes = b""
    """what was answered; empty while the request is under way"""


class Reservation(msgspec.Struct):
    """One request under a key."""

    name: str
    kept: Kept
    repeated: bool

    @property
    def ids(self) -> list[str]:
        """The ids its tasks have, whichever request took the key."""
        return self.kept.ids

    @property
    def answered(self) -> bool:
        """An earlier request was answered; this one gets the same."""
        return bool(self.kept.body)

    @property
    def body(self) -> bytes:
        """What was answered."""
        return self.kept.body


class Idempotency:
    """Keys in the store, apart for each caller."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reserve(self, caller: str, body: bytes, ids: Sequence[str]) -> Reservation | None:
        """Take the key of this request; None when it has none. Raises Problem, StoreError."""
        key = read_key(request.headers.get("Idempotency-Key"))
        if key is None:
            return None
        asked = b"\0".join((request.method.encode(), request.path.removeprefix("/v1").encode(), request.query_string, body))
        kept = Kept(hashlib.sha256(asked).hexdigest(), list(ids))
        name = "idempotency:" + hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()
        found = await self._store.run("reserve", "", msgspec.msgpack.encode(kept), LIFE_MS, index=name)
        if not found:
            return Reservation(name, kept, repeated=False)
        earlier = msgspec.msgpack.decode(found, type=Kept)
        if earlier.fingerprint != kept.fingerprint:
            raise Problem(422, "idempotency_mismatch", "this Idempotency-Key was used for another request; take a new one")
        return Reservation(name, earlier, repeated=True)

    async def keep(self, taken: Reservation, body: bytes) -> None:
        """Keep the answer, to be replayed. Raises StoreError."""
        kept = Kept(taken.kept.fingerprint, taken.kept.ids, body)
        await self._store.command("idempotency", "SET", self._store.key(taken.name), msgspec.msgpack.encode(kept), "PX", LIFE_MS)


def read_key(text: str | None) -> str | None:
    """The key, quoted as the draft has it or bare. Raises Problem."""
    if text is None:
        return None
    key = text.strip()
    if key.startswith('"'):
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\") if key.endswith('"') else ""
    if not 1 <= len(key) <= KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        raise Problem(400, "invalid_idempotency_key", f"Idempotency-Key must have 1 to {KEY_CHARS_MAX} printable ASCII characters")
    return key
