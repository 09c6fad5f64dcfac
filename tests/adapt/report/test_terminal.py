"""The curve in the terminal: everything that is known, nothing that steers the terminal, a chart that does not lie."""

import io
from pathlib import Path

from rich.console import Console

from myna.adapt.report.figures import Curve
from myna.adapt.report.terminal import ROWS, chart, show
from tests.adapt.report.made import HOSTILE, curve_of, report


def shown(curve: Curve, width: int = 80) -> str:
    out = io.StringIO()
    show(curve, Console(file=out, width=width))
    return out.getvalue()


def columns(drawn: str, count: int) -> list[str]:
    """Read the bars of a chart, each from its foot up."""
    rows = [line.partition("┤")[2].ljust(3 * count) for line in drawn.splitlines() if "┤" in line]
    return ["".join(row[3 * i] for row in reversed(rows)).rstrip() for i in range(count)]


def test_all_of_it(tmp_path: Path) -> None:
    curve = curve_of(tmp_path / "data", (None, report()), ("It does not help yet.", report(13)), (None, report(6)))
    text = shown(curve, 120)
    assert text.startswith("anna\n")
    for part in (
        "12.5 → 8.3 %",
        "−33 %",
        "9.0 → 9.1 %",
        "of 96 words",
        "12 corrected, 20 read, 8 as heard; 3.4 min",
        "It does not help yet.",
        "3 without words",
        "3 attempts, 1 refused.",
        str(curve.attempts[2].version),
    ):
        assert part in text
    assert text.count("in use") == 2  # in the table, in the key of the chart


def test_hostile_names_and_reasons(tmp_path: Path) -> None:
    told = report(learnt_from={HOSTILE: 3}, left_out={HOSTILE: 2})
    text = shown(curve_of(tmp_path / "data", (HOSTILE, told), (None, told | {"gate": HOSTILE}), speaker="\x1b[2J[b]"))
    assert text.startswith("\ufffd[2J[b]\n")
    assert "[bold red]" in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_nothing_learnt_yet(tmp_path: Path) -> None:
    text = shown(curve_of(tmp_path / "data"))
    assert "Nothing was learnt yet." in text
    assert "5 are the least" in text
    assert "Wrong words" not in text


def test_reports_that_say_nothing(tmp_path: Path) -> None:
    text = shown(curve_of(tmp_path / "data", (None, {}), (None, {}), ("No.", {})))
    assert "In use" in text
    assert "No." in text
    assert "Wrong words" not in text


def test_bars_and_the_base_above_them(tmp_path: Path) -> None:
    made = [(None, report(48, 96)), (None, report(24, 96)), ("No.", report(72, 48)), ("No.", report(96, 95))]
    drawn = chart(curve_of(tmp_path / "data", *made).attempts, 80)
    assert drawn is not None
    half, quarter, worse, hardly = columns(drawn.plain, 4)
    assert half == "████   ▔"
    assert quarter == "██     ▔"
    assert worse == "░░░▔░░"  # the base is inside the bar
    assert hardly == "░" * ROWS  # nor does it look like a gain where both end in one row


def test_a_chart_needs_two_points(tmp_path: Path) -> None:
    made = [(None, report()), (None, {}), (None, report())]
    assert chart(curve_of(tmp_path / "a", *made[:2]).attempts, 80) is None
    assert chart(curve_of(tmp_path / "b", *made).attempts, 80) is not None


def test_no_errors_at_all(tmp_path: Path) -> None:
    drawn = chart(curve_of(tmp_path / "data", (None, report(0, 0)), (None, report(0, 0))).attempts, 80)
    assert drawn is not None
    assert columns(drawn.plain, 2) == ["", ""]


def test_many_attempts_fit(tmp_path: Path) -> None:
    curve = curve_of(tmp_path / "data", *((None, report(n % 12)) for n in range(70)))
    for width in (1, 40, 80, 200):
        drawn = chart(curve.attempts, width)
        assert drawn is not None
        assert all(len(line.rstrip()) <= max(15, width) for line in drawn.plain.splitlines() if "┤" in line)
        assert ", the latest " in drawn.plain
