"""Word errors on held-out speech, heard as it is served: in chunks, with limited left context, greedily decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import torch

from myna.adapt.decode import RATE_HZ
from myna.adapt.deltas import Deltas
from myna.adapt.frontend import batch_features
from myna.adapt.speech import Speech
from myna.models.nn.conformer import Conformer
from myna.models.tokens import TokenTable, is_unspaced

BATCH_S = 60.0


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over utterances."""

    errors: int
    words: int

    @property
    def wer(self) -> float:
        """Errors by words."""
        return self.errors / self.words if self.words else 0.0


def choose(speech: Speech, most: int, seed: int) -> list[int]:
    """Choose at most so many utterances (0: all), always the same of the same speech."""
    order = np.random.default_rng(seed).permutation(len(speech)).tolist()
    return sorted(order[: most or None])


@torch.no_grad()
def word_errors(
    model: Conformer, deltas: Deltas | None, speech: Speech, indices: Sequence[int], tokens: TokenTable
) -> Score:
    """Count the word errors of utterances; characters of unspaced scripts are words. The model's mode is left alone."""
    spec, device = model.spec, model.mean.device
    left_chunks = spec.left_frames // spec.chunk_frames
    truths: list[str] = []
    heard: list[str] = []
    for batch in _batches(speech, indices):
        feats, counts = batch_features([speech.samples(i) for i in batch], spec.features, device)
        feats = torch.nn.functional.pad(feats, (0, 0, 0, max(0, spec.window_frames - feats.shape[1])))
        frames = torch.tensor([spec.frames_ready(int(n)) for n in counts], device=device)
        adapters = None if deltas is None else deltas.packed()
        (x,) = model.heard(feats, frames, spec.chunk_frames, left_chunks, adapters=adapters)
        best = model.logits(x).argmax(-1).cpu()
        for index, row, count in zip(batch, best, frames.tolist(), strict=True):
            ids = torch.unique_consecutive(row[:count])
            heard.append(apart(tokens.text(ids[ids != spec.blank_id].tolist())))
            truths.append(apart(speech.utterance(index).text))
    return _score(truths, heard)


def _score(truths: list[str], heard: list[str]) -> Score:
    if not truths:
        return Score(0, 0)
    counted = jiwer.process_words(truths, heard)
    errors = counted.substitutions + counted.deletions + counted.insertions
    return Score(errors, counted.substitutions + counted.deletions + counted.hits)


def apart(text: str) -> str:
    """Set characters of unspaced scripts apart, for they are counted as words."""
    return " ".join("".join(f" {c} " if is_unspaced(c) else c for c in text.lower()).split())


def _batches(speech: Speech, indices: Sequence[int]) -> Iterator[list[int]]:
    """Put like lengths together, up to BATCH_S with padding."""
    lengths = {i: speech.length_samples(i) for i in indices}
    most, group = int(BATCH_S * RATE_HZ), list[int]()
    for index in sorted(indices, key=lambda i: (lengths[i], i)):
        if group and (len(group) + 1) * lengths[index] > most:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
