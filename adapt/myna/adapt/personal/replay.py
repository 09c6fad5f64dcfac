"""Other people's speech, heard again while one speaker is learnt: there the answers should stay what they were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from myna.adapt.personal.base import Base
from myna.adapt.personal.lessons import Lesson, answer, prepare
from myna.models.generic import Clip


@dataclass(frozen=True, slots=True)
class Replayed:
    """An utterance, and the base's answer to it."""

    lesson: Lesson
    aim: Tensor  # (T, vocabulary) log-probs, float16: half the memory of what is only compared with


class Replay:
    """Clips of others; each is made ready when it is first drawn."""

    def __init__(self, base: Base, clips: Sequence[Clip], blocks: int) -> None:
        self._base, self._clips, self._blocks = base, clips, blocks
        self._ready: dict[int, Replayed | None] = {}

    def draw(self, count: int, rng: np.random.Generator) -> list[Replayed]:
        """Draw so many, or all there are; those that the tokens can't spell are left out."""
        drawn = [self._made(i) for i in rng.permutation(len(self._clips))[:count].tolist()]
        return [one for one in drawn if one]

    def _made(self, index: int) -> Replayed | None:
        if index not in self._ready:
            clip = self._clips[index]
            lesson = prepare(self._base, clip.samples, clip.text, blocks=self._blocks)
            with torch.no_grad():
                aim = answer(self._base, [lesson.copies[0]], None, self._blocks)[0].half() if lesson else None
            self._ready[index] = None if lesson is None or aim is None else Replayed(lesson, aim)
        return self._ready[index]


def divergence(log_probs: Tensor, replayed: Sequence[Replayed]) -> Tensor:
    """Return KL(base || bent) of rows (B, T, vocabulary), summed over frames, per unit, a mean over rows."""
    rows = [
        F.kl_div(row[: len(one.aim)], one.aim.float(), reduction="sum", log_target=True) / len(one.lesson.ids)
        for row, one in zip(log_probs, replayed, strict=True)
    ]
    return torch.stack(rows).mean()
