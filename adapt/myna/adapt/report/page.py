"""A speaker's learning curve as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

The page is built as a tree and written out by the standard library, so whatever a name or a reason holds stays text.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from myna.adapt.report.charts import STYLE, bars_chart, curve_chart, put
from myna.adapt.report.figures import Attempt, Comparison, Curve, points
from myna.adapt.report.wording import (
    SOURCES,
    change,
    headline,
    left_out,
    length,
    name_of,
    percent,
    plain,
    reason_of,
    when,
)
from myna.adapt.store import StoreError
from myna.adapt.store.files import write_file

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a browser is not to load or run anything, whatever is here
PAGE_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fcfcfb; --ink: #1a1a19; --muted: #5f5e5a; --grid: #e1e0da; --panel: #f2f1ed;
  --learnt: #2a78d6; --refused: #b3261e; --corrected: #2a78d6; --enrolled: #12885d; --pseudo: #c27c00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #1a1a19; --ink: #f0efe9; --muted: #b0afa8; --grid: #3b3a37; --panel: #262624;
    --learnt: #5a9ff0; --refused: #f28b82; --corrected: #3987e5; --enrolled: #199e70; --pseudo: #c98500;
  }
}
body { background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 58rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p, ul { margin: .4rem 0; } ul { padding-left: 1.25rem; } .note, footer { color: var(--muted); font-size: .875rem; }
.now { background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; }
.figure { font-size: 1.75rem; font-weight: 600; line-height: 1.2; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--grid); padding: .35rem .4rem; text-align: right; white-space: nowrap; }
td.first, th.first { padding-left: 1.1rem; }
caption, th[scope=row], .left, .group { text-align: left; } caption, thead th { color: var(--muted); }
thead th { vertical-align: bottom; white-space: normal; }
.group { border-bottom: 0; padding-bottom: 0; } th { font-weight: 600; } th code, th span { font-weight: 400; }
tr.used th, tr.used td { background: var(--panel); } footer { margin-top: 2.5rem; }
"""
COLUMNS = {
    "held-out speech": ["words", "base", "learnt", "change", "sure"],
    "other people's": ["base", "learnt", "strength"],
    "learnt from": [*SOURCES.values(), "length"],
}
EXPLAINED = (
    "Base and learnt: words that are wrong. Change: of errors, relative to the base's. Sure: share of "
    "resamples of these utterances that show a gain, in words or in the loss. Strength: "
    "at which what was learnt is taken, as much as other people's speech bears."
)
NOTE = (
    "Each attempt holds some utterances out of what it learns and is judged by those. They differ from attempt to "
    "attempt, so compare each point with the base beside it, rather than with the point before."
)
OWN = "No speech and no words of it are on this page, but it is about a person: share it as you would that."


def write_page(curve: Curve, file: Path) -> None:
    """Write the page, whole or not at all. Raises StoreError where the file exists, or can't be written."""
    if file.exists():
        raise StoreError(f"{file}: exists already; name a new file")
    try:
        write_file(file, page(curve).encode())
    except OSError as error:
        raise StoreError(f"{file}: can't be written ({error.strerror})") from None


def page(curve: Curve) -> str:
    """Make the page."""
    html = Element("html", lang="en")
    _head(html, f"What Myna learnt of {plain(curve.speaker)}")
    main = put(put(html, "body"), "main")
    title = put(main, "h1", "What Myna learnt of ")
    put(title, "bdi", plain(curve.speaker))
    _now(main, curve)
    if points(curve.attempts):
        put(main, "h2", "Wrong words on held-out speech")
        curve_chart(main, curve.attempts)
        put(main, "p", NOTE, class_="note")
    if any(one.told.learnt_from for one in curve.attempts):
        put(main, "h2", "What was learnt from, in utterances")
        bars_chart(main, curve.attempts)
    _refused(main, [one for one in curve.attempts if one.version is None])
    _left_out(main, curve)
    if curve.attempts:
        put(main, "h2", "All figures")
        _table(main, curve.attempts)
    put(main, "footer", f"As of {when(curve.read_s)}. {OWN}")
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _head(html: Element, title: str) -> None:
    head = put(html, "head")
    put(head, "meta", charset="utf-8")
    put(head, "meta", http_equiv="Content-Security-Policy", content=POLICY)
    put(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    put(head, "title", title)
    put(head, "style", PAGE_STYLE + STYLE)


def _now(main: Element, curve: Curve) -> None:
    """Say where things stand, the figure of the version in use first."""
    box = put(main, "div", class_="now")
    held = curve.used.told.held_out if curve.used else None
    if held and held.base_wer is not None and held.wer is not None:
        put(box, "p", f"{percent(held.wer)} of words wrong instead of {percent(held.base_wer)}", class_="figure")
    for sentence in headline(curve):
        row = put(box, "p")
        for number, part in enumerate(sentence.split("`")):
            put(row, "code" if number % 2 else "span", part)


def _refused(main: Element, refused: Sequence[Attempt]) -> None:
    if not refused:
        return
    put(main, "h2", "Refused, and why")
    rows = put(main, "ul")
    for one in refused:
        row = put(rows, "li")
        put(row, "strong", f"{one.number}, {when(one.created_s)}: ")
        put(row, "bdi", reason_of(one))


def _left_out(main: Element, curve: Curve) -> None:
    out = left_out(curve)
    if not out:
        return
    put(main, "h2", "Left out of the latest attempt" if curve.attempts else "Left out so far")
    rows = put(main, "ul")
    for reason, count in out.items():
        put(put(rows, "li", f"{count}: "), "bdi", reason)


def _table(main: Element, attempts: Sequence[Attempt]) -> None:
    """Write down every figure that the charts show, and more."""
    put(main, "p", EXPLAINED, class_="note", id="explained")
    box = put(main, "div", class_="wide", tabindex=0, role="group", aria_label="All figures, a table")
    table = put(box, "table", aria_describedby="explained")
    put(table, "caption", "Attempts, the oldest first")
    head, body = put(table, "thead"), put(table, "tbody")
    above, below = put(head, "tr"), put(head, "tr")
    put(above, "th", "attempt", scope="col", rowspan=2, class_="left")
    for group, names in COLUMNS.items():
        put(above, "th", group, scope="colgroup", colspan=len(names), class_="group first")
        for name in names:
            put(below, "th", name, scope="col", class_="first" if name == names[0] else None)
    starts = {sum(map(len, list(COLUMNS.values())[:i])) for i in range(len(COLUMNS))}
    for one in attempts:
        row = put(body, "tr", class_="used" if one.in_use else None)
        title = put(row, "th", f"{one.number}, {when(one.created_s)}", scope="row")
        put(title, "br")
        put(title, "code" if one.version else "span", name_of(one))
        if one.in_use:
            put(title, "span", " in use")
        for column, cell in enumerate(_cells(one)):
            put(row, "td", cell, class_="first" if column in starts else None)


def _cells(one: Attempt) -> list[str]:
    """Fill COLUMNS."""
    told, held, others = one.told, one.told.held_out or Comparison(), one.told.generic or Comparison()
    return [
        str(held.words if held.words is not None else ""),
        percent(held.base_wer),
        percent(held.wer),
        change(held),
        percent(held.sure, digits=0),
        percent(others.base_wer),
        percent(others.wer),
        percent(told.strength, digits=0),
        *(str(told.learnt_from.get(source, "")) for source in SOURCES),
        length(told.seconds) if told.seconds is not None else "",
    ]
