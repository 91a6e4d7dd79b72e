"""The one codec between Python values and the bytes that Redis keeps (MessagePack through msgspec)."""

from __future__ import annotations

import msgspec

from _taskqueue.domain.task import Attempt, Outcome, Progress, Record

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Pack a Record, Attempt, Outcome or Progress."""

decode_record = msgspec.msgpack.Decoder(Record).decode
decode_attempt = msgspec.msgpack.Decoder(Attempt).decode
decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
decode_progress = msgspec.msgpack.Decoder(Progress).decode


CUT_BYTES = 49_152
"""What a list reads of a record: all but the end of a long payload. What stands before the payload is at most 40 KiB:
sixteen values of meta of 512 characters of four bytes, and tags.
"""


def decode_cut(part: bytes, length: int) -> Record:
    """A record of which only the first bytes were read: its payload, which stands last, ends in zeros."""
    return decode_record(part if len(part) == length else part + bytes(length - len(part)))
