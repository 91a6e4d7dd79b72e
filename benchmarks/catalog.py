"""Who takes part: ``versions.toml`` as values."""

from __future__ import annotations

import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
VENVS = HERE / ".venvs"
OURS = "ours"
COUNT_MIN = 100


@dataclass(frozen=True, slots=True)
class Peer:
    """One system and how it is installed and watched."""

    name: str
    title: str
    install: tuple[str, ...]
    probes: tuple[str, ...]
    """Redis commands whose answers are 0 when everything is settled"""
    delivery: str
    settings: str
    kind: str = "python"
    share: float = 1.0
    """of the counts, for slow systems"""
    brisk_slots: int = 100
    """concurrency where tasks do not wait: systems of threads are faster with few"""

    @property
    def home(self) -> Path:
        """Where its environment is."""
        return VENVS / self.name

    def command(self) -> list[str]:
        """The adapter's program and its first arguments."""
        if self.kind == "node":
            return [shutil.which("node") or "node", str(HERE / "peers" / f"{self.name}.mjs")]
        python = sys.executable if self.name == OURS else str(self.home / "bin/python")
        return [python, "-m", f"benchmarks.peers.{self.name}"]

    def count(self, full: int) -> int:
        """How many tasks this system is given where others get ``full``."""
        return max(COUNT_MIN, int(full * self.share))


def read_peers() -> dict[str, Peer]:
    """All of ``versions.toml``, in its order."""
    tables = tomllib.loads((HERE / "versions.toml").read_text())
    return {name: _peer(name, table) for name, table in tables.items() if name != "http"}


def http_pins() -> tuple[str, ...]:
    """What the HTTP comparison installs."""
    return tuple(tomllib.loads((HERE / "versions.toml").read_text())["http"]["install"])


def _peer(name: str, table: dict[str, Any]) -> Peer:
    lists = {key: tuple(table[key]) for key in ("install", "probes")}
    return Peer(name, **{**table, **lists})
