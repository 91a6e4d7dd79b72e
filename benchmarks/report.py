"""What was measured, as JSON, Markdown and a chart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import CRASH_S, NAPS
from benchmarks.catalog import OURS, Peer, read_peers
from benchmarks.chart import Bar, Panel, draw
from benchmarks.runner import Run

DIGITS = 3
THOUSAND = 1_000
AT_LEAST_ONCE = "at least once"
NOISE_CORES = 0.2
"""Beyond that the report warns of its own figures."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One column.

    Args:
        more_is_better: which end of the table is the top.
    """

    key: str
    title: str
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One case's table, sorted by its first column."""

    title: str
    text: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that a report is made of.

    Args:
        about: the machine, the server, how it was run.
        http: see http.compare.
        growth: see growth.
    """

    about: dict[str, Any]
    runs: list[Run]
    http: dict[str, Any]
    growth: dict[str, Any]


DRAIN = Metric("drain_per_s", "tasks/s", more_is_better=True)
CPU = Metric("worker_cpu_us", "worker CPU, µs")
IDLE = Metric("idle_p50_ms", "idle p50, ms")
PENDING = Metric("pending_bytes", "bytes a pending task")
WAITS = Metric("waits_to_ideal", "time ÷ ideal")
RSS = Metric("rss_mb", "worker memory, MB")
REDIS_CPU = Metric("redis_cpu_us", "Redis CPU, µs")
COMMANDS = Metric("redis_commands", "Redis commands")

TABLES = (
    Table(
        "Draining 20,000 no-ops",
        "One worker process, concurrency 100, a full queue; from the first start until everything is settled. CPU, commands and "
        "socket reads are per task; commands inside scripts count.",
        (DRAIN, CPU, REDIS_CPU, COMMANDS, Metric("redis_reads", "Redis reads"), RSS),
    ),
    Table(
        "Enqueueing",
        "100 bytes of payload, one producer process: one call at a time, each awaited; then 20,000 in calls of 500, or by the best "
        "means there is. CPU is per task.",
        (
            Metric("enqueue_bulk_per_s", "bulk, tasks/s", more_is_better=True),
            Metric("enqueue_bulk_cpu_us", "producer CPU, µs"),
            Metric("enqueue_bulk_redis_us", "Redis CPU, µs"),
            Metric("enqueue_single_per_s", "one by one, tasks/s", more_is_better=True),
            Metric("enqueue_single_cpu_us", "producer CPU, µs"),
            PENDING,
        ),
    ),
    Table(
        "Latency",
        "From before the enqueueing call to the start of the handler: 20 tasks a second on an idle queue, then 500 a second.",
        (IDLE, Metric("idle_p99_ms", "idle p99, ms"), Metric("busy_p50_ms", "500/s p50, ms"), Metric("busy_p99_ms", "500/s p99, ms")),
    ),
    Table("2,000 tasks that wait 50 ms", "Concurrency 100: 1.00 would be 2,000 × 50 ms ÷ 100.", (WAITS,)),
    Table(
        "A worker killed with SIGKILL",
        f"{NAPS} tasks of 0.3 s, two workers of 20 slots; the busier one is killed at work and a new one started. Missing: not finished "
        f"{CRASH_S:.0f} s after the kill. Systems that let one choose when a silent worker's tasks are taken back have 30 s.",
        (
            Metric("crash_lost", "missing"),
            Metric("crash_recovery_s", "seconds until all had run"),
            Metric("crash_held", "running when killed"),
            Metric("crash_run_twice", "finished twice"),
            Metric("crash_started_again", "started again"),
        ),
    ),
)
SUMMARY = (DRAIN, CPU, REDIS_CPU, COMMANDS, IDLE, WAITS, PENDING, RSS)
PANELS = (
    (DRAIN, "No-op tasks a second", "one worker process; more is better"),
    (CPU, "Worker CPU a task, µs", "less is better"),
    (IDLE, "Idle queue: enqueue to start, ms", "median; less is better"),
    (PENDING, "Redis memory a pending task, bytes", "100 bytes of payload; less is better"),
)


class Medians:
    """The figures of all runs, by peer."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}
        for run in runs:
            for key, value in run.figures.items():
                self._values.setdefault((run.peer, key), []).append(value)

    def get(self, peer: str, metric: Metric) -> float | None:
        """The median, None without figures."""
        values = self._values.get((peer, metric.key))
        return statistics.median(values) if values else None

    def spread(self, peer: str, metric: Metric) -> str:
        """Lowest to highest; empty for a single run."""
        values = self._values.get((peer, metric.key), [])
        low, high = show(min(values, default=0)), show(max(values, default=0))
        return f" ({low}–{high})" if low != high else ""

    def sorted_by(self, peers: Iterable[Peer], *metrics: Metric) -> list[Peer]:
        """The peers that have the first of these figures, best first; the others decide between equals."""
        known = [peer for peer in peers if self.get(peer.name, metrics[0]) is not None]
        return sorted(known, key=lambda peer: [self._rank(peer, metric) for metric in metrics])

    def _rank(self, peer: Peer, metric: Metric) -> float:
        value = self.get(peer.name, metric) or 0.0
        return -value if metric.more_is_better else value


