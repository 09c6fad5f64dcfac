"""The charts of the page, drawn as SVG: word error rates by attempt, and what was learnt from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from myna.adapt.report.figures import Attempt, points
from myna.adapt.report.wording import SOURCES, before_after, by_source, change, learnt_from, name_of, when

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 56, 16, 44, 44  # pixels
MOST_TICKS, LABEL = 5, 76  # labels of the scale at most; pixels that a date takes
OTHER = "other"
CLASSES = {word: source for source, word in SOURCES.items()}

STYLE = """
svg { display: block; width: 100%; min-width: 40rem; height: auto; font-size: 12px; }
svg text { fill: var(--muted); }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.grid { stroke: var(--grid); } .axis { stroke: var(--muted); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.learnt { stroke: var(--learnt); } .base { stroke: var(--muted); stroke-dasharray: 5 4; }
.gain { stroke: var(--grid); } .cap { stroke: var(--muted); stroke-width: 2; }
.dot { fill: var(--learnt); stroke: var(--ground); }
.ring { fill: none; stroke: var(--learnt); stroke-width: 2; }
.refused { fill: none; stroke: var(--refused); stroke-width: 2; stroke-linecap: round; }
.corrected { fill: var(--corrected); } .enrolled { fill: var(--enrolled); } .pseudo { fill: var(--pseudo); }
.other { fill: var(--muted); }
"""


def put(parent: Element, tag: str, text: str | None = None, /, **attributes: object) -> Element:
    """Add an element; `class_` becomes `class`, other underscores hyphens, and None is left out."""
    given = {name: value for name, value in attributes.items() if value is not None}
    named = {name.rstrip("_").replace("_", "-"): _written(value) for name, value in given.items()}
    added = SubElement(parent, tag, named)
    added.text = text
    return added


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where things lie: the foot of the scale and what a unit of it takes, and what an attempt takes, in pixels."""

    foot: float
    unit: float
    slot: float

    def x(self, attempt: Attempt) -> float:
        return LEFT + (attempt.number - 0.5) * self.slot

    def y(self, value: float) -> float:
        return self.foot - value * self.unit


def curve_chart(parent: Element, attempts: Sequence[Attempt]) -> None:
    """Draw word error rates on held-out speech, those of the base beside them; refused ones are no part of the line."""
    shown = points(attempts)
    svg = _chart(parent, 320, "curve", "Wrong words on held-out speech, by attempt", _said(shown[-1].attempt))
    plane = _axes(svg, 320, attempts, 100 * max(max(one.base, one.learnt) for one in shown), " %")
    _legend(svg, [("learnt", 28), ("the base alone", 28), ("refused", 12), ("in use", 18)], _curve_key)
    size, cap = min(4.5, max(1.5, plane.slot / 3)), min(12.0, plane.slot / 3)
    places = [(one, plane.x(one), plane.y(100 * base), plane.y(100 * learnt)) for one, base, learnt in shown]
    for _, x, base, learnt in places:
        put(svg, "line", x1=x, x2=x, y1=base, y2=learnt, class_="gain")
        put(svg, "line", x1=x - cap, x2=x + cap, y1=base, y2=base, class_="cap")
    _line(svg, [(x, base) for _, x, base, _ in places], "line base")
    _line(svg, [(x, learnt) for one, x, _, learnt in places if one.version], "line learnt")
    for one, x, _, learnt in places:
        mark = put(svg, "g")
        put(mark, "title", _said(one))
        _mark(mark, x, learnt, size, one.version is not None, one.in_use)


def bars_chart(parent: Element, attempts: Sequence[Attempt]) -> None:
    """Draw how many utterances were learnt from, stacked by where their texts came from."""
    rows = [(one, by_source(one.told.learnt_from)) for one in attempts]
    most, latest = max(sum(row.values()) for _, row in rows), attempts[-1]
    said = f"{_title(latest)}: {learnt_from(latest.told) or 'unknown'}"
    svg = _chart(parent, 260, "bars", "Utterances learnt from, by attempt and by where their texts came from", said)
    plane = _axes(svg, 260, attempts, most, "")
    words = {word if word in CLASSES else OTHER for _, row in rows for word in row}
    _legend(svg, [(word, 12) for word in (*CLASSES, OTHER) if word in words], _bar_key)
    broad = min(40.0, 0.7 * plane.slot)
    for one, row in rows:
        below = 0
        for word, count in row.items():
            top, foot = plane.y(below + count), plane.y(below)
            foot -= min(2.0, (foot - top) / 2) if below and broad > 8 else 0.0  # a gap between segments
            place = {"x": plane.x(one) - broad / 2, "y": top, "width": broad, "height": foot - top}
            bar = put(svg, "rect", **place, class_=CLASSES.get(word, OTHER))
            put(bar, "title", f"{_title(one)}: {count} {word}")
            below += count
        if below and plane.slot >= 9 * len(str(most)):
            put(svg, "text", str(below), x=plane.x(one), y=plane.y(below) - 5, class_="middle")


def _chart(parent: Element, height: int, name: str, title: str, latest: str) -> Element:
    """Begin a chart, and describe it to those who can't see it."""
    box = put(parent, "div", class_="wide", tabindex=0, role="group", aria_label=title)
    svg = put(box, "svg", viewBox=f"0 0 {WIDTH} {height}", role="img", aria_labelledby=f"{name}-title {name}-desc")
    put(svg, "title", title, id=f"{name}-title")
    put(svg, "desc", f"The latest: {latest}. The table below has all figures.", id=f"{name}-desc")
    return svg


def _axes(svg: Element, height: int, attempts: Sequence[Attempt], highest: float, unit: str) -> _Plane:
    """Draw a scale that holds the highest value, and the attempts' numbers and dates where there is room."""
    step = _step(highest, whole=not unit)
    ticks = max(1, -int(-highest // step))
    foot = height - BOTTOM
    plane = _Plane(foot, (foot - TOP) / (ticks * step), (WIDTH - LEFT - RIGHT) / len(attempts))
    for tick in range(ticks + 1):
        y = plane.y(tick * step)
        put(svg, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid" if tick else "axis")
        put(svg, "text", f"{tick * step:g}{unit}", x=LEFT - 8, y=y + 4, class_="end")
    every, day = -int(-LABEL // plane.slot), ""
    for one in attempts[::every]:
        put(svg, "text", str(one.number), x=plane.x(one), y=foot + 16, class_="middle")
        if (now := when(one.created_s)[:10]) != day:
            put(svg, "text", now, x=plane.x(one), y=foot + 32, class_="middle")
        day = now
    return plane


def _step(highest: float, whole: bool) -> float:
    """Choose a round distance of a scale's ticks."""
    step, factors = (1.0 if whole else 0.1), (2, 2.5, 2)  # 1, 2, 5, 10
    at = 0
    while highest / step > MOST_TICKS:
        step *= factors[at % 3]
        at += 1
    return step


def _legend(
    svg: Element, entries: Sequence[tuple[str, int]], key: Callable[[Element, str, float, float], None]
) -> None:
    """Draw a row of keys above the chart: word, and pixels of its key."""
    x = float(LEFT)
    for word, size in entries:
        key(svg, word, x, 16.0)
        put(svg, "text", word, x=x + size + 6, y=20)
        x += size + 6 + 7 * len(word) + 20


def _curve_key(svg: Element, word: str, x: float, y: float) -> None:
    if word == "the base alone":
        _line(svg, [(x, y), (x + 28, y)], "line base")
    elif word == "learnt":
        _line(svg, [(x, y), (x + 28, y)], "line learnt")
        _mark(svg, x + 14, y, 4.5, True, False)
    else:
        _mark(svg, x + (9 if word == "in use" else 6), y, 4.5, word == "in use", word == "in use")


def _bar_key(svg: Element, word: str, x: float, y: float) -> None:
    put(svg, "rect", x=x, y=y - 6, width=12, height=12, rx=2, class_=CLASSES.get(word, OTHER))


def _line(svg: Element, points: Sequence[tuple[float, float]], kind: str) -> None:
    if len(points) > 1:
        put(svg, "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def _mark(svg: Element, x: float, y: float, size: float, accepted: bool, in_use: bool) -> None:
    """Draw a dot or a cross, `size` pixels from its middle, and a ring around what is in use."""
    if accepted:
        put(svg, "circle", cx=x, cy=y, r=size, stroke_width=size / 3, class_="dot")
    else:
        left, right, top, foot = (f"{at:.1f}" for at in (x - size, x + size, y - size, y + size))
        put(svg, "path", d=f"M{left} {top}L{right} {foot}M{left} {foot}L{right} {top}", class_="refused")
    if in_use:
        put(svg, "circle", cx=x, cy=y, r=8.5, class_="ring")


def _written(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _title(attempt: Attempt) -> str:
    return f"{attempt.number}, {when(attempt.created_s)}"


def _said(attempt: Attempt) -> str:
    state = "in use" if attempt.in_use else name_of(attempt)
    held = attempt.told.held_out
    return f"{_title(attempt)}, {state}: {before_after(held)}" + (f" ({change(held)})" if change(held) else "")
