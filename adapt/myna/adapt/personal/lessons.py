"""Utterances made ready to be learnt from: what goes into the bent part of the model, computed once per copy.

Where all blocks are bent that is what the subsampling's convolutions give; where the top blocks alone are, what comes
out of the block below them, heard in chunks as it is served.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from myna.adapt import tempo
from myna.adapt.frontend import batch_features
from myna.adapt.personal.base import Base
from myna.adapt.validate import apart
from myna.models.nn.conformer import Packed

# Put before copies of an utterance in turn, so that chunks begin elsewhere in each; the first is as a stream has it.
QUIETS_S = (0.0, 0.3, 0.48)
BEHIND_S = 0.3  # put behind each: a word at a cut edge is not heard
QUIET = 2.0  # standard deviation of near-silence, in the scale of int16
BATCH_FRAMES = 1500  # encoder frames heard at once, with padding

Pause = Callable[[], None]  # called in between; it may wait, and raise to stop


def go_on() -> None:
    """Neither wait nor stop."""


@dataclass(frozen=True, slots=True, eq=False)  # tensors have no truth to compare by
class Lesson:
    """An utterance to learn from, or to be examined by."""

    copies: tuple[Tensor, ...]  # each (T, width): what goes into the bent part; the first as it was spoken
    ids: Tensor  # (U,) int64
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """How well an utterance was heard."""

    loss: float  # CTC, nats in all
    units: int
    errors: int  # of words; of characters in scripts without spaces
    words: int
    heard: str


@torch.no_grad()
def prepare(
    base: Base, samples: NDArray[np.int16], text: str, speeds: Sequence[float] = (1.0,), blocks: int = 0
) -> Lesson | None:
    """Make a lesson of an utterance (n,) at 16 kHz; None where the tokens can't spell its text in its frames."""
    ids = base.tokens.encode(text)
    wave = samples.astype(np.float32)
    copies = [
        below(base, tempo.speed(wave, by), blocks, quiet_s)
        for by, quiet_s in zip(speeds, itertools.cycle(QUIETS_S), strict=False)
    ]
    repeated = sum(a == b for a, b in zip(ids or (), (ids or ())[1:], strict=False))
    if not ids or min(len(copy) for copy in copies) < len(ids) + repeated:
        return None
    return Lesson(tuple(copies), torch.tensor(ids), text)


@torch.no_grad()
def below(base: Base, wave: NDArray[np.float32], blocks: int, quiet_s: float = QUIETS_S[0]) -> Tensor:
    """Compute what goes into the top `blocks` (0: all) when a wave (n,) in the scale of int16 is heard: (T, width)."""
    model, spec = base.model, base.spec
    counts = [int(seconds * 16_000) for seconds in (quiet_s, BEHIND_S)]
    quiet = np.random.default_rng(0).standard_normal(sum(counts), np.float32) * np.float32(QUIET)
    before, behind = np.split(quiet, counts[:1])
    feats, count = batch_features([np.concatenate([before, wave, behind])], spec.features)
    feats = F.pad(feats, (0, 0, 0, max(0, spec.window_frames - feats.shape[1])))
    x, first = model.front(feats), spec.blocks - blocks
    frames = torch.tensor([spec.frames_ready(int(count))])
    if blocks and first > 0:
        (x,) = model.above(x, frames, *base.heard_as_served, blocks=range(first))
    return x[0, : int(frames)].clone()


def answer(base: Base, copies: Sequence[Tensor], packed: Packed | None, blocks: int, whole: bool = False) -> Tensor:
    """Hear copies (each (T, width)) with the weights bent: log-probs (B, T, vocabulary)."""
    model = base.model
    chunk, left = (0, -1) if whole else base.heard_as_served
    bent = range(max(0, model.spec.blocks - blocks) if blocks else 0, model.spec.blocks)
    (x,) = model.above(pad_sequence(list(copies), True), frames_of(copies), chunk, left, adapters=packed, blocks=bent)
    return model.logits(x).float().log_softmax(-1)


def frames_of(copies: Sequence[Tensor]) -> Tensor:
    """Count the frames of copies: (B,) int64."""
    return torch.tensor([len(copy) for copy in copies])


def losses(log_probs: Tensor, copies: Sequence[Tensor], ids: Sequence[Tensor], blank_id: int) -> Tensor:
    """Return CTC's loss of each row, in nats (B,)."""
    lengths = torch.tensor([len(row) for row in ids])
    loss: Tensor = F.ctc_loss(
        log_probs.transpose(0, 1),
        pad_sequence(list(ids), True),
        frames_of(copies),
        lengths,
        blank_id,
        "none",
        zero_infinity=True,
    )
    return loss


@torch.no_grad()
def examine(
    base: Base, lessons: Sequence[Lesson], packed: Packed | None, blocks: int = 0, pause: Pause = go_on
) -> list[Mark]:
    """Mark every lesson, as it was spoken; `pause` is called before each batch, and may wait or raise."""
    marks: dict[int, Mark] = {}
    for batch in _batches([len(lesson.copies[0]) for lesson in lessons]):
        pause()
        copies = [lessons[i].copies[0] for i in batch]
        log_probs = answer(base, copies, packed, blocks)
        found = losses(log_probs, copies, [lessons[i].ids for i in batch], base.spec.blank_id)
        for row, index in enumerate(batch):
            heard = text_of(base, log_probs[row, : len(copies[row])])
            marks[index] = _mark(lessons[index], heard, float(found[row]))
    return [marks[i] for i in range(len(lessons))]


def text_of(base: Base, log_probs: Tensor) -> str:
    """Read the likeliest units (T, vocabulary) as text."""
    ids = torch.unique_consecutive(log_probs.argmax(-1))
    return base.tokens.text(ids[ids != base.spec.blank_id].tolist())


@torch.no_grad()
def second_hearing(base: Base, samples: NDArray[np.int16]) -> str:
    """Understand an utterance (n,) at 16 kHz by hearing it whole: a better guess than a stream's, which can't wait."""
    copy = below(base, samples.astype(np.float32), 0)
    return text_of(base, answer(base, [copy], None, 0, whole=True)[0])


def word_errors(truth: str, heard: str) -> tuple[int, int]:
    """Count errors and words; characters of unspaced scripts are words."""
    counted = jiwer.process_words(apart(truth), apart(heard))
    errors = counted.substitutions + counted.deletions + counted.insertions
    return errors, counted.substitutions + counted.deletions + counted.hits


def _mark(lesson: Lesson, heard: str, loss: float) -> Mark:
    return Mark(loss, len(lesson.ids), *word_errors(lesson.text, heard), heard)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Put like lengths together."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and (len(group) + 1) * lengths[index] > BATCH_FRAMES:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
