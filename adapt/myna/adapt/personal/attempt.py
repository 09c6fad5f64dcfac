"""One attempt at a speaker: learn with some speech held out, judge by it, weigh it by what others bear."""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from myna.adapt.deltas import Deltas
from myna.adapt.denormals import flushed_denormals
from myna.adapt.personal.base import Base
from myna.adapt.personal.judge import Comparison, Verdict, compare, judge, judge_generic
from myna.adapt.personal.learn import Learner
from myna.adapt.personal.lessons import Lesson, Mark, Pause, examine
from myna.adapt.personal.others import Others
from myna.adapt.personal.settings import AdaptSettings
from myna.models.adapter_file import Adapter
from myna.models.nn.conformer import Packed
from myna.models.spec import ModelSpec

PATIENCE = 2  # marks of held-out speech without a lower loss that end a fold

Tell = Callable[[str, float], None]  # what is done, and the share of it that is; it may wait, and raise to stop


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of it; without an adapter where the gate refused."""

    verdict: Verdict
    held_out: Comparison
    passes: int
    strength: float
    adapter: Adapter | None = None
    generic: Comparison | None = None


@flushed_denormals()
def attempt(
    base: Base, lessons: Sequence[Lesson], settings: AdaptSettings, tell: Tell, others: Others | None = None
) -> Attempt:
    """Make an adapter of lessons (two at least) that passes the gate, or say why there is none.

    What is learnt is taken at a share of its strength: a speaker's gain grows with it, what others lose with its square
    (both to first order), so that a third of it keeps half of the gain at a ninth of the loss.
    """
    before = examine(base, lessons, None, settings.blocks, partial(tell, "trying what helps", 0.0))
    trial = _held_out(base, lessons, settings, tell)
    judging = partial(tell, "judging", 1.0)
    full, strength, generic = trial.mean(), settings.max_strength, None
    held_out = trial.compared(base, before, strength, settings, judging)
    verdict = judge(held_out, settings)
    if verdict.accepted and others:
        strength, generic = others.strength(full, settings, partial(tell, "listening to others"))
        if not strength:
            verdict = judge_generic(generic, settings)
        elif strength < settings.max_strength:
            held_out = trial.compared(base, before, strength, settings, judging)
            verdict = judge(held_out, settings)
    adapter = full.scaled(strength).adapter(base.graph) if verdict.accepted else None
    return Attempt(verdict, held_out, trial.passes, strength, adapter, generic)


def bent_by(adapter: Adapter, spec: ModelSpec) -> Packed:
    """Pack an adapter as the model takes it, for all rows."""
    batch = adapter.packed(spec)
    return torch.from_numpy(batch.down), torch.from_numpy(batch.up), torch.from_numpy(batch.shift)


def folds(count: int, settings: AdaptSettings) -> list[list[int]]:
    """Choose what is held out of so many lessons: each once."""
    parts = min(settings.folds, count)
    return [list(range(first, count, parts)) for first in range(parts)]


@dataclass(frozen=True, slots=True)
class _Trial:
    """What was learnt with some lessons held out, after the number of passes that served those best."""

    passes: int
    folds: tuple[tuple[list[int], list[Lesson], Deltas], ...]  # what was held out, and what was learnt of the rest

    def mean(self) -> Deltas:
        """Average over the folds: what they agree on stays, what each made of its few utterances fades."""
        return Deltas.mean([deltas for _, _, deltas in self.folds])

    def compared(
        self, base: Base, before: Sequence[Mark], strength: float, settings: AdaptSettings, pause: Pause
    ) -> Comparison:
        """Compare on what was held out."""
        indices = [i for held, _, _ in self.folds for i in held]
        after = [
            mark
            for _, lessons, deltas in self.folds
            for mark in examine(base, lessons, deltas.scaled(strength).packed(), settings.blocks, pause)
        ]
        return compare([before[i] for i in indices], after, settings.seed)


def _held_out(base: Base, lessons: Sequence[Lesson], settings: AdaptSettings, tell: Tell) -> _Trial:
    """Learn with some held out; fold by fold where lessons are few."""
    parts = folds(len(lessons), settings)
    losses: dict[int, dict[int, float]] = defaultdict(dict)  # by passes, then by fold
    learnt: dict[tuple[int, int], Deltas] = {}
    ends = _affordable(base, lessons, parts, settings)
    for number, part in enumerate(parts):
        best, worse, held = np.inf, 0, [lessons[i] for i in part]
        learner = Learner(base, [lesson for i, lesson in enumerate(lessons) if i not in part], settings)
        while learner.passes < ends[-1] and worse < PATIENCE:
            told = partial(tell, "trying what helps", (number + learner.passes / ends[-1]) / len(parts))
            for _ in learner.steps():
                told()
            if learner.passes in ends:
                learnt[learner.passes, number] = copy.deepcopy(learner.deltas)
                bent = learner.deltas.scaled(settings.max_strength).packed()
                loss = sum(mark.loss for mark in examine(base, held, bent, settings.blocks, told))
                losses[learner.passes][number] = loss
                best, worse = min(best, loss), 0 if loss < best else worse + 1
    whole = {passes: sum(found.values()) for passes, found in losses.items() if len(found) == len(parts)}
    chosen = min(whole, key=lambda passes: whole[passes])
    return _Trial(chosen, tuple((part, [lessons[i] for i in part], learnt[chosen, n]) for n, part in enumerate(parts)))


def _affordable(
    base: Base, lessons: Sequence[Lesson], parts: Sequence[Sequence[int]], settings: AdaptSettings
) -> list[int]:
    """Return the numbers of passes that `max_heard_s` allows; the first is always."""
    seconds = np.array([len(lesson.copies[0]) for lesson in lessons]) * base.spec.frame_ms / 1000
    a_pass_s = sum(seconds.sum() - seconds[list(part)].sum() for part in parts)
    return [n for i, n in enumerate(settings.passes) if not i or n * a_pass_s <= settings.max_heard_s]
