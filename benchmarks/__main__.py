"""``python -m benchmarks``: measure, then write the report."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.cases import CASES
from benchmarks.catalog import read_peers
from benchmarks.growth import measure_growth
from benchmarks.http.compare import compare_http
from benchmarks.progress import Progress
from benchmarks.report import Results, merged, read_results, write_report
from benchmarks.runner import Plan, machine, prepare_all, run_plan

HTTP, GROWTH = "http", "growth"
ALONE = (HTTP, GROWTH)
"""Cases that run by themselves, after the others."""
ROUNDS = 3
RESULTS = Path(__file__).parent / "results"

T = TypeVar("T")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Our queue and its peers, side by side.")
    parser.add_argument("--peers", default="", help=f"with commas, default all: {', '.join(read_peers())}")
    parser.add_argument("--cases", default="", help=f"with commas, default all: {', '.join([*CASES, *ALONE])}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each case; the report shows medians (default {ROUNDS})")
    parser.add_argument("--pin", action="store_true", help="server and worker each on a core of its own")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--keep", action="store_true", help="keep what the last report has of other peers and cases")
    parser.add_argument("--report", action="store_true", help="only write the report of the last run again")
    return parser.parse_args()


def chosen(names: str, known: Mapping[str, T]) -> list[T]:
    """The values with these names, separated by commas; all when empty."""
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"benchmarks: no such name: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def measure(options: argparse.Namespace) -> Results:
    """Run what was asked for."""
    names = chosen(options.cases, {name: name for name in [*CASES, *ALONE]})
    cases = [CASES[name] for name in names if name not in ALONE]
    peers = chosen(options.peers, read_peers()) if cases else []
    about = machine()
    setting_up = Progress(len(peers))
    ready, runs = prepare_all(peers, setting_up)
    setting_up.close()
    plan = Plan(ready, cases, options.rounds, options.pin)
    progress = Progress(plan.steps())
    http: dict[str, Any] = {}
    growth: dict[str, Any] = {}
    try:
        run_plan(plan, runs, progress)
        progress.close()
        http = compare_http() if HTTP in names else {}
        growth = measure_growth() if GROWTH in names else {}
    except KeyboardInterrupt:
        progress.say("interrupted: the report has what was measured so far")
    return Results({**about, "rounds": options.rounds, "pinned": options.pin}, runs, http, growth)


def main() -> None:
    """The program."""
    options = read_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = read_results(options.out) if options.report else measure(options)
    if options.keep:
        results = merged(read_results(options.out), results)
    sys.stdout.write(f"{write_report(results, options.out)}\n")


if __name__ == "__main__":
    main()