def show(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if value >= THOUSAND:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 1
    return f"{value:.{max(DIGITS - whole, 0)}f}"


# -- Markdown -----------------------------------------------------------------------------------------------------------


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]], rule: str = "---:") -> list[str]:
    lines = [head, ["---", *[rule] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _name(peer: Peer) -> str:
    return f"**{peer.title}**" if peer.name == OURS else peer.title


def _cell(medians: Medians, peer: Peer, metric: Metric, *, spread: bool) -> str:
    value = medians.get(peer.name, metric)
    if value is None:
        return "–"
    if metric.key == "crash_recovery_s" and value >= CRASH_S:
        return f"not in {CRASH_S:.0f}"
    text = f"**{show(value)}**" if peer.name == OURS else show(value)
    return text + (medians.spread(peer.name, metric) if spread else "")


def _summary(medians: Medians, peers: Sequence[Peer]) -> list[str]:
    heads = ["", "no-op tasks/s", "worker CPU, µs", "Redis CPU, µs", "Redis commands", "idle start, ms", "50 ms waits ÷ ideal"]
    rows = [
        [_name(peer), *[_cell(medians, peer, metric, spread=False) for metric in SUMMARY], _crash(medians, peer)]
        for peer in medians.sorted_by(peers, DRAIN)
    ]
    return _grid([*heads, "bytes pending", "worker MB", "after kill -9"], rows)


def _ratios(medians: Medians, peers: Sequence[Peer]) -> list[str]:
    """How ours stands to the fastest of each kind."""
    own = next((medians.get(peer.name, DRAIN) for peer in peers if peer.name == OURS), None)
    safe = [peer for peer in medians.sorted_by(peers, DRAIN) if peer.name != OURS and peer.delivery == AT_LEAST_ONCE]
    firsts = {peer.kind: peer for peer in reversed(safe)}
    if own is None or not firsts:
        return []
    said = [f"{own / (medians.get(peer.name, DRAIN) or own):.1f} × {peer.title}" for peer in firsts.values()]
    return [f"No-op tasks a second, to the fastest peers that deliver at least once: {' and '.join(said)}.", ""]


def _crash(medians: Medians, peer: Peer) -> str:
    lost, seconds = (medians.get(peer.name, Metric(key, "")) for key in ("crash_lost", "crash_recovery_s"))
    if lost is None or seconds is None:
        return "–"
    return f"{lost:.0f} of {NAPS} missing" if lost else f"all back in {seconds:.0f} s"


def _table(table: Table, medians: Medians, peers: Sequence[Peer]) -> list[str]:
    ranked = medians.sorted_by(peers, *table.metrics[:2])
    if not ranked:
        return []
    rows = [[_name(peer), *[_cell(medians, peer, metric, spread=True) for metric in table.metrics]] for peer in ranked]
    return [f"## {table.title}", "", table.text, "", *_grid(["", *[metric.title for metric in table.metrics]], rows), ""]


def _http(http: dict[str, Any]) -> list[str]:
    if not http:
        return []
    quart = http.get("quart", {}).get("per_s")
    rows = [_http_row(one, quart) for one in http.values() if "per_s" in one]
    failed = [f"- {one['title']}: {one['failure']}" for one in http.values() if "failure" in one]
    text = "wrk with 32 connections, 5 s a run; one server process, one Redis. CPU is of the server process, per task."
    head = ["", "tasks/s", "÷ Quart", "CPU, µs", "p50, ms", "p99, ms", "errors"]
    return ["## POST /tasks", "", text, "", *_grid(head, rows), "", *failed, ""]


def _http_row(one: dict[str, Any], quart: float | None) -> list[str]:
    title = f"**{one['title']}**" if one["title"].startswith("taskqueue") else one["title"]
    ratio = f"{one['per_s'] / quart:.2f}" if quart else "–"
    spread = f" ({show(min(one['runs']))}–{show(max(one['runs']))})"
    return [title, show(one["per_s"]) + spread, ratio, *[show(one[key]) for key in ("cpu_us", "p50_ms", "p99_ms", "errors")]]


GROWING = (
    ("submit_redis_us", "submit, a task"),
    ("claim_redis_us", "claim and settle, a task"),
    ("cancel_redis_us", "cancel one"),
    ("list_redis_us", "list 50"),
    ("list_ms", "list 50, ms"),
    ("pending_bytes", "bytes a pending task"),
    ("slow_scripts", "scripts over 1 ms"),
)


def _growth(growth: dict[str, Any]) -> list[str]:
    if not growth:
        return []
    rows = [[f"{one['pending']:,}", *[show(one[key]) for key, _ in GROWING]] for one in growth["sizes"]]
    text = "What calls cost over the number of pending tasks: µs of Redis CPU, calls of 100 tasks where there are several."
    lines = ["## Growth (ours)", "", text, "", *_grid(["pending", *[title for _, title in GROWING]], rows), ""]
    drains, late = growth["drains"], growth["late"]
    rows = [[_drain_title(name), *[show(one[key]) for key in ("per_s", "worker_cpu_us", "redis_cpu_us")]] for name, one in drains.items()]
    lines += ["Draining 100,000 no-ops, all workers waiting when the queue is resumed:", ""]
    lines += [*_grid(["", "tasks/s", "worker CPU, µs", "Redis CPU, µs"], rows), ""]
    return [*lines, f"Delayed tasks start {show(late['p50_ms'])} ms (p50), {show(late['p99_ms'])} ms (p99) after their time.", ""]


def _drain_title(name: str) -> str:
    titles = {"1": "one worker process", "no aof": "one worker, no persistence", "aof": "one worker, append-only file, everysec"}
    return titles.get(name, f"{name} worker processes")


def _failures(runs: Iterable[Run], peers: dict[str, Peer]) -> list[str]:
    lines = [f"- {peers[run.peer].title}, {run.case}: {run.failure}" for run in runs if run.failure]
    return ["## Failed runs", "", *lines, ""] if lines else []


def _settings(peers: Iterable[Peer]) -> list[str]:
    rows = [[_name(peer), ", ".join(peer.install) or "this repository", peer.delivery, peer.settings] for peer in peers]
    return ["## Versions and settings", "", *_grid(["", "versions", "delivery", "settings"], rows, rule="---"), ""]


def _about(about: dict[str, Any]) -> str:
    kept = f" · cases not run again then are of {about['kept']}" if "kept" in about else ""
    pinned = ", worker and server pinned to a core each" if about["pinned"] else ""
    return (
        f"{about['when']} · commit {about['commit'] or 'unknown'} · "
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB · {about['kernel']} · "
        f"Python {about['python']} · {about['server']}, no persistence · medians of {about['rounds']} interleaved rounds (lowest–highest)"
        f"{pinned} · load before: {about['load'][0]}{kept}"
    )


def _noise(runs: Iterable[Run]) -> list[str]:
    """A warning when the machine was not ours alone."""
    taken = [run.figures["elsewhere_cores"] for run in runs if "elsewhere_cores" in run.figures]
    cores = statistics.median(taken) if taken else 0.0
    if cores < NOISE_CORES:
        return []
    text = f"The machine had other work meanwhile: {cores:.1f} cores of it (median over the drains). Figures by the clock suffer from that"
    return [f"> {text}, most those of systems whose worker and Redis keep a core busy each; CPU, commands and bytes do not.", ""]


def markdown(results: Results) -> str:
    """The whole report."""
    known, medians = read_peers(), Medians(results.runs)
    peers = [known[name] for name in dict.fromkeys(run.peer for run in results.runs)]
    lines = ["# Benchmarks", "", _about(results.about), "", "![Comparison](chart.svg)", ""]
    lines += _noise(results.runs)
    lines += ["How each figure is made is in [the README](../README.md).", ""]
    if medians.sorted_by(peers, DRAIN):
        lines += [*_summary(medians, peers), "", *_ratios(medians, peers)]
    for table in TABLES:
        lines += _table(table, medians, peers)
    lines += [
        *_http(results.http),
        *_growth(results.growth),
        *_failures(results.runs, known),
        *_settings(sorted(peers, key=lambda peer: peer.title.lower())),
    ]
    return "\n".join(lines)


# -- the chart and the files ----------------------------------------------------------------------------------------------


def panels(results: Results) -> list[Panel]:
    """The chart's panels, each sorted, ours marked."""
    medians, peers = Medians(results.runs), list(read_peers().values())
    return [
        Panel(title, note, [_bar(medians, peer, metric) for peer in medians.sorted_by(peers, metric)]) for metric, title, note in PANELS
    ]


def _bar(medians: Medians, peer: Peer, metric: Metric) -> Bar:
    value = medians.get(peer.name, metric) or 0.0
    return Bar(peer.title, value, show(value), peer.name == OURS)


def merged(old: Results, new: Results) -> Results:
    """The new results, with the old ones of all that was not run again."""
    ran = {(run.peer, run.case) for run in new.runs}
    about = {**new.about, "kept": f"{old.about['when']}, commit {old.about['commit'] or 'unknown'}"}
    return Results(
        about, [run for run in old.runs if (run.peer, run.case) not in ran] + new.runs, new.http or old.http, new.growth or old.growth
    )


def write_report(results: Results, folder: Path) -> Path:
    """Write results.json, README-ready report.md and chart.svg; gives the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")
    (folder / "chart.svg").write_text(draw([panel for panel in panels(results) if panel.bars]))
    report = folder / "report.md"
    report.write_text(markdown(results))
    return report


def read_results(folder: Path) -> Results:
    """What the last run wrote."""
    found = json.loads((folder / "results.json").read_text())
    return Results(found["about"], [Run(**run) for run in found["runs"]], found["http"], found.get("growth", {}))
