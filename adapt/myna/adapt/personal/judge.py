"""The gate: whether what was learnt may be used. It must help its speaker beyond chance and harm nobody else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from myna.adapt.personal.lessons import Mark
from myna.adapt.personal.settings import AdaptSettings

RESAMPLES = 2000
TINY = 1e-9  # a loss that can't fall


@dataclass(frozen=True, slots=True)
class Comparison:
    """The base and what was learnt, on the same utterances."""

    utterances: int
    words: int
    base_errors: int
    errors: int
    base_loss: float  # nats per unit
    loss: float
    sure: float  # share of resamples in which errors and loss, each by its size, fall in all

    @property
    def base_wer(self) -> float:
        """Errors of the base by words."""
        return self.base_errors / max(1, self.words)

    @property
    def wer(self) -> float:
        """Errors by words."""
        return self.errors / max(1, self.words)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate passes; `reason` is a sentence for its speaker."""

    accepted: bool
    reason: str


def compare(base: Sequence[Mark], bent: Sequence[Mark], seed: int = 0) -> Comparison:
    """Compare by paired bootstrap over utterances (Bisani, Ney 2004, section 3).

    Word errors are what counts, but of little speech they are few, and most utterances have as many as before. The loss
    of the true text moves with every utterance: the two together tell a gain from chance with less speech than words
    alone.
    """
    marks = np.array(
        [(b.errors, a.errors, b.loss, a.loss, b.words, b.units) for b, a in zip(base, bent, strict=True)], float
    ).reshape(-1, 6)
    drawn = np.random.default_rng(seed).integers(0, max(1, len(marks)), (RESAMPLES, len(marks)))
    errors, bent_errors, loss, bent_loss, words, units = marks.sum(0)
    fewer, lower = marks[:, 0] - marks[:, 1], marks[:, 2] - marks[:, 3]
    with np.errstate(invalid="ignore"):  # weights that have burst: no number is no gain
        gains = fewer / max(1, errors + bent_errors) + lower / max(TINY, loss + bent_loss)
    return Comparison(
        len(marks),
        int(words),
        int(errors),
        int(bent_errors),
        loss / max(1, units),
        bent_loss / max(1, units),
        float((gains[drawn].sum(1) > 0).mean()),
    )


def judge(held_out: Comparison, settings: AdaptSettings) -> Verdict:
    """Judge by speech of the speaker that was not learnt from: a gain beyond chance, and no word error more."""
    heard = f"On {held_out.utterances} utterances that it had not learnt from"
    errors = f"{held_out.errors} word errors instead of {held_out.base_errors}"
    if not held_out.base_errors:
        return Verdict(False, "All that was said is understood already: there is nothing to gain yet.")
    if held_out.errors > held_out.base_errors or not np.isfinite(held_out.loss):
        return Verdict(False, f"{heard} it made {errors}: it does not help yet.")
    if held_out.sure < settings.gate_level:
        return Verdict(False, f"{heard} it made {errors}; that may be chance: more speech will tell.")
    return Verdict(True, f"{heard} it made {errors}.")


def judge_generic(generic: Comparison, settings: AdaptSettings) -> Verdict:
    """Judge by the speech of others: words are few, the loss shows harm before they do."""
    figures = f"{100 * generic.wer:.1f} % of their words wrong instead of {100 * generic.base_wer:.1f} %"
    few_errors = generic.errors <= generic.base_errors * (1 + settings.max_generic_errors)
    if not (few_errors and generic.loss <= generic.base_loss * (1 + settings.max_generic_loss)):  # nor if it is NaN
        return Verdict(False, f"It would hear other people worse: {figures}.")
    return Verdict(True, f"Other people: {figures}.")
