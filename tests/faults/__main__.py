"""``python -m tests.faults``: break everything that can break, count what was lost, write the report."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.progress import Progress
from tests.faults.catalog import SCENARIOS
from tests.faults.report import about, write_report
from tests.faults.trial import Row, Scenario, try_out

REPORT = Path(__file__).parent / "REPORT.md"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Faults on purpose, and what is lost by them.")
    parser.add_argument("--only", default="", help="names with commas; default all: " + ", ".join(SCENARIOS))
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of every random choice")  # noqa: S311 - printed
    parser.add_argument("--scale", type=float, default=1.0, help="share of tasks and faults; 0.1 for a quick look")
    parser.add_argument("--slack", type=float, default=1.0, help="by how much bounds on time are stretched")
    parser.add_argument("--out", type=Path, default=None, help=f"the report (default: {REPORT.name}, when all are run)")
    parser.add_argument("--keep", action="store_true", help="put these rows in the place of those of the report, keep the others")
    parser.add_argument("--folder", type=Path, default=None, help="where the trials keep their files; they stay there")
    return parser.parse_args()


def chosen(names: str) -> list[Scenario]:
    """The scenarios with these names; all when empty."""
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(SCENARIOS)
    if unknown := [name for name in wanted if name not in SCENARIOS]:
        sys.exit(f"faults: no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in wanted]


def run_all(scenarios: list[Scenario], folder: Path, options: argparse.Namespace) -> list[Row]:
    """One after the other; what did not hold is said at once."""
    progress, rows = Progress(len(scenarios)), []
    progress.say(f"seed {options.seed}, scale {options.scale:g}, files in {folder}")
    for one in scenarios:
        progress.begin(one.name)
        row = try_out(one, folder / one.name, options.seed, options.scale, options.slack)
        rows.append(row)
        for bound in row.bounds:
            progress.say(f"  {'ok ' if bound.held else 'NOT'} {bound.text}")
        progress.end(f"{'ok' if row.ok else 'NOT'} {one.name} ({row.seconds:.0f} s)")
    progress.close()
    return rows


def main() -> int:
    """Run what was asked for; 1 when a bound did not hold."""
    options = read_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    scenarios = chosen(options.only)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    rows = run_all(scenarios, folder, options)
    out = options.out or (REPORT if options.keep or not options.only else None)
    if out is not None:
        write_report(out, rows, about(options.seed, options.scale), keep=options.keep)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
