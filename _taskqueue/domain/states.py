"""The nine states of a task and every move between them.

TRANSITIONS is one of the three places where the state machine is written down; the others are the ``moves:`` lines of
the Lua scripts and the diagram in the documentation. A test holds the three equal.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a task stands."""

    SCHEDULED = "scheduled"
    """waits for its time"""
    BLOCKED = "blocked"
    """waits for a limit or a parent; no move leads here yet"""
    PENDING = "pending"
    """ready to run"""
    RUNNING = "running"
    """held by a worker's lease"""
    RETRYING = "retrying"
    """failed, waits for its next attempt"""
    SUCCEEDED = "succeeded"
    """finished with a result"""
    DEAD = "dead"
    """out of attempts, discarded, or poison"""
    CANCELLED = "cancelled"
    """stopped on request"""
    EXPIRED = "expired"
    """not started in time"""


WAITING = frozenset({State.SCHEDULED, State.BLOCKED, State.PENDING, State.RETRYING})
TERMINAL = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED})

NEW, GONE = "new", "gone"
"""Before the first state, and after the last."""

TRANSITIONS: dict[str, frozenset[tuple[str, str]]] = {
    "submit": frozenset(
        {
            (NEW, "scheduled"),
            (NEW, "pending"),
            ("scheduled", "cancelled"),
            ("pending", "cancelled"),
            ("retrying", "cancelled"),
        }
    ),
    "promote": frozenset(
        {
            ("scheduled", "pending"),
            ("retrying", "pending"),
            ("scheduled", "expired"),
            ("pending", "expired"),
            ("retrying", "expired"),
        }
    ),
    "settle_and_claim": frozenset(
        {
            ("running", "succeeded"),
            ("running", "retrying"),
            ("running", "scheduled"),
            ("running", "dead"),
            ("running", "cancelled"),
            ("running", "pending"),
            ("scheduled", "pending"),
            ("retrying", "pending"),
            ("scheduled", "expired"),
            ("pending", "expired"),
            ("retrying", "expired"),
            ("pending", "running"),
        }
    ),
    "release": frozenset({("running", "pending"), ("running", "cancelled")}),
    "reap": frozenset({("running", "pending"), ("running", "retrying"), ("running", "dead"), ("running", "cancelled")}),
    "cancel": frozenset({("scheduled", "cancelled"), ("pending", "cancelled"), ("retrying", "cancelled")}),
    "retry": frozenset(
        {
            ("retrying", "pending"),
            ("scheduled", "pending"),
            ("dead", "pending"),
            ("cancelled", "pending"),
            ("expired", "pending"),
        }
    ),
    "edit": frozenset({("pending", "scheduled"), ("scheduled", "pending")}),
    "remove": frozenset(
        {
            ("scheduled", GONE),
            ("pending", GONE),
            ("retrying", GONE),
            ("succeeded", GONE),
            ("dead", GONE),
            ("cancelled", GONE),
            ("expired", GONE),
        }
    ),
    "prune": frozenset(
        {("succeeded", GONE), ("dead", GONE), ("cancelled", GONE), ("expired", GONE)},
    ),
}
"""Script verb → the moves it makes. A move that stands under no verb does not exist."""
