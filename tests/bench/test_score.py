"""The scorer: what counts as a word, what counts as an error, how sure the rates are."""

import pytest

from myna.bench.score import Errors, compare, normalise, rates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It’s 'quoted' — isn't it?", "it's quoted isn't it"),
        ("well-known  a/b\tc_d", "well known a b c d"),
        ("In 1984: 3.5 %", "in 1984 3 5"),
        ("ＣＡＦÉ", "café"),
        ("हिन्दी में।", "हिन्दी में"),
        ("今天 ok。", "今 天 ok"),
        ("' -- '", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("a bc d", "A, bc. D!", (0, 3), (0, 6)),
        ("a bc d", "", (3, 3), (6, 6)),
        ("a bc d", "a bx d e", (2, 3), (3, 6)),
        ("he is here", "he here", (1, 3), (3, 10)),
        ("今天好", "今天很好", (1, 3), (1, 3)),  # no spaces: a character is a word, and no space is counted
    ],
)
def test_compare(reference: str, hypothesis: str, words: tuple[int, int], characters: tuple[int, int]) -> None:
    assert compare(reference, hypothesis) == Errors(*words, *characters)


def test_rates_weigh_words_not_utterances() -> None:
    summary = rates([Errors(1, 1, 2, 4), Errors(0, 9, 0, 36)])
    assert (summary["wer"], summary["cer"], summary["utterances"], summary["words"]) == (0.1, 0.05, 2, 10)


def test_intervals_hold_the_rate_shrink_with_more_and_repeat() -> None:
    few = [Errors(i % 3, 10, i % 3, 40) for i in range(30)]
    small, large = rates(few), rates(few * 16)
    for summary in (small, large):
        low, high = summary["wer_interval"]
        assert low < summary["wer"] < high
    widths = [high - low for low, high in (small["wer_interval"], large["wer_interval"])]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)
    assert rates(few) == small


def test_one_utterance_has_no_spread() -> None:
    assert rates([Errors(1, 2, 1, 4)])["wer_interval"] == [0.5, 0.5]
