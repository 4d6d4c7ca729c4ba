"""Plots as SVG, drawn here: bars over time with a table of the same numbers beside. Pure."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

WIDTH: Final = 480
HEIGHT: Final = 96
FLOOR: Final = 80  # y of the zero line; times stand below it
GAP: Final = 1.0
ROW: Final = 34  # of the picture of a relation
MOST_SHOWN: Final = 16  # characters of a node that stand in its box as they are
BOX: Final = 26


class Series(NamedTuple):
    """One row of numbers, its name, and the class of its colour."""

    name: str
    colour: str
    values: Sequence[int]


class Labels(NamedTuple):
    """What a plot says: what it shows, which times its ends are, and how a number is written."""

    title: str
    first: str
    last: str
    write: Callable[[float], str]


def stacked_bars(series: Sequence[Series], labels: Labels) -> Markup:
    """Return bars that stand on each other."""
    sums = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    top = max([*sums, 1])
    step = WIDTH / max(1, len(sums))
    bars = list[Markup]()
    heights = [0.0] * len(sums)
    for each in series:
        for at, value in enumerate(each.values):
            if not value:
                continue
            height = max(1.0, value / top * (FLOOR - 10))
            heights[at] += height
            bars.append(_bar(each.colour, at * step, FLOOR - heights[at], step - GAP, height))
    return _frame(Markup("").join(bars), labels, top)


def side_by_side(series: Sequence[Series], labels: Labels) -> Markup:
    """Return bars beside each other, for numbers of which each is a part of the one before."""
    top = max([value for each in series for value in each.values] or [1]) or 1
    size = max(1, len(series[0].values) if series else 1)
    step, share = WIDTH / size, max(1, len(series))
    bars = [
        _bar(
            each.colour,
            at * step + place * (step - GAP) / share,
            FLOOR - max(1.0, value / top * (FLOOR - 10)),
            (step - GAP) / share,
            max(1.0, value / top * (FLOOR - 10)),
        )
        for place, each in enumerate(series)
        for at, value in enumerate(each.values)
        if value
    ]
    return _frame(Markup("").join(bars), labels, top)


def _bar(colour: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        colour, *(f"{number:.1f}".rstrip("0").rstrip(".") for number in (x, y, width, height))
    )


def _frame(bars: Markup, labels: Labels, top: int) -> Markup:
    title, first, last, write = labels
    return Markup(
        '<svg class="plot" viewBox="0 0 {w} {h}" role="img" aria-label="{title}">'
        '<text x="0" y="8">{top}</text>{bars}<line x1="0" y1="{floor}" x2="{w}" y2="{floor}"/>'
        '<text x="0" y="{h}" dy="-3">{first}</text>'
        '<text x="{w}" y="{h}" dy="-3" text-anchor="end">{last}</text></svg>'
    ).format(w=WIDTH, h=HEIGHT, floor=FLOOR, title=title, bars=bars, top=write(top), first=first, last=last)


class Node(NamedTuple):
    """A record in the picture of a relation: what its box says, where it leads, and how its line looks."""

    text: str
    href: str
    tone: str = "plain"


def neighbourhood(
    parent: Node, child: Node, *, of_parent: Sequence[Node], of_child: Sequence[Node], title: str
) -> Markup:
    """Return a relation's two records; left the parent's other children, right the child's other parents."""
    height = max(len(of_parent), len(of_child), 1) * ROW + 10
    middle = height / 2
    parts = [_line(300, middle, 340, middle, "wanted")]
    for nodes, x, edge, centre in ((of_parent, 0, 120, 180), (of_child, 520, 520, 460)):
        for at, node in enumerate(nodes):
            y = (height - len(nodes) * ROW) / 2 + at * ROW + ROW / 2
            parts += [_line(centre, middle, edge, y, node.tone), _box(node, x, y - BOX / 2)]
    parts += [_box(parent, 180, middle - BOX / 2, "own"), _box(child, 340, middle - BOX / 2, "own")]
    return Markup(
        '<svg class="picture" viewBox="0 0 640 {height}" role="group" aria-label="{title}">{parts}</svg>'
    ).format(height=f"{height:.0f}", title=title, parts=Markup("").join(parts))


def _line(x1: float, y1: float, x2: float, y2: float, tone: str) -> Markup:
    return Markup('<line class="{}" x1="{:.0f}" y1="{:.0f}" x2="{:.0f}" y2="{:.0f}"/>').format(
        tone, x1, y1, x2, y2
    )


def _box(node: Node, x: float, y: float, kind: str = "") -> Markup:
    fitted = Markup(' textLength="112" lengthAdjust="spacingAndGlyphs"')
    return Markup(
        '<a href="{}"><rect class="{} {}" x="{:.0f}" y="{:.0f}" width="120" height="{}" rx="4"/>'
        '<text x="{:.0f}" y="{:.0f}" text-anchor="middle"{fit}>{text}</text></a>'
    ).format(
        *(node.href, kind, node.tone, x, y, BOX, x + 60, y + 17),
        fit=fitted if len(node.text) > MOST_SHOWN else "",
        text=node.text,
    )
