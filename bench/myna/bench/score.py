"""Word and character error rates with confidence intervals. Text is compared in lower case, without punctuation."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np

from myna.models.tokens import is_unspaced

RESAMPLES = 1000
KEPT = ("L", "M", "N")  # Unicode categories that words are made of: letters, their marks, numerals


def normalise(text: str) -> str:
    """Lower-case, drop punctuation (but apostrophes within words), set characters of unspaced scripts apart."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    text = "".join(_spaced(c) for c in text)
    return " ".join(word.strip("'") for word in text.split() if word.strip("'"))


def _spaced(character: str) -> str:
    if is_unspaced(character):
        return f" {character} "
    return character if character == "'" or unicodedata.category(character)[0] in KEPT else " "


def _join_unspaced(text: str) -> str:
    """Take out the spaces that `normalise` put beside characters of unspaced scripts: nobody wrote them."""
    kept = [c for i, c in enumerate(text) if c != " " or not (is_unspaced(text[i - 1]) or is_unspaced(text[i + 1]))]
    return "".join(kept)


@dataclass(frozen=True, slots=True)
class Errors:
    """Edit distances of one utterance."""

    word_errors: int
    words: int
    character_errors: int
    characters: int


def compare(reference: str, hypothesis: str) -> Errors:
    """Count an utterance's errors; the reference must hold a word."""
    truth, heard = normalise(reference), normalise(hypothesis)
    words = jiwer.process_words(truth, heard)
    characters = jiwer.process_characters(_join_unspaced(truth), _join_unspaced(heard))
    return Errors(
        words.substitutions + words.deletions + words.insertions,
        words.substitutions + words.deletions + words.hits,
        characters.substitutions + characters.deletions + characters.insertions,
        characters.substitutions + characters.deletions + characters.hits,
    )


def rates(errors: Sequence[Errors], seed: int = 0) -> dict[str, Any]:
    """Sum up: WER and CER as fractions, with 95 % intervals by bootstrap over utterances."""
    counts = np.array([(e.word_errors, e.words, e.character_errors, e.characters) for e in errors], float)
    total = counts.sum(0)
    random = np.random.default_rng(seed)
    sums = np.stack([counts[random.integers(0, len(counts), len(counts))].sum(0) for _ in range(RESAMPLES)])

    def interval(top: int) -> list[float]:
        low, high = np.percentile(sums[:, top] / sums[:, top + 1], [2.5, 97.5])
        return [round(float(low), 4), round(float(high), 4)]

    return {
        "wer": round(float(total[0] / total[1]), 4),
        "wer_interval": interval(0),
        "cer": round(float(total[2] / total[3]), 4),
        "cer_interval": interval(2),
        "utterances": len(errors),
        "words": int(total[1]),
    }
