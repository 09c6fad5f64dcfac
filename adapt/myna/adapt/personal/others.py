"""Other people, as the bundle's generic set has them: how much of what was learnt of one speaker they bear."""

import math
from collections.abc import Callable
from functools import partial

from myna.adapt.deltas import Deltas
from myna.adapt.personal.base import Base
from myna.adapt.personal.judge import Comparison, compare, judge_generic
from myna.adapt.personal.lessons import Lesson, Mark, Pause, examine, go_on, prepare
from myna.adapt.personal.settings import AdaptSettings

LEAST = 0.1  # below it nothing is left to gain
CAUTION = 0.9
STEP = 0.85


class Others:
    """The generic set of a base, heard without any adapter when first asked. Falsy where the base has none."""

    def __init__(self, base: Base, blocks: int) -> None:
        self._base, self._blocks = base, blocks
        self._lessons: list[Lesson] = []
        self._before: list[Mark] = []

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._base.generic)

    def hear(self, deltas: Deltas, settings: AdaptSettings, pause: Pause = go_on) -> Comparison:
        """Compare how well they are understood without and with what was learnt."""
        if not self._before:
            self._meet(pause)
        after = examine(self._base, self._lessons, deltas.packed(), self._blocks, pause)
        return compare(self._before, after, settings.seed)

    def _meet(self, pause: Pause) -> None:
        lessons = []
        for clip in self._base.generic:
            pause()
            lessons.append(prepare(self._base, clip.samples, clip.text, blocks=self._blocks))
        self._lessons = [lesson for lesson in lessons if lesson]
        self._before = examine(self._base, self._lessons, None, self._blocks, pause)

    def strength(
        self, full: Deltas, settings: AdaptSettings, tell: Callable[[float], None]
    ) -> tuple[float, Comparison]:
        """Choose the share of what was learnt that they bear, 0 if none; and how they fare with it.

        `tell` is given the share that is done, most often, and may wait, or raise to stop.

        Their loss grows with the square of the strength, to first order: the first trial tells about where its bound
        lies. Errors are few, and go up and down with the strength: for them it is lowered by small steps.
        """
        strength, done = settings.max_strength, 0.0
        while strength >= LEAST:
            heard = self.hear(full.scaled(strength), settings, partial(tell, done))
            if judge_generic(heard, settings).accepted:
                return strength, heard
            rise = heard.loss / heard.base_loss - 1
            bearable = math.sqrt(settings.max_generic_loss / rise) if rise > 0 else 1.0
            strength *= min(STEP, CAUTION * bearable)
            done += (1 - done) / 2
        return 0.0, heard
