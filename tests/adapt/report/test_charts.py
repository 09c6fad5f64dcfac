"""The page's charts: a mark for each attempt, at its place; refusals off the line; stacks that add up."""

from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from myna.adapt.report.charts import bars_chart, curve_chart, put
from myna.adapt.report.figures import Curve
from tests.adapt.report.made import HOSTILE, curve_of, report


def drawn(curve: Curve, chart: str) -> Element:
    main = Element("main")
    (curve_chart if chart == "curve" else bars_chart)(main, curve.attempts)
    return main


def of_class(drawn: Element, name: str) -> list[Element]:
    return [one for one in drawn.iter() if name in one.get("class", "").split()]


def number(element: Element, name: str) -> float:
    return float(element.get(name, "nan"))


@pytest.fixture
def curve(tmp_path: Path) -> Curve:
    attempts = [(None, report(12)), ("No.", report(20)), (None, report(6)), (None, {}), (None, report(3))]
    return curve_of(tmp_path / "data", *attempts)


def test_a_mark_for_each_attempt_whose_rates_are_known(curve: Curve) -> None:
    found = drawn(curve, "curve")
    places = [number(dot, "cy") for dot in of_class(found, "dot")[1:3]]  # the first and the last are of the key
    assert places == sorted(places)
    assert len(of_class(found, "dot")) == 3 + 2
    assert len(of_class(found, "refused")) == 1 + 1
    assert len(of_class(found, "ring")) == 1 + 1
    titles = [one.text or "" for one in found.iter("title")]
    assert len(titles) == 1 + 4
    assert titles[-1].endswith("in use: 12.5 → 3.1 % (−75 %)")


def test_refused_ones_are_no_part_of_the_line(curve: Curve) -> None:
    base, learnt = (of_class(drawn(curve, "curve"), f"line {name}".split()[1])[-1] for name in ("base", "learnt"))
    assert len(base.get("points", "").split()) == 4
    assert len(learnt.get("points", "").split()) == 3


def test_scales_are_round_and_hold_everything(tmp_path: Path) -> None:
    for most, labels in ((0, ["0 %", "0.1 %"]), (12, ["0 %", "5 %", "10 %", "15 %"]), (96 * 40, ["0 %", "1000 %"])):
        found = drawn(curve_of(tmp_path / str(most), (None, report(most, 0))), "curve")
        written = [one.text for one in of_class(found, "end")]
        assert written[: len(labels)] == labels
        assert 2 <= len(written) <= 6
        assert all(0 < number(dot, "cy") < 320 for dot in of_class(found, "dot"))


def test_stacks_add_up(curve: Curve) -> None:
    found = drawn(curve, "bars")
    heights = {name: number(of_class(found, name)[1], "height") for name in ("corrected", "enrolled", "pseudo")}
    pixels = heights["corrected"] / 12  # the lowest has no gap below
    assert heights["enrolled"] == pytest.approx(20 * pixels - 2, abs=0.1)
    assert heights["pseudo"] == pytest.approx(8 * pixels - 2, abs=0.1)
    assert [one.text for one in of_class(found, "middle") if one.text == "40"] == ["40"] * 4


def test_sources_of_others_are_shown_as_such(tmp_path: Path) -> None:
    told = report(learnt_from={"corrected": 2, HOSTILE: 1, "sung": 4})
    found = drawn(curve_of(tmp_path / "data", (None, told)), "bars")
    assert len(of_class(found, "other")) == 1 + 2
    assert "other" in [one.text for one in found.iter("text")]


def test_many_attempts_keep_apart(tmp_path: Path) -> None:
    curve = curve_of(tmp_path / "data", *((None, report(n % 12)) for n in range(100)))
    found = drawn(curve, "curve")
    dots = sorted(number(dot, "cx") for dot in of_class(found, "dot") if number(dot, "r") < 4.5)
    assert len(dots) == 100
    assert dots[-1] <= 720
    dates = sorted(number(one, "x") for one in found.iter("text") if (one.text or "").startswith("1970"))
    assert min(b - a for a, b in pairwise(dates)) >= 70


def test_attributes_are_named_as_they_are_written() -> None:
    element = put(Element("g"), "path", "text", class_="a", stroke_width=1.25, aria_label="b", x=2.0, y=None)
    assert element.attrib == {"class": "a", "stroke-width": "1.2", "aria-label": "b", "x": "2"}
    assert element.text == "text"
