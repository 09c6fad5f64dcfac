"""From decoded chunks to what a reader sees: partials with a stable prefix, finals with words, times and confidence.

The captioner hears the stream's events in order, each chunk with its result. It numbers the utterances and ends them
where the decoder gives reason to: by length, at a word's beginning, and where sound goes on without words.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from myna.models.confidence import Calibration, Platt
from myna.models.ctc.greedy import Greedy, Token
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable
from myna.server.outputs import DecodeRequest, DecodeResult, Message
from myna.server.protocol import (
    AdapterName,
    Endpointing,
    EndReason,
    Final,
    Latency,
    Partial,
    SpeechEnded,
    SpeechStarted,
    Word,
)


@dataclass(slots=True)
class _Utterance:
    """The utterance under way."""

    id: str
    start_sample: int
    shown: tuple[str, int] = ("", 0)  # text and stable characters of the last partial
    committed: int = 0  # tokens that a reader may have seen as stable


class Captioner:
    """One stream's way from events and results to messages."""

    def __init__(
        self,
        spec: ModelSpec,
        tokens: TokenTable,
        endpointing: Endpointing,
        partials: bool,
        words: bool,
        calibration: Calibration | None = None,
    ) -> None:
        self.endpointing = endpointing
        self.adapter: AdapterName | None = None  # of what is heard from here on
        self.utterances = 0
        self._spec = spec
        self._tokens = tokens
        self._partials = partials
        self._words = words
        self._of_utterances = calibration.utterance if calibration else None
        self._of_words = calibration.word if calibration else None
        self._origin_sample = 0  # where the encoder's frame 0 begins
        self._ending_sample: int | None = None  # where the audio of the open utterance ends, once that is known
        self._decoder = Greedy(spec.blank_id)
        self._current: _Utterance | None = None
        self._latency = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)

    def opened(self, sample: int) -> Iterator[Message]:
        """Begin an utterance with a fresh decoder."""
        self._origin_sample, self._ending_sample = sample, None
        self._decoder = Greedy(self._spec.blank_id)
        yield self._begin(sample)

    def heard(self, request: DecodeRequest, result: DecodeResult) -> Iterator[Message]:
        """Take a chunk's result."""
        self._latency = Latency(
            audio_to_engine_ms=round(result.audio_to_engine_ms, 2),
            queue_ms=round(result.queue_ms, 2),
            compute_ms=round(result.compute_ms, 2),
        )
        if not request.keep:
            yield from self._partial(self._decoder.peek(result.log_probs), request.frames)
            return
        self._decoder.advance(result.log_probs)
        if self._current is None and self._decoder.tokens:
            yield self._begin(self._sample(self._decoder.tokens[0].start_frame))
        yield from self._end_early()
        yield from self._partial(self._decoder.tokens, 0)
        if self._current:
            self._current.committed = len(self._decoder.tokens)

    def ending(self, sample: int) -> None:
        """Note where audio ends: nothing is said to last longer, though silence is heard behind it."""
        self._ending_sample = sample

    def closed(self, sample: int, reason: EndReason) -> Iterator[Message]:
        """End the utterance, if one is under way."""
        yield from self._end(len(self._decoder.tokens), sample, reason)

    def _begin(self, sample: int) -> Message:
        self._current = _Utterance(str(self.utterances), sample)
        self.utterances += 1
        return SpeechStarted(utterance=self._current.id, time=self._time(sample))

    def _end_early(self) -> Iterator[Message]:
        """End the utterance where words stay away, or where it is long enough and a new word begins."""
        if self._current is None or self._ending_sample is not None:
            return
        here = self._sample(self._decoder.frames)
        tokens = self._decoder.tokens
        if self._decoder.quiet_frames * self._spec.frame_ms >= self.endpointing.blank_ms:
            yield from self._end(len(tokens), here, "silence")
        elif self._ms(here - self._current.start_sample) >= self.endpointing.max_utterance_ms:
            fresh = range(self._current.committed, len(tokens))
            cut = next((i for i in fresh if i and self._tokens.starts_word(tokens[i].id)), 0)
            if cut:
                sample = self._sample(tokens[cut].start_frame)
                yield from self._end(cut, sample, "length")
                yield self._begin(sample)

    def _end(self, count: int, sample: int, reason: EndReason) -> Iterator[Message]:
        """Make the first `count` tokens final."""
        if self._current is None:
            return
        utterance, self._current = self._current, None
        tokens = self._decoder.take(count)
        words = self._word_list(tokens)
        yield SpeechEnded(utterance=utterance.id, time=self._time(sample), reason=reason)
        yield Final(
            utterance=utterance.id,
            text=self._text(tokens),
            words=words if self._words else None,
            confidence=_confidence(tokens, self._of_utterances),
            start=words[0].start if words else self._time(utterance.start_sample),
            end=words[-1].end if words else self._time(sample),
            adapter=self.adapter,
            latency=self._latency,
        )

    def _partial(self, tokens: Sequence[Token], ahead_frames: int) -> Iterator[Message]:
        """Show the tokens of the utterance under way, where that changes what is seen."""
        if self._current is None or not self._partials:
            return
        text, stable = self._text(tokens), len(self._text(self._decoder.tokens))
        if (text, stable) == self._current.shown:
            return
        self._current.shown = (text, stable)
        yield Partial(
            utterance=self._current.id,
            text=text,
            stable_chars=stable,
            start=self._time(self._current.start_sample),
            end=self._time(self._sample(self._decoder.frames + ahead_frames)),
        )

    def _word_list(self, tokens: Sequence[Token]) -> tuple[Word, ...]:
        groups: list[list[Token]] = []
        for token in tokens:
            if not groups or self._tokens.starts_word(token.id):
                groups.append([])
            groups[-1].append(token)
        return tuple(
            Word(
                word=text,
                start=self._time(self._sample(group[0].start_frame)),
                end=self._time(self._sample(group[-1].end_frame)),
                confidence=_confidence(group, self._of_words),
            )
            for group in groups
            if (text := self._text(group))
        )

    def _text(self, tokens: Sequence[Token]) -> str:
        return self._tokens.text([token.id for token in tokens])

    def _sample(self, frame: int) -> int:
        sample = self._origin_sample + frame * self._spec.frame_samples
        return sample if self._ending_sample is None else min(sample, self._ending_sample)

    def _ms(self, samples: int) -> float:
        return samples * 1000 / self._spec.features.sample_rate_hz

    def _time(self, sample: int) -> float:
        return round(sample / self._spec.features.sample_rate_hz, 3)


def _confidence(tokens: Sequence[Token], calibrate: Platt | None) -> float:
    """Geometric mean of the tokens' best posteriors, and what that is worth where it was measured; 0 for none."""
    if not tokens:
        return 0.0
    raw = math.exp(sum(t.log_prob for t in tokens) / len(tokens))
    return round(calibrate(raw) if calibrate else raw, 3)
