"""One attempt at a speaker: learn with some speech held out, judge by it, learn from all, judge by others' speech."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from myna.adapt.personal.base import Base
from myna.adapt.personal.judge import Comparison, Verdict, compare, judge, judge_generic
from myna.adapt.personal.learn import Learner
from myna.adapt.personal.lessons import Lesson, Mark, examine, prepare
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
    adapter: Adapter | None = None
    generic: Comparison | None = None


def attempt(base: Base, lessons: Sequence[Lesson], settings: AdaptSettings, tell: Tell) -> Attempt:
    """Make an adapter of lessons (two at least) that passes the gate, or say why there is none."""
    before = examine(base, lessons, None, settings.blocks)
    held, passes = _held_out(base, lessons, settings, tell)
    indices = sorted(held)
    held_out = compare([before[i] for i in indices], [held[i] for i in indices], settings.seed)
    verdict = judge(held_out, settings)
    if not verdict.accepted:
        return Attempt(verdict, held_out, passes)
    adapter = learn(base, lessons, settings, passes, tell)
    generic = _generic(base, adapter, settings, tell) if base.generic else None
    others = judge_generic(generic, settings) if generic else verdict
    return Attempt(
        verdict if others.accepted else others, held_out, passes, adapter if others.accepted else None, generic
    )


def learn(base: Base, lessons: Sequence[Lesson], settings: AdaptSettings, passes: int, tell: Tell) -> Adapter:
    """Learn from all lessons."""
    learner = Learner(base, lessons, settings)
    for done in range(passes):
        for _ in learner.steps():
            tell("learning from all of it", done / passes)
    return learner.deltas.adapter(base.graph)


def bent_by(adapter: Adapter, spec: ModelSpec) -> Packed:
    """Pack an adapter as the model takes it, for all rows."""
    batch = adapter.packed(spec)
    return torch.from_numpy(batch.down), torch.from_numpy(batch.up), torch.from_numpy(batch.shift)


def folds(count: int, settings: AdaptSettings) -> list[list[int]]:
    """Choose what is held out of so many lessons: each once where there are few, else every so manieth."""
    parts = min(settings.folds, count)
    held = [list(range(first, count, parts)) for first in range(parts)]
    return held[-1:] if count >= settings.single_split_from else held


def _held_out(
    base: Base, lessons: Sequence[Lesson], settings: AdaptSettings, tell: Tell
) -> tuple[dict[int, Mark], int]:
    """Mark held-out lessons after the number of passes that served them best; return that number, too."""
    parts = folds(len(lessons), settings)
    marks: dict[int, dict[int, Mark]] = defaultdict(dict)  # by passes, then by lesson
    ends = _affordable(base, lessons, parts, settings)
    for number, part in enumerate(parts):
        best, worse = np.inf, 0
        learner = Learner(base, [lesson for i, lesson in enumerate(lessons) if i not in part], settings)
        while learner.passes < ends[-1] and worse < PATIENCE:
            for _ in learner.steps():
                tell("trying what helps", (number + learner.passes / ends[-1]) / len(parts))
            if learner.passes in ends:
                found = examine(base, [lessons[i] for i in part], learner.deltas.packed(), settings.blocks)
                marks[learner.passes].update(zip(part, found, strict=True))
                loss = sum(mark.loss for mark in found)
                best, worse = min(best, loss), 0 if loss < best else worse + 1
    whole = {passes: found for passes, found in marks.items() if len(found) == sum(map(len, parts))}
    chosen = min(whole, key=lambda passes: sum(mark.loss for mark in whole[passes].values()))
    return whole[chosen], chosen


def _affordable(
    base: Base, lessons: Sequence[Lesson], parts: Sequence[Sequence[int]], settings: AdaptSettings
) -> list[int]:
    """Return the numbers of passes that `max_heard_s` allows; the first is always."""
    seconds = np.array([len(lesson.copies[0]) for lesson in lessons]) * base.spec.frame_ms / 1000
    a_pass_s = seconds.sum() + sum(seconds.sum() - seconds[list(part)].sum() for part in parts)
    return [n for i, n in enumerate(settings.passes) if not i or n * a_pass_s <= settings.max_heard_s]


def _generic(base: Base, adapter: Adapter, settings: AdaptSettings, tell: Tell) -> Comparison:
    """Compare on the bundle's generic set."""
    found = list[Lesson | None]()
    for done, clip in enumerate(base.generic):
        tell("listening to others", done / len(base.generic))
        found.append(prepare(base, clip.samples, clip.text, blocks=settings.blocks))
    lessons = [lesson for lesson in found if lesson]
    packed = bent_by(adapter, base.spec)
    return compare(
        examine(base, lessons, None, settings.blocks), examine(base, lessons, packed, settings.blocks), settings.seed
    )
