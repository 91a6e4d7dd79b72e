"""The one codec between Python values and the bytes that Redis keeps (MessagePack through msgspec)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from _taskqueue.domain.task import UNREADABLE, Attempt, Outcome, Progress, Record

Value = TypeVar("Value")

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Pack a Record, Attempt, Outcome or Progress."""


def _tolerant(kind: type[Value], unreadable: Value) -> Callable[[bytes], Value]:
    """A decoder that gives a stand-in for what it cannot read."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(packed: bytes) -> Value:
        try:
            return decode(packed)
        except (msgspec.DecodeError, ValueError):
            return unreadable

    return read


decode_record = _tolerant(Record, UNREADABLE)
"""UNREADABLE stands for what a newer release wrote or something broke: one record must never stop the others."""
decode_attempt = _tolerant(Attempt, Attempt(0, "unreadable", 0, 0, ""))
decode_outcome = _tolerant(Outcome, Outcome(0, 0, 0, "", None, "unreadable"))
decode_progress = _tolerant(Progress, Progress(0, None, None, 0))

CUT_BYTES = 49_152
"""What a list reads of a record: all but the end of a long payload. What stands before the payload is at most 40 KiB:
sixteen values of meta of 512 characters of four bytes, and tags.
"""


def decode_cut(part: bytes, length: int) -> Record:
    """A record of which only the first bytes were read: its payload, which stands last, ends in zeros."""
    return decode_record(part if len(part) == length else part + bytes(length - len(part)))
