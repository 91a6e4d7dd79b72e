"""What a worker tells about itself with each heartbeat; the last one is what is known of a worker that died."""

from __future__ import annotations

import msgspec


class Block(msgspec.Struct, frozen=True):
    """A handler that blocks the event loop of its worker."""

    task_id: str
    stack: str


class Beat(msgspec.Struct, frozen=True):
    """One heartbeat."""

    worker: str
    queues: list[str] = []
    tasks: list[str] = []
    signatures: dict[str, str] = {}
    """task → what tells apart how workers of different releases read its payload"""
    slots: int = 0
    busy: int = 0
    lag_seconds: float = 0.0
    memory_bytes: int = 0
    memory_max_bytes: int = 0
    """what its container may use; 0 where nothing is set"""
    started_at: float = 0.0
    quiet: bool = False
    version: str = ""
    stalled: bool = False
    """the last words of a worker whose event loop is blocked for too long"""
    block: Block | None = None


_decode = msgspec.json.Decoder(Beat).decode


def read_beat(text: bytes) -> Beat | None:
    """A heartbeat as it was told; None for that of a worker of another version."""
    try:
        return _decode(text)
    except msgspec.DecodeError:
        return None
