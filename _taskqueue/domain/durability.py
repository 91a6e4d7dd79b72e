"""How safe a submission is before it is answered."""

from __future__ import annotations

from enum import StrEnum


class Durability(StrEnum):
    """What has happened to a write when it is called done; each level survives what the one before does not."""

    PRIMARY = "primary"
    """the store has it: survives a crash of this process, and of the store process where an append-only file is on"""
    DISK = "disk"
    """and it is on the store's disk: survives a power cut"""
    REPLICA = "replica"
    """and a replica has it: survives a failover to that replica"""
