"""Ids to text and back, and where words begin."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myna.models.errors import BundleError
from myna.models.tokens import TokenTable, read_units

UNITS = ["<blank>", "<unk>", "▁THE", "▁", "T", "H", "E", "▁CAT", "S", "'", "你", "好", "▁好", "<sos/eos>"]
TABLE = TokenTable(UNITS)
WORDS = st.text("thesTHES'", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (["▁THE", "▁CAT", "S"], "the cats"),
        (["<blank>", "▁THE", "<unk>", "<sos/eos>"], "the"),
        (["你", "好", "▁THE"], "你好 the"),
        (["▁", "T"], "t"),
        ([], ""),
    ],
)
def test_units_are_joined(units: list[str], text: str) -> None:
    assert TABLE.text([UNITS.index(unit) for unit in units]) == text


@given(st.lists(st.integers(0, len(UNITS) - 1), max_size=12))
def test_more_units_never_change_the_text_before(ids: list[int]) -> None:
    for count in range(len(ids)):
        assert TABLE.text(ids).startswith(TABLE.text(ids[:count]))


def test_a_word_begins_at_its_mark_or_with_each_character_of_an_unspaced_script() -> None:
    begins = {unit for i, unit in enumerate(UNITS) if TABLE.starts_word(i)}
    assert begins == {"▁THE", "▁", "▁CAT", "你", "好", "▁好"}


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_what_is_spelt_reads_the_same(words: list[str]) -> None:
    ids = TABLE.encode(" ".join(words))
    assert ids is not None
    assert TABLE.text(ids) == " ".join(words).lower()
    assert TABLE.blank_id not in ids


def test_words_are_spelt_in_as_few_units_as_can_be() -> None:
    assert TABLE.encode("The cats") == [2, 7, 8]
    assert TABLE.encode("你好") == [10, 11]
    assert TABLE.encode("") == []


@pytest.mark.parametrize("text", ["dog", "the dog", "<unk>", "坏"])
def test_what_the_units_cannot_spell_is_none(text: str) -> None:
    assert TABLE.encode(text) is None


def test_a_table_is_read_in_the_order_of_its_ids(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("<blank> 0\n▁THE 1\n 2\n", encoding="utf-8")
    assert read_units(path) == ["<blank>", "▁THE", " "]
    path.write_text("<blank> 0\n▁THE 2\n", encoding="utf-8")
    with pytest.raises(BundleError, match=r"tokens\.txt: line 2 must be a unit and the id 1"):
        read_units(path)
