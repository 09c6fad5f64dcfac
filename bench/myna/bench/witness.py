"""What one stream was told while its speaker's weights changed: how late captions were, and which weights were used."""

import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from myna.bench.load import percentiles
from myna.client.transcriber import Event
from myna.server.protocol import Adaptation, Final, Partial, SpeechEnded, SpeechStarted

Kind = Literal["quiet", "swapping"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which weights changed, or did not."""

    kind: Kind
    began_s: float
    ended_s: float
    cpu_s: float  # of the server


@dataclass(frozen=True, slots=True)
class Change:
    """From here on the store says that a speaker is heard so; None: with the base alone."""

    at_s: float
    version: str | None


@dataclass(frozen=True, slots=True)
class Used:
    """With which weights an utterance was heard, and when its client learnt that it had begun."""

    began_s: float
    version: str | None


@dataclass(slots=True)
class Witness:
    """One stream, on this process's clock."""

    began_s: float = 0.0  # when its first sample was spoken
    due_finals: int = 0  # for what was said so far
    due_words: int = 0
    captions: list[tuple[float, float]] = field(default_factory=list)  # when a partial came, and how late it was, ms
    finals: list[tuple[float, float]] = field(default_factory=list)  # likewise, from the utterance's end
    notices: list[Change] = field(default_factory=list)  # `adaptation`
    refused: list[str] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)
    words: int = 0
    _opened_s: float = 0.0
    _ended_s: float = 0.0  # of the stream's audio

    def show(self, event: Event) -> None:
        """Note what it says of delays and weights."""
        now_s = time.perf_counter()
        match event:
            case SpeechStarted():
                self._opened_s = now_s
            case SpeechEnded():
                self._ended_s = event.time
            case Partial():
                self.captions.append((now_s, 1000 * (now_s - self.began_s - event.end)))
            case Final():
                self.finals.append((now_s, 1000 * (now_s - self.began_s - self._ended_s)))
                self.used.append(Used(self._opened_s, event.adapter.version if event.adapter else None))
                self.words += len(event.text.split())
            case Adaptation(event="swapped"):
                self.notices.append(Change(now_s, event.version))
            case Adaptation():
                self.refused.append(event.report or "")


def notice_ms(changes: Sequence[Change], notices: Iterable[Change]) -> list[float]:
    """Tell how long after the change that it speaks of each notice came. Changes are in their order."""
    delays: list[float] = []
    for notice in notices:
        before = changes[: bisect_right(changes, notice.at_s, key=lambda change: change.at_s)]
        made_s = next((change.at_s for change in reversed(before) if change.version == notice.version), None)
        if made_s is not None:
            delays.append(1000 * (notice.at_s - made_s))
    return delays


def stale_ms(changes: Sequence[Change], used: Iterable[Used]) -> list[float]:
    """Tell, of utterances that began with weights no longer in use, how long before these had been replaced."""
    delays: list[float] = []
    for one in used:
        replaced_s = None
        for change in reversed(changes[: bisect_right(changes, one.began_s, key=lambda change: change.at_s)]):
            if change.version == one.version:
                break
            replaced_s = change.at_s
        if replaced_s is not None:
            delays.append(1000 * (one.began_s - replaced_s))
    return delays


def report(
    changes: list[list[Change]], witnesses: list[Witness], stretches: list[Stretch], chunk_ms: float
) -> dict[str, Any]:
    """Sum up what the streams saw of their speakers' changes."""
    pairs = list(zip(changes, witnesses, strict=True))
    made, seen = sum(map(len, changes)), sum(len(w.notices) for w in witnesses)
    stale = [delay for of_speaker, witness in pairs for delay in stale_ms(of_speaker, witness.used)]
    return {
        "chunk_ms": chunk_ms,
        "swaps": {
            "made": made,
            "seen": seen,
            "overtaken": made - seen,
            "refused": sum(len(w.refused) for w in witnesses),
        },
        "notice_ms": _summed([d for of_speaker, witness in pairs for d in notice_ms(of_speaker, witness.notices)]),
        "stale": {"utterances": len(stale), "ms": _summed(stale)},
        "quiet": _within(witnesses, [s for s in stretches if s.kind == "quiet"], chunk_ms),
        "swapping": _within(witnesses, [s for s in stretches if s.kind == "swapping"], chunk_ms),
        "finals": {
            "expected": sum(w.due_finals for w in witnesses),
            "heard": sum(len(w.finals) for w in witnesses),
        },
        "words": {"expected": sum(w.due_words for w in witnesses), "heard": sum(w.words for w in witnesses)},
    }


def _within(witnesses: list[Witness], stretches: list[Stretch], chunk_ms: float) -> dict[str, Any]:
    """Sum up some stretches; late is what comes more than a chunk behind the sound."""
    seconds = sum(stretch.ended_s - stretch.began_s for stretch in stretches)

    def delays_ms(rows: Iterable[list[tuple[float, float]]]) -> list[float]:
        return [ms for row in rows for at_s, ms in row if any(s.began_s <= at_s < s.ended_s for s in stretches)]

    captions, finals = delays_ms(w.captions for w in witnesses), delays_ms(w.finals for w in witnesses)
    return {
        "seconds": round(seconds, 1),
        "captions": len(captions),
        "caption_ms": _summed(captions),
        "finals": len(finals),
        "final_ms": _summed(finals),
        "late": sum(ms > chunk_ms for ms in captions + finals),
        "cores_used": round(sum(stretch.cpu_s for stretch in stretches) / seconds, 3),
    }


def _summed(values: list[float]) -> dict[str, float]:
    return percentiles(values) | ({"max": round(max(values), 1)} if values else {})
