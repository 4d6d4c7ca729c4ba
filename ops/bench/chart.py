"""A chart of bars as SVG, readable on light and on dark pages. Values in, text out."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from ops.bench.report import OURS

WIDTH: Final = 800
LABEL: Final = 300  # room for the names on the left
VALUE: Final = 110  # room for the numbers on the right
LINE: Final = 22
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.note { fill: #59636e; font-size: 12px }
.ours { fill: #0969da } .theirs { fill: #8c959f } .spread { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .note { fill: #9198a1 }
  .ours { fill: #4493f8 } .theirs { fill: #656c76 } .spread { stroke: #f0f6fc }
}
"""


class Bar(NamedTuple):
    """One bar, with the least and the most of its rounds."""

    name: str
    value: float
    least: float
    most: float
    ours: bool


class Panel(NamedTuple):
    """Bars on one scale under one title."""

    title: str
    note: str
    bars: Sequence[Bar]


def draw(panels: Sequence[Panel]) -> str:
    """Return the panels one below the other, as an SVG document."""
    parts, top = list[str](), 10
    for panel in panels:
        parts += _panel(panel, top)
        top += 58 + LINE * len(panel.bars)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">'
    title = f"<title>{escape('; '.join(panel.title for panel in panels))}</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def panels_of(facts: Mapping[str, Any]) -> list[Panel]:
    """Return a panel for each latency of the mailing, the fastest first."""
    runs = [run for run in facts["work"]["runs"] if run["load"] == "mailing"]
    return [
        Panel(
            f"Changes per second, API answers after {1000 * latency:g} ms",
            "the same mailing; no pace holds anything back; lines are the least and the most of all rounds",
            _bars([run for run in runs if run["latency"] == latency]),
        )
        for latency in sorted({run["latency"] for run in runs})
    ]


def _bars(runs: Sequence[Mapping[str, Any]]) -> list[Bar]:
    ordered = sorted(runs, key=lambda run: -run["rate"])
    return [
        Bar(f"{run['who']}, {run['how']}", run["rate"], run["least"], run["most"], run["who"] == OURS)
        for run in ordered
    ]


def _panel(panel: Panel, top: int) -> list[str]:
    longest = max(bar.most for bar in panel.bars)
    scale = (WIDTH - LABEL - VALUE) / longest
    lines = [
        f'<text class="title" x="0" y="{top + 14}">{escape(panel.title)}</text>',
        f'<text class="note" x="0" y="{top + 32}">{escape(panel.note)}</text>',
    ]
    for place, bar in enumerate(panel.bars):
        lines += _bar(bar, scale, top + 42 + LINE * place)
    return lines


def _bar(bar: Bar, scale: float, top: int) -> list[str]:
    kind, middle, end = "ours" if bar.ours else "theirs", top + LINE // 2, LABEL + bar.most * scale
    least, width = LABEL + bar.least * scale, max(1.0, bar.value * scale)
    return [
        f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{kind}" x="{LABEL}" y="{top + 3}" width="{width:.1f}" height="{LINE - 6}" rx="2"/>',
        f'<line class="spread" x1="{least:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{max(end, LABEL + width) + 6:.1f}" y="{middle + 4}">{bar.value:,.0f}</text>',
    ]
