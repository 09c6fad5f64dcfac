"""Learning one speaker: deltas of a fixed model, moved a few passes over a few utterances."""

import copy
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from myna.adapt.deltas import Deltas
from myna.adapt.personal.base import Base
from myna.adapt.personal.lessons import Lesson, answer, losses
from myna.adapt.personal.settings import AdaptSettings

BETAS = (0.9, 0.98)
RECENT = 2  # eta of the average: the higher, the sooner the first steps fade
TRIALS = 5
FRAMES = 250  # heard at once, with padding: about 300 MB with the default model


@lru_cache
def bf16_is_faster() -> bool:
    """Tell whether this processor multiplies matrices faster in bfloat16; without units for it, it is slower."""

    def took_s(kind: torch.dtype) -> float:
        one, other = torch.ones(256, 512, dtype=kind), torch.ones(512, 2048, dtype=kind)
        times = list[float]()
        for _ in range(TRIALS):
            began_s = time.perf_counter()
            one @ other
            times.append(time.perf_counter() - began_s)
        return min(times)

    return took_s(torch.bfloat16) < took_s(torch.float32)


class Learner:
    """A speaker's deltas on their way; the same base, lessons, settings and threads give the same to the bit.

    `deltas` are the average of what the steps led to, weighted towards the last (Shamir, Zhang 2013, section 4): with
    steps of an utterance or a few each of them overshoots, in another direction every time.
    """

    def __init__(self, base: Base, lessons: Sequence[Lesson], settings: AdaptSettings) -> None:
        self.passes = 0
        self._base, self._lessons, self._settings = base, lessons, settings
        self._rng = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        self._moving = Deltas(base.spec, "adapters" if settings.rank else "norms", settings.rank, settings.blocks)
        self.deltas = copy.deepcopy(self._moving)
        self._optimiser = torch.optim.AdamW(self._groups(), settings.rate, BETAS, weight_decay=0.0)
        self._half = settings.precision == "bf16" or (settings.precision == "auto" and bf16_is_faster())
        self._steps = 0

    def steps(self) -> Iterator[float]:
        """Go over the lessons once; yield each step's loss, so that the caller may wait or leave in between."""
        order = self._rng.permutation(len(self._lessons)).tolist()
        count = max(1, round(len(order) / self._settings.batch_utterances))
        for part in np.array_split(np.array(order), count):
            yield self._step([self._lessons[i] for i in part])
        self.passes += 1

    def _step(self, lessons: Sequence[Lesson]) -> float:
        """Learn from a few lessons, so many frames at a time: what gradients need grows with the frames."""
        drawn = [(lesson.copies[self._rng.integers(len(lesson.copies))], lesson.ids) for lesson in lessons]
        drawn.sort(key=lambda pair: len(pair[0]))
        total, part = 0.0, list[tuple[Tensor, Tensor]]()
        for pair in drawn:
            if part and (len(part) + 1) * len(pair[0]) > FRAMES:
                total += self._backward(part, len(lessons))
                part = []
            part.append(pair)
        total += self._backward(part, len(lessons))
        self._warm_up()
        nn.utils.clip_grad_norm_(self._moving.parameters(), self._settings.clip_norm)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._steps += 1
        self._average()
        return total

    @torch.no_grad()
    def _average(self) -> None:
        share = (RECENT + 1) / (RECENT + self._steps)
        for average, moving in zip(self.deltas.parameters(), self._moving.parameters(), strict=True):
            average.lerp_(moving, share)

    def _backward(self, part: Sequence[tuple[Tensor, Tensor]], of: int) -> float:
        """Add the gradients of some of a step's `of` lessons; return their share of its loss."""
        copies, ids = [copy for copy, _ in part], [row for _, row in part]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            log_probs = answer(self._base, copies, self._moving.packed(), self._settings.blocks)
        units = torch.tensor([len(row) for row in ids])
        loss = (losses(log_probs, copies, ids, self._base.spec.blank_id) / units).sum() / of
        torch.autograd.backward(loss)
        return loss.item()

    def _groups(self) -> list[dict[str, Any]]:
        named = list(self._moving.named())
        norms = [p for name, p in named if name.endswith(".shift")]
        maps = [p for name, p in named if not name.endswith(".shift")]
        rates = ((norms, self._settings.rate), (maps, self._settings.rank_rate))
        return [{"params": those, "full": rate} for those, rate in rates if those]

    def _warm_up(self) -> None:
        share = min(1.0, (self._steps + 1) / (self._settings.warmup_steps + 1))
        for group in self._optimiser.param_groups:
            group["lr"] = share * group["full"]
