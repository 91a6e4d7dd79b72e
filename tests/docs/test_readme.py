"""What the README claims, asserted from the code: settings table, endpoints, state diagram, commands, its size."""

from __future__ import annotations

import re
from pathlib import Path

from _taskqueue.domain.states import GONE, NEW, TRANSITIONS
from _taskqueue.settings import OPTIONS, Option
from tests.faults.catalog import SCENARIOS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def settings_table() -> str:
    """The table as the README must show it."""
    lines = ["| flag | default | |", "|---|---|---|", *map(_row, OPTIONS)]
    return "\n".join(lines)


def _row(option: Option) -> str:
    default = f"`{option.default}`" if option.default else ""
    return f"| `{option.flag}` | {default} | {option.help} |"


def test_the_settings_table_is_that_of_the_code() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README, re.DOTALL)

    assert found is not None
    assert found[1] == settings_table()


def test_the_diagram_is_the_state_machine() -> None:
    drawn = set(re.findall(r"^    (\[\*\]|\w+) --> (\w+)", README, re.MULTILINE))
    moves = {move for verb in TRANSITIONS.values() for move in verb if GONE not in move}

    assert {(NEW if source == "[*]" else source, target) for source, target in drawn} == moves


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()

    for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README names make {target}"


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), f"README links to {link}"


def test_it_stays_readable() -> None:
    prose = re.sub(r"<!-- settings -->.*<!-- /settings -->|```mermaid.*?```", "", README, flags=re.DOTALL)

    assert len(prose.splitlines()) <= 180


def test_every_scenario_named_is_one_that_make_faults_runs() -> None:
    rows = README.partition("proven by |")[2].partition("\n\n")[0].splitlines()
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row.rpartition(" | ")[2])}

    assert len(named) > 30
    assert named <= set(SCENARIOS)
