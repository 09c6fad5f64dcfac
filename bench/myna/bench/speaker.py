"""One speaker of the adaptation benchmark: learnt as `myna adapt` would, heard as the server would."""

import resource
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from myna.adapt.data import clean
from myna.adapt.personal.attempt import attempt
from myna.adapt.personal.base import read_base
from myna.adapt.personal.judge import compare
from myna.adapt.personal.lessons import Lesson, Mark, prepare, second_hearing, word_errors
from myna.adapt.personal.others import Others
from myna.adapt.personal.settings import AdaptSettings
from myna.bench.evaluate import transcript
from myna.bench.local import context_of, recognise
from myna.bench.manifest import Clip, load_samples
from myna.bench.score import Errors
from myna.bench.score import compare as score
from myna.models.adapter_file import Adapter, adapter_bytes
from myna.models.bundle import open_bundle, resolve_bundle
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings
from myna.server.outputs import Voice
from myna.server.protocol import AdapterName, Final, Start

LANES = 8
SURE = 0.95


@dataclass(frozen=True, slots=True)
class Subject:
    """A speaker, or several of one accent: what may be learnt from and what is tested on."""

    name: str
    accent: str
    corpus: str
    adapt: tuple[Clip, ...]
    test: tuple[Clip, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What was understood of a clip."""

    errors: Errors
    text: str
    confidence: float  # of its least sure final


class Laboratory:
    """A bundle in this process, for learning and for hearing."""

    def __init__(self, model: str | None, settings: AdaptSettings) -> None:
        self._open = ExitStack()
        self.settings = settings
        self.bundle = self._open.enter_context(open_bundle(resolve_bundle(model)))
        self.base = read_base(self.bundle)
        self._engine = Engine(Runtime(self.bundle, 1), EngineSettings(max_streams=LANES))
        self._context = context_of(self.bundle)
        self._everybody = Others(self.base, settings.blocks)
        self._others_before: list[Heard] = []

    def hear(self, clips: Sequence[Clip], adapter: Adapter | None = None) -> list[Heard]:
        """Stream clips through sessions of a speaker with these weights."""
        name = AdapterName(speaker="speaker", version="0")
        voice = Voice(name, adapter.packed(self.bundle.spec)) if adapter else None
        start = Start(partials=False, words=False, speaker="speaker")
        said = recognise(clips, _samples, self._engine, self._context, start, LANES, voice)
        heard = dict[Clip, Heard]()
        for clip, messages in said:
            text = transcript(messages)
            sure = min((m.confidence for m in messages if isinstance(m, Final) and m.text), default=0.0)
            heard[clip] = Heard(score(clip.text, text), text, sure)
        return [heard[clip] for clip in clips]

    def measure(self, subject: Subject, amounts: Iterable[int], pseudo: bool, others: Sequence[Clip]) -> dict[str, Any]:
        """Learn from all of a subject's speech, from the first of it, and from what is heard without its texts."""
        before = self.hear(subject.test)
        everything, adapter = self._learnt(subject, subject.adapt, before)
        row: dict[str, Any] = {
            "speaker": subject.name, "accent": subject.accent, "corpus": subject.corpus,
            "adapt_utterances": len(subject.adapt), "test_utterances": len(subject.test),
            "base_wer": _rate(before, "word"), "base_cer": _rate(before, "character"), **everything, "amounts": {},
        }  # fmt: skip
        if adapter and others:
            row["others"] = self._others(others, adapter)
        for amount in amounts:
            if amount < len(subject.adapt):
                row["amounts"][str(amount)], _ = self._learnt(subject, subject.adapt[:amount], before)
            elif amount == len(subject.adapt):
                row["amounts"][str(amount)] = everything
        if pseudo:
            row["pseudo"], _ = self._learnt(subject, subject.adapt, before, pseudo=True)
        return row

    def _learnt(
        self, subject: Subject, clips: Sequence[Clip], before: Sequence[Heard], pseudo: bool = False
    ) -> tuple[dict[str, Any], Adapter | None]:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        lessons = self._unproved(clips) if pseudo else self._proved(clips)
        made = None
        if len(lessons) >= self.settings.min_utterances:
            made = attempt(self.base, lessons, self.settings, lambda what, share: None, self._everybody)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        adapter = made.adapter if made else None
        after = self.hear(subject.test, adapter) if adapter else before
        marks = [_marks(before), _marks(after)]
        return {
            "lessons": len(lessons),
            "published": adapter is not None,
            "sure": made.held_out.sure if made else 0.0,
            "why": made.verdict.reason if made else "too few utterances",
            "passes": made.passes if made else 0,
            "strength": made.strength if made else 0.0,
            "adapted_wer": _rate(after, "word"),
            "adapted_cer": _rate(after, "character"),
            "significantly_worse": compare(marks[1], marks[0]).sure >= SURE,
            "significantly_better": compare(marks[0], marks[1]).sure >= SURE,
            "took_s": round(took_s, 1),
            "cpu_s": round(cpu_s, 1),
            "adapter_bytes": len(adapter_bytes(adapter)) if adapter else 0,
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        }, adapter

    def _proved(self, clips: Sequence[Clip]) -> list[Lesson]:
        found = [
            prepare(self.base, _samples(clip), clean(clip.text), self.settings.speeds, self.settings.blocks)
            for clip in clips
        ]
        return [lesson for lesson in found if lesson]

    def _unproved(self, clips: Sequence[Clip]) -> list[Lesson]:
        """Make lessons of what is heard surely, as a server would keep it and a round would choose it."""
        lessons = list[Lesson | None]()
        for clip, heard in zip(clips, self.hear(clips), strict=True):
            if heard.confidence < self.settings.min_confidence:
                continue
            text = second_hearing(self.base, _samples(clip))
            errors, words = word_errors(text, heard.text)
            if text and errors <= words / 2:
                lessons.append(prepare(self.base, _samples(clip), text, self.settings.speeds, self.settings.blocks))
        return [lesson for lesson in lessons if lesson]

    def _others(self, clips: Sequence[Clip], adapter: Adapter) -> dict[str, float]:
        self._others_before = self._others_before or self.hear(clips)
        return {"base_wer": _rate(self._others_before, "word"), "adapted_wer": _rate(self.hear(clips, adapter), "word")}

    def close(self) -> None:
        """Stop the engine."""
        self._engine.stop()
        self._open.close()


def _samples(clip: Clip) -> np.ndarray[Any, np.dtype[np.int16]]:
    return load_samples(Path(clip.audio))


def _rate(heard: Sequence[Heard], kind: str) -> float:
    wrong, all_ = {
        "word": (sum(h.errors.word_errors for h in heard), sum(h.errors.words for h in heard)),
        "character": (sum(h.errors.character_errors for h in heard), sum(h.errors.characters for h in heard)),
    }[kind]
    return round(wrong / all_, 4)


def _marks(heard: Sequence[Heard]) -> list[Mark]:
    return [Mark(0.0, 1, h.errors.word_errors, h.errors.words, h.text) for h in heard]
