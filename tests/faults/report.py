"""The table of what was tried and what came of it, as Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import re
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
TABLE = """| scenario | promise | faults | tasks | lost | extra runs | recovered in | held |
|---|---|---|--:|--:|--:|--:|---|
"""
SOAK = "\n## A long run"


def write_report(path: Path, rows: list[Row], about: str, *, keep: bool = False) -> None:
    """Write the table; what a soak has written below it stays.

    Args:
        about: where and with what these rows were made.
        keep: whether rows of other scenarios stay, with what is said about them.
    """
    before, _, soak = path.read_text().partition(SOAK) if path.exists() else ("", "", "")
    old = before if keep else ""
    lines = re.findall(r"^(\d{4}-\d\d-\d\d · .*)$", old, re.MULTILINE)
    notes = [*lines, about + (f" · {', '.join(row.name for row in rows)}" if lines else "")]
    parts = [HEAD, "  \n".join(notes), "\n\n", TABLE, *_merged(old, "| ", [_line(row) for row in rows])]
    parts += ["\n## Bounds, and the figures met\n\n", *_merged(old, "- ", [_detail(row) for row in rows])]
    path.write_text("".join(parts) + (SOAK + soak if soak else ""))


def _merged(old: str, start: str, lines: list[str]) -> list[str]:
    """The lines of a report, each with its scenario's name, put in the place of earlier ones or at the end."""
    found = {name: line for line, name in re.findall(rf"^({re.escape(start)}`([a-z0-9-]+)`.*\n)", old, re.MULTILINE)}
    return list((found | {line.split("`")[1]: line for line in lines}).values())


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


def _line(row: Row) -> str:
    recovered = "" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
    held = "yes" if row.ok else "**no**"
    figures = f"{row.tasks:,} | {row.lost} | {row.duplicates} | {recovered} | {held}"
    return f"| `{row.name}` | {row.promise} | {row.faults} | {figures} |\n"


def _detail(row: Row) -> str:
    bounds = " · ".join(bound.text if bound.held else f"**not: {bound.text}**" for bound in row.bounds)
    return f"- `{row.name}` ({row.seconds:.0f} s): {bounds}\n"


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
