"""How a trained model spells: the likeliest of all splits."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.spelling import BIAS_SHARE, UNIT_COST, spelling_of  # noqa: E402
from myna.models.tokens import TokenTable  # noqa: E402

UNITS = ["<blank>", "<unk>", "▁", "▁a", "▁ab", "▁B", "a", "b", "AB", "bb", "一", "ba"]
BIASES = st.lists(st.floats(-5, 5), min_size=len(UNITS), max_size=len(UNITS))


def splits(word: str) -> Iterator[list[str]]:
    """Yield every split of a word."""
    for cuts in itertools.product((False, True), repeat=len(word) - 1):
        parts = [word[0]]
        for cut, character in zip(cuts, word[1:], strict=True):
            parts[-1:] = [parts[-1], character] if cut else [parts[-1] + character]
        yield parts


@given(st.text("ab", min_size=1, max_size=7), BIASES)
def test_no_split_is_likelier(word: str, bias: list[float]) -> None:
    spelling, ids = (
        spelling_of(TokenTable(UNITS), torch.tensor(bias)),
        {unit.lower(): i for i, unit in enumerate(UNITS)},
    )
    mean = sum(bias) / len(bias)

    def cost(parts: list[str]) -> float:
        return sum(UNIT_COST - BIAS_SHARE * (bias[ids[part]] - mean) for part in parts)

    found = spelling.encode(word)
    assert found is not None
    assert spelling.text(found) == word
    known = [parts for parts in splits("▁" + word) if all(part in ids for part in parts)]
    assert cost([UNITS[i].lower() for i in found]) == pytest.approx(min(map(cost, known)), abs=1e-4)


@given(st.lists(st.sampled_from(["ab", "bab", "一", "abba"]), max_size=4))
def test_equal_units_are_as_few_as_can_be(words: list[str]) -> None:
    spelt, fewest = spelling_of(TokenTable(UNITS), torch.zeros(len(UNITS))).encode(" ".join(words)), TokenTable(UNITS)
    expected = fewest.encode(" ".join(words))
    assert spelt is not None
    assert expected is not None
    assert len(spelt) == len(expected)


def test_what_can_t_be_spelt() -> None:
    spelling = spelling_of(TokenTable(UNITS), torch.zeros(len(UNITS)))
    assert spelling.encode("ab c") is None
    assert spelling.encode("<unk>") is None
    assert spelling.encode("") == []
    assert spelling.units == tuple(UNITS)
