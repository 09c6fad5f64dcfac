"""Figures in words: with what is known, and without what is not."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.report import wording
from myna.adapt.report.figures import Comparison, Lesson
from tests.adapt.report.made import HOSTILE, curve_of, report


@pytest.mark.parametrize(
    ("compared", "written", "changed"),
    [
        (Comparison(words=96, base_errors=12, errors=8), "12.5 → 8.3 %", "−33 %"),
        (Comparison(words=96, base_errors=12, errors=12), "12.5 → 12.5 %", "±0 %"),
        (Comparison(words=1000, base_errors=999, errors=998), "99.9 → 99.8 %", "±0 %"),
        (Comparison(words=10, base_errors=0, errors=1), "0.0 → 10.0 %", ""),
        (Comparison(base_errors=4, errors=5), "4 → 5 words", "+25 %"),
        (Comparison(words=96, errors=8), "", ""),
        (None, "", ""),
    ],
)
def test_before_and_after(compared: Comparison | None, written: str, changed: str) -> None:
    assert wording.before_after(compared) == written
    assert wording.change(compared) == changed


@pytest.mark.parametrize(
    ("lesson", "written"),
    [
        (
            Lesson(learnt_from={"pseudo": 8, "sung": 1, "corrected": 12, "enrolled": 20}, seconds=204),
            "12 corrected, 20 read, 8 as heard, 1 sung; 3.4 min",
        ),
        (Lesson(learnt_from={"corrected": 5}), "5 corrected"),
        (Lesson(seconds=48.4), "48 s"),
        (Lesson(), ""),
    ],
)
def test_what_was_learnt_from(lesson: Lesson, written: str) -> None:
    assert wording.learnt_from(lesson) == written


@settings(deadline=None)
@given(st.lists(st.integers(0, 0x10FFFF).map(chr)).map("".join))
def test_plain_text_steers_nothing(text: str) -> None:
    shown = wording.plain(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() or c in wording.JOINERS for c in shown)
    shown.encode()


@pytest.mark.parametrize("name", ["Anna Müller", "سارا\u200cجان", "क्\u200dष", "李 雷"])
def test_names_of_people_stay(name: str) -> None:
    assert wording.plain(name) == name


def test_headlines(tmp_path: Path) -> None:
    nothing = wording.headline(curve_of(tmp_path / "a"))
    assert nothing[0] == "Nothing was learnt yet."
    assert nothing[1].startswith("1 utterances can be learnt from, 5 are the least")
    used = wording.headline(curve_of(tmp_path / "b", (None, report()), (HOSTILE, {})))
    assert used[0].startswith("In use: version ")
    assert used[1].endswith("8 word errors instead of 12.")
    assert used[2] == "2 attempts, 1 refused."
    assert wording.headline(curve_of(tmp_path / "c", ("No.", {}))) == [
        "In use: the base alone.",
        "1 attempt, 1 refused.",
    ]


def test_what_was_left_out_is_the_latest_attempt_s(tmp_path: Path) -> None:
    attempts = [(None, report()), (None, report(left_out={"\x1b[1mshort": 2}))]
    assert wording.left_out(curve_of(tmp_path / "data", *attempts)) == {"\ufffd[1mshort": 2}
