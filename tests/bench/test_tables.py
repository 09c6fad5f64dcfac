"""Tables: their layout, and how they get into a document; what the documents hold: tests/contracts/test_figures.py."""

import pytest

from myna.bench.tables import filled, interval, table


def test_layout() -> None:
    row = {"wer": 0.0623, "wer_interval": [0.0541, 0.0718]}
    assert interval(row) == "6.2 (5.4 to 7.2)"
    assert table("a", "b", rows=[["1", interval(row)]]) == "| a | b |\n|---|---|\n| 1 | 6.2 (5.4 to 7.2) |\n"


def test_a_table_takes_the_place_of_another() -> None:
    text = "before\n<!-- x -->\n| old |\n<!-- end -->\nbetween\n<!-- y -->\n<!-- end -->\nafter\n"
    done = filled(text, {"x": lambda: "| new \\1 |\n"})
    assert done == "before\n<!-- x -->\n| new \\1 |\n<!-- end -->\nbetween\n<!-- y -->\n<!-- end -->\nafter\n"
    assert filled(done, {"x": lambda: "| new \\1 |\n"}) == done
    with pytest.raises(ValueError, match="no place for the table z"):
        filled(text, {"z": lambda: ""})
