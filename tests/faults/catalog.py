"""Every scenario by its name: importing a theme enters what it holds."""

from __future__ import annotations

from tests.faults import crash, loop, network, outages, refusals, shutdown, topology, volume
from tests.faults.trial import SCENARIOS

THEMES = (crash, outages, refusals, network, loop, shutdown, topology, volume)

__all__ = ["SCENARIOS", "THEMES"]
