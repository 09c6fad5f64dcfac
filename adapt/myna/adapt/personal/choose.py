"""What of a speaker's kept speech is learnt from, and what is not and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from myna.adapt.data import clean
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Kept

TRUST = {"corrected": 0, "enrolled": 1, "pseudo": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a round would learn from; `left_out` counts the rest by reason."""

    chosen: tuple[Kept, ...]  # the oldest first
    left_out: Mapping[str, int]
    why_not: str | None = None  # nothing is learnt: a sentence that says why

    @property
    def seconds(self) -> float:
        """Sum up the audio."""
        return sum(one.seconds for one in self.chosen)

    def by_source(self) -> dict[str, int]:
        """Count by where the texts came from."""
        return dict(Counter(one.source for one in self.chosen))


def choose(kept: Sequence[Kept], settings: AdaptSettings) -> Plan:
    """Choose the most trusted and newest; of unproved texts the surest, and no more than their share."""
    out: Counter[str] = Counter()
    usable = list[Kept]()
    for one in kept:
        reason = _unusable(one, settings)
        if reason:
            out[reason] += 1
        else:
            usable.append(one)
    trusted = [one for one in usable if one.source != "pseudo"]
    pseudo = sorted((one for one in usable if one.source == "pseudo"), key=lambda one: -one.confidence)
    if trusted:
        share = settings.max_pseudo_share
        most = int(round(len(trusted) * share / max(1e-9, 1 - share), 6))
        _count(out, "beyond their share beside corrected or read ones", pseudo[most:])
        pseudo = pseudo[:most]
    best = sorted([*trusted, *pseudo], key=lambda one: (TRUST[one.source], -one.created_s))
    _count(out, f"more than {settings.max_utterances} are there", best[settings.max_utterances :])
    chosen = sorted(best[: settings.max_utterances], key=lambda one: one.created_s)
    why_not = None
    if len(chosen) < settings.min_utterances:
        why_not = (
            f"{len(chosen)} utterances can be learnt from, {settings.min_utterances} are the least: "
            "read some aloud with `myna enroll`, or correct what was heard wrong"
        )
    return Plan(tuple(chosen), dict(out), why_not)


def _unusable(one: Kept, settings: AdaptSettings) -> str | None:
    if one.seconds < settings.min_s:
        return f"shorter than {settings.min_s} s"
    if one.seconds > settings.max_s:
        return f"longer than {settings.max_s:.0f} s"
    if not clean(one.text):
        return "without words"
    if one.source == "pseudo" and one.confidence < settings.min_confidence:
        return f"uncorrected and less sure than {settings.min_confidence}"
    return None


def _count(out: Counter[str], reason: str, kept: Sequence[Kept]) -> None:
    if kept:
        out[reason] += len(kept)
