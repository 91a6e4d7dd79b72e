"""The table of what was tried and what came of it, as Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

import redis

from tests.faults.servers import binary_of
from tests.faults.trial import Row
from tests.program import ROOT

HEAD = """# Faults on purpose

`make faults` breaks the parts of a running queue and counts what came of it: real processes, real servers, real signals.
Handlers write their own ledger, apart from the queue; submitters write down what was answered 2xx. *Lost* is what was
acknowledged and never ended, *extra runs* what ran more than once (at-least-once allows one a crash, for what was in
flight). Leases are 5 s here (30 s by default), so recoveries take a sixth of what they take by default. After each
scenario every key of the store is checked against the schema and every task for being in exactly one state.

"""
SOAK = "\n## A long run"


def write_report(path: Path, rows: list[Row], seed: int, scale: float) -> None:
    """Write the table; what a soak has written below it stays."""
    kept = path.read_text().partition(SOAK)[2] if path.exists() else ""
    parts = [HEAD, about(seed, scale), "\n\n", table(rows), "\n", details(rows)]
    path.write_text("".join(parts) + (SOAK + kept if kept else ""))


def write_soak(path: Path, text: str) -> None:
    """Write what a soak found below the table."""
    before = path.read_text().partition(SOAK)[0] if path.exists() else HEAD
    path.write_text(before.rstrip() + "\n" + SOAK + "\n\n" + text)


def about(seed: int, scale: float) -> str:
    """Where and with what it was run."""
    versions = [f"Python {platform.python_version()}", f"redis-py {redis.__version__}", *map(_server_version, ("redis", "valkey"))]
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return f"{when} · commit {_commit()} · {' · '.join(versions)} · {machine()} · seed {seed} · scale {scale:g}"


def machine() -> str:
    """The system and its processor, on which other things may have run too."""
    names = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{f' ({names[0]})' if names else ''}"


def table(rows: list[Row]) -> str:
    """One line a scenario."""
    lines = ["| scenario | promise | faults | tasks | lost | extra runs | recovered in | held |", "|---|---|---|--:|--:|--:|--:|---|"]
    for row in rows:
        recovered = "" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
        lines.append(
            f"| `{row.name}` | {row.promise} | {row.faults} | {row.tasks:,} | {row.lost} | {row.duplicates} | {recovered} "
            f"| {'yes' if row.ok else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


def details(rows: list[Row]) -> str:
    """Every bound of every scenario, with the figure that was met."""
    parts = ["\n## Bounds, and the figures met\n"]
    for row in rows:
        bounds = " · ".join(bound.text if bound.held else f"**not: {bound.text}**" for bound in row.bounds)
        parts.append(f"- `{row.name}` ({row.seconds:.0f} s): {bounds}")
    return "\n".join(parts) + "\n"


def _server_version(kind: str) -> str:
    said = subprocess.run([binary_of(kind), "--version"], capture_output=True, text=True, check=False).stdout
    version = next((word[2:] for word in said.split() if word.startswith("v=")), "?")
    return f"{'Valkey' if 'alkey' in said else 'Redis'} {version}"


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
