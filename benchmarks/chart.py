"""Horizontal bars as SVG, two panels a row, legible on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PANEL_WIDTH, NAME_WIDTH, VALUE_WIDTH = 440, 84, 64
ROW, BAR, HEAD, GAP, MARGIN = 24, 14, 52, 32, 20
BAR_MIN = 1.5
"""A bar too short to be seen is drawn this wide."""
COLUMNS = 2

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .note { font-size: 12px; fill: #59636e; }
  .value { font-variant-numeric: tabular-nums; }
  .page { fill: #ffffff; }
  .bar { fill: #a8b1bb; }
  .ours { fill: #d9480f; }
  text.ours { font-weight: 700; fill: #b93c0a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .page { fill: #0d1117; }
    .bar { fill: #4d5866; }
    .ours { fill: #ff7a3d; }
    text.ours { fill: #ff9a6b; }
  }"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One system's value.

    Args:
        text: the value as it is shown.
        ours: drawn in the colour of ours.
    """

    name: str
    value: float
    text: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One measure."""

    title: str
    note: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        """Pixels."""
        return HEAD + ROW * len(self.bars)


def draw(panels: Sequence[Panel]) -> str:
    """The whole picture."""
    rows = [panels[first : first + COLUMNS] for first in range(0, len(panels), COLUMNS)]
    parts: list[str] = []
    y = MARGIN
    for row in rows:
        parts += [_panel(panel, MARGIN + column * (PANEL_WIDTH + GAP), y) for column, panel in enumerate(row)]
        y += max(panel.height for panel in row) + GAP
    width, height = 2 * MARGIN + COLUMNS * PANEL_WIDTH + GAP, y - GAP + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    page = f'<rect class="page" width="{width}" height="{height}" rx="6"/>'
    return "\n".join([head, "<title>taskqueue and its peers, measured</title>", f"<style>{STYLE}\n</style>", page, *parts, "</svg>"]) + "\n"


def _panel(panel: Panel, x: int, y: int) -> str:
    scale = (PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH) / (max(bar.value for bar in panel.bars) or 1)
    lines = [f'<g transform="translate({x} {y})">', f'<text class="title" y="15">{escape(panel.title)}</text>']
    lines.append(f'<text class="note" y="33">{escape(panel.note)}</text>')
    lines += [_bar(bar, HEAD + ROW * number, scale) for number, bar in enumerate(panel.bars)]
    return "\n".join([*lines, "</g>"])


def _bar(bar: Bar, y: int, scale: float) -> str:
    width = max(bar.value * scale, BAR_MIN)
    mark = " ours" if bar.ours else ""
    text_y = y + BAR - 2.5
    return (
        f'<text class="name{mark}" x="{NAME_WIDTH - 8}" y="{text_y}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect class="bar{mark}" x="{NAME_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        f'<text class="value{mark}" x="{NAME_WIDTH + width + 6:.1f}" y="{text_y}">{escape(bar.text)}</text>'
    )
