"""Other people, as the bundle's generic set has them: how much of what was learnt of one speaker they bear."""

import math
from functools import cached_property

from myna.adapt.deltas import Deltas
from myna.adapt.personal.base import Base
from myna.adapt.personal.judge import Comparison, compare, judge_generic
from myna.adapt.personal.lessons import Lesson, Mark, examine, prepare
from myna.adapt.personal.settings import AdaptSettings

FIRST = 0.5  # strength that is tried first
LEAST = 0.1  # below it nothing is left to gain
CAUTION = 0.9


class Others:
    """The generic set of a base, heard once, when first asked. Falsy where the base has none."""

    def __init__(self, base: Base, blocks: int) -> None:
        self._base, self._blocks = base, blocks

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._base.generic)

    @cached_property
    def _lessons(self) -> list[Lesson]:
        found = [prepare(self._base, clip.samples, clip.text, blocks=self._blocks) for clip in self._base.generic]
        return [lesson for lesson in found if lesson]

    @cached_property
    def _before(self) -> list[Mark]:
        return examine(self._base, self._lessons, None, self._blocks)

    def hear(self, deltas: Deltas, settings: AdaptSettings) -> Comparison:
        """Compare how well they are understood without and with what was learnt."""
        after = examine(self._base, self._lessons, deltas.packed(), self._blocks)
        return compare(self._before, after, settings.seed)

    def strength(self, full: Deltas, settings: AdaptSettings) -> tuple[float, Comparison]:
        """Choose the share of what was learnt that they bear, 0 if none; and how they fare with it.

        Their loss grows with the square of the strength, to first order: one trial tells about where the bound lies.
        """
        heard = self.hear(full.scaled(FIRST), settings)
        rise = heard.loss / heard.base_loss - 1
        most = settings.max_strength
        strength = most if rise <= 0 else min(most, CAUTION * FIRST * math.sqrt(settings.max_generic_loss / rise))
        while strength >= LEAST:
            heard = self.hear(full.scaled(strength), settings)
            if judge_generic(heard, settings).accepted:
                return strength, heard
            strength /= math.sqrt(2)
        return 0.0, heard
