"""What an orderly stop could not tell the store, since it was away: kept in a file, for the next worker that starts here.

Without it the store learns of the stop only when the lease has ended, and counts it as a crash of what ran.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from _taskqueue.store.store import Store

PATTERN = "left-*.json"

log = logging.getLogger("taskqueue.worker")


class Farewell:
    """The leases that ended in order and unheard.

    Args:
        folder: the data folder, which need not exist; None keeps nothing: an embedded store ends with its worker.
        worker: the name of this worker.
    """

    def __init__(self, folder: Path | None, worker: str, store: Store) -> None:
        self._folder, self._store = folder, store
        self._name = f"left-{worker.replace(':', '-').replace('/', '-')}.json"
        self._where = [store.connector.shown, store.namespace]

    def keep(self, leases: Sequence[tuple[str, str]]) -> None:
        """Keep these leases: queue and id of each. Where nothing can be written, the store waits for their end."""
        if not leases or self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(self._folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump({"store": self._where, "leases": list(leases)}, file)
        except OSError as error:
            log.debug("the end of this worker cannot be kept in %s: %s", self._folder, error.strerror)

    async def tell(self) -> None:
        """Give back what workers before held here when they stopped in order. Raises StoreError."""
        for path in sorted(self._folder.glob(PATTERN)) if self._folder is not None else ():
            kept = _read(path)
            if kept.get("store") != self._where:
                continue
            count = 0
            for queue, lease in kept.get("leases", ()):
                held = {one.id for one in await self._store.held_by(queue, lease)}
                count += max(0, await self._store.release(queue, lease, held, close=True))
            path.unlink(missing_ok=True)
            log.info("%d tasks go back that a worker held when it stopped without the store", count)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
