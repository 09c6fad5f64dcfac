"""A speaker's learning curve in the terminal: a table, what was refused, a small chart, what was left out."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from myna.adapt.report.figures import Attempt, Curve, points
from myna.adapt.report.wording import (
    before_after,
    change,
    headline,
    learnt_from,
    left_out,
    name_of,
    plain,
    reason_of,
    when,
)

ROWS = 8  # of the chart
EIGHTHS = " ▁▂▃▄▅▆▇█"
ACCEPTED, REFUSED, BASE = "blue", "red", "yellow"
MARGIN, COLUMN = 9, 3  # characters: of the scale, of an attempt with the gap behind it


def show(curve: Curve, console: Console) -> None:
    """Print it."""
    console.print(Text(plain(curve.speaker), style="bold"))
    console.print(Text(" ".join(headline(curve))))
    if curve.attempts:
        console.print(_table(curve.attempts))
    for one in curve.attempts:
        if one.version is None:
            console.print(Text.assemble((f"Refused {when(one.created_s)}: ", "bold"), reason_of(one)))
    drawn = chart(curve.attempts, console.width)
    if drawn:
        console.print(drawn)
    out = left_out(curve)
    if out:
        console.print(Text("Left out of the latest attempt:" if curve.attempts else "Left out so far:", style="bold"))
        for reason, count in out.items():
            console.print(Text(f"{count:6} {reason}"))


def chart(attempts: Sequence[Attempt], width: int) -> Text | None:
    """Draw word error rates as bars under the base's, the latest that fit; None for fewer than two."""
    known = points(attempts)
    shown = known[-max(2, (width - MARGIN) // COLUMN) :]
    if len(shown) < 2:
        return None
    top = max(0.01, *(max(one.base, one.learnt) for one in shown))
    latest = f", the latest {len(shown)}" if len(shown) < len(known) else ""
    drawn = Text.assemble((f"Wrong words on held-out speech{latest}\n", "bold"), no_wrap=True)
    for row in reversed(range(ROWS)):
        label = {ROWS - 1: f"{100 * top:.1f} %", 0: "0 %"}.get(row, "")
        drawn.append(f"{label:>{MARGIN - 2}} ┤")
        for one in shown:
            drawn.append(*_cell(one.attempt, one.base / top * ROWS - row, one.learnt / top * ROWS - row)).append(" ")
        drawn.append("\n")
    marks = " ".join("▲▲" if one.attempt.in_use else "  " for one in shown)
    drawn.append(f"{' ' * MARGIN}{marks.rstrip()}\n")
    for key, style, word in (("██", ACCEPTED, "learnt"), ("░░", REFUSED, "refused"), ("──", BASE, "the base alone")):
        drawn.append(key, style).append(f" {word}   ")
    return drawn.append("▲▲ in use")


def _cell(attempt: Attempt, base: float, learnt: float) -> tuple[str, str]:
    """Draw one row of a bar, and name its style; levels are in rows above this row's foot."""
    if 0 < base <= 1 and not base < learnt <= 1:
        return ("▁" if base < 1 / 3 else "─" if base < 2 / 3 else "▔") * 2, BASE
    eighths = min(8, max(0, round(learnt * 8)))
    if attempt.version is None:
        return ("░" if eighths >= 4 else " ") * 2, REFUSED
    return EIGHTHS[eighths] * 2, ACCEPTED


def _table(attempts: Sequence[Attempt]) -> Table:
    table = Table("attempt", "learnt from", "word errors", "other people's", show_lines=True)
    for one in attempts:
        held = one.told.held_out
        name = Text(f"{when(one.created_s)}\n{name_of(one)}")
        if one.in_use:
            name.append("\nin use", style="bold green")
        words = f"of {held.words} words" if held and held.words else ""
        own = _lines(before_after(held), change(held), words)
        others = _lines(before_after(one.told.generic), change(one.told.generic))
        table.add_row(name, Text(learnt_from(one.told)), own, others)
    return table


def _lines(*parts: str) -> Text:
    """Put what there is on lines of its own."""
    return Text("\n".join(part for part in parts if part))
