"""A handful of faults in small, for every run of the tests; ``make faults`` runs them all, in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.catalog import SCENARIOS
from tests.faults.trial import try_out

SLACK = 3.0
"""The machine may have other things to do."""
CHOSEN = {
    "kill-workers": 0.06,
    "freeze-beyond-the-lease": 0.1,
    "kill-the-api": 0.1,
    "store-killed-1s": 0.1,
    "store-killed-aof-always": 0.1,
    "snapshots-fail": 0.1,
    "scripts-flushed": 0.1,
    "sigterm-under-load": 0.1,
    "stuck-handlers": 0.1,
}
"""Scenario → scale."""


@pytest.mark.parametrize("name", CHOSEN)
def test_what_is_promised_holds(name: str, tmp_path: Path) -> None:
    row = try_out(SCENARIOS[name], tmp_path / name, seed=7, scale=CHOSEN[name], slack=SLACK)

    assert [bound.text for bound in row.bounds if not bound.held] == []
