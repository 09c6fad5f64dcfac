"""What of each utterance (a final that holds words) was right: a clip's finals, aligned with its text."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jiwer
from rich.console import Console
from rich.progress import Progress

from myna.bench.evaluate import LANES, finals
from myna.bench.local import context_of, recognise
from myna.bench.manifest import Clip, load_samples
from myna.bench.score import normalise
from myna.models.bundle import Bundle
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings
from myna.server.protocol import Final, Start


@dataclass(frozen=True, slots=True)
class Utterance:
    """A final that holds words, beside what was said in its place."""

    speaker: str  # or the clip's name where that is unknown
    confidence: float
    words: tuple[float, ...]  # the confidence of each
    right: tuple[bool, ...]  # likewise
    said: int  # words of the text
    missing: int  # of these, left out

    @property
    def compared(self) -> int:
        """Words heard or said."""
        return len(self.right) + self.missing

    @property
    def errors(self) -> int:
        """Words that are wrong, too many, or left out."""
        return self.compared - sum(self.right)


def judge(clip: Clip, said: Sequence[Final]) -> list[Utterance]:
    """Align a clip's finals, with words, with its text; words left out count where the next word was heard."""
    heard = [
        (number, word, part.confidence)
        for number, final in enumerate(said)
        for part in final.words or ()
        for word in normalise(part.word).split()
    ]
    if not heard:
        return []
    right = [False] * len(heard)
    spoken, missing = collections.Counter[int](), collections.Counter[int]()
    for part in jiwer.process_words(normalise(clip.text), " ".join(word for _, word, _ in heard)).alignments[0]:
        for i in range(part.hyp_start_idx, part.hyp_end_idx):
            right[i] = part.type == "equal"
            spoken[heard[i][0]] += part.type != "insert"
        if part.type == "delete":
            missing[heard[min(part.hyp_start_idx, len(heard) - 1)][0]] += part.ref_end_idx - part.ref_start_idx
    judged = []
    for number, final in enumerate(said):
        own = [i for i, (owner, _, _) in enumerate(heard) if owner == number]
        if own:
            words, marks = tuple(heard[i][2] for i in own), tuple(right[i] for i in own)
            counts = (spoken[number] + missing[number], missing[number])
            judged.append(Utterance(clip.speaker or clip.audio.name, final.confidence, words, marks, *counts))
    return judged


def hear(clips: Sequence[Clip], bundle: Bundle, threads: int, progress: bool) -> Iterator[Utterance]:
    """Stream the clips; yield what was understood, with raw confidence, in the order of completion."""
    engine = Engine(Runtime(bundle, threads), EngineSettings(max_streams=LANES))
    raw = dataclasses.replace(context_of(bundle), calibration=None)
    try:
        said = recognise(clips, lambda clip: load_samples(clip.audio), engine, raw, Start(partials=False), LANES)
        with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
            for clip, messages in bar.track(said, len(clips), description="hearing"):
                yield from judge(clip, finals(messages))
    finally:
        engine.stop()
