"""From samples to utterances and chunks of features: voice activity, pre-roll, trailing silence, flush.

Everything here is a function of the sample count: however the packets fall, the same events come out.

    samples   ....................speech speech speech.........................
    utterance              |pre-roll|                 |silence_ms|
    events                 Opened  Chunk Chunk Chunk ... Chunk  Closed

Where audio ends without that silence, Ending says so, and the encoder hears silence that nobody sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myna.models.features import filterbank
from myna.models.spec import ModelSpec
from myna.server.outputs import DecodeRequest
from myna.server.protocol import EndReason
from myna.server.vad import VadSettings, VoiceActivity

LAST_SILENCE_MS = 400  # behind the last speech, added where it is missing: words at the very end are told from it
QUIET = 3.0  # standard deviation of that silence, in the scale of int16: a quiet room, as in training


@dataclass(frozen=True, slots=True)
class Opened:
    """Speech began; `sample` is the stream's first sample that the encoder hears."""

    sample: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames to decode."""

    request: DecodeRequest


@dataclass(frozen=True, slots=True)
class Ending:
    """Audio ended before `sample`; what follows until Closed is silence that nobody sent."""

    sample: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The utterance ended before `sample`."""

    sample: int
    reason: EndReason


SpeechEvent = Opened | Chunk | Ending | Closed


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How a stream is cut for the encoder, in encoder frames."""

    chunk_frames: int
    left_frames: int
    provisional_frames: int  # a step ahead of the full chunk each time so many more frames are there; 0: none

    @classmethod
    def of(cls, spec: ModelSpec, chunk_frames: int, provisional_frames: int) -> "ChunkPlan":
        """Choose as much left context as the cache holds in whole chunks, which is what training masks show."""
        left = max(1, spec.left_frames // chunk_frames) * chunk_frames
        return cls(chunk_frames, min(left, spec.left_frames), provisional_frames)


class Segmenter:
    """One stream's way from 16 kHz samples to events."""

    def __init__(self, spec: ModelSpec, plan: ChunkPlan, vad: VadSettings, silence_ms: int) -> None:
        self.silence_ms = silence_ms
        self.samples = 0  # received so far
        self._spec = spec
        self._plan = plan
        self._vad = VoiceActivity(vad)
        self._fbank = filterbank(spec.features)
        self._rate_hz = spec.features.sample_rate_hz
        self._recent = np.zeros(0, np.int16)  # what a new utterance may still reach back to; ends at `samples`
        self._tail = np.zeros(0, np.int16)  # less than one frame of the voice activity detector
        self._closed_at = 0  # no utterance begins before the end of the last one
        self._open = False
        self._fed_samples = 0  # of the open utterance
        self._feats = np.zeros((0, spec.features.mels), np.float32)  # begins at the next encoder frame's first
        self._sent_frames = 0  # in full chunks
        self._tried_frames = 0  # in the last provisional step, beyond the full chunks
        self._requests = 0

    @property
    def heard_samples(self) -> int:
        """Everything received, also what does not fill a frame of the voice activity detector yet."""
        return self.samples + len(self._tail)

    def push(self, samples: NDArray[np.int16]) -> list[SpeechEvent]:
        """Hear samples (n,) int16 at the model's rate."""
        self._tail = np.concatenate([self._tail, samples])
        size = self._vad.frame_samples
        whole = len(self._tail) // size * size
        blocks, self._tail = self._tail[:whole].reshape(-1, size), self._tail[whole:]
        return [event for block in blocks for event in self._block(block)]

    def end(self, reason: EndReason) -> list[SpeechEvent]:
        """Close the open utterance behind everything heard so far. The stream may go on."""
        if not self._open:
            return []  # what was heard last may yet prove to be the beginning of a word
        heard = self.heard_samples
        events = [*self._feed(self._tail), *self._close(heard, reason)]
        self._vad.reset(self.samples)
        return events

    def _block(self, block: NDArray[np.int16]) -> Iterator[SpeechEvent]:
        """Hear one frame of the voice activity detector."""
        self._vad.push(block)
        self.samples += len(block)
        keep = self._vad.reach_samples
        self._recent = np.concatenate([self._recent, block])[-keep:]
        if self._open:
            skip = max(0, self._closed_at - (self.samples - len(block)))
            yield from self._feed(block[skip:])
            quiet_ms = self._vad.quiet_samples * 1000 // self._rate_hz
            if not self._vad.active and quiet_ms >= self.silence_ms:
                yield from self._close(self.samples, "silence")
        elif self._vad.active:
            first = max(self._closed_at, self._vad.start_sample, self.samples - len(self._recent))
            self._open = True
            yield Opened(first)
            yield from self._feed(self._recent[len(self._recent) - (self.samples - first) :])

    def _feed(self, samples: NDArray[np.int16]) -> Iterator[SpeechEvent]:
        """Give samples of the open utterance to the features, and whole chunks to the engine."""
        self._fed_samples += len(samples)
        self._feats = np.concatenate([self._feats, self._fbank.push(samples)])
        ready = self._spec.frames_ready(len(self._feats))
        while ready >= self._plan.chunk_frames:
            yield self._chunk(self._plan.chunk_frames, keep=True)
            ready = self._spec.frames_ready(len(self._feats))
        step = self._plan.provisional_frames
        if step and ready // step * step > self._tried_frames:
            self._tried_frames = ready // step * step
            yield self._chunk(self._tried_frames, keep=False)

    def _close(self, sample: int, reason: EndReason) -> Iterator[SpeechEvent]:
        """Decode what is left and forget the utterance."""
        if reason != "silence":
            yield Ending(sample)
            quiet = np.random.default_rng(0).normal(0, QUIET, self._missing_samples())
            yield from self._feed(quiet.round().astype(np.int16))
        rest = self._spec.frames_ready(len(self._feats))
        if rest:
            yield self._chunk(rest, keep=True)
        yield Closed(sample, reason)
        self._open = False
        self._closed_at = sample
        self._fbank.reset()
        self._fed_samples = self._sent_frames = self._tried_frames = 0
        self._feats = self._feats[:0]

    def _missing_samples(self) -> int:
        """Count the silence that is still to come behind the last speech.

        At least as much as the window of the last frame reaches beyond its own span, so that every sample lies within
        the span of a decoded frame.
        """
        frames = -(-self._fed_samples // self._spec.frame_samples)
        silence = LAST_SILENCE_MS * self._rate_hz // 1000 - self._vad.quiet_samples
        return max(0, silence, self._spec.samples_needed(frames) - self._fed_samples)

    def _chunk(self, frames: int, keep: bool) -> Chunk:
        """Cut the next `frames` encoder frames from the features at hand; a kept chunk moves on."""
        feats = self._feats[: self._spec.features_needed(frames)]
        first = self._sent_frames == 0
        request = DecodeRequest(self._requests, feats, frames, first, keep, self._plan.left_frames)
        self._requests += 1
        if keep:
            self._feats = self._feats[frames * self._spec.subsampling :]
            self._sent_frames += frames
            self._tried_frames = 0
        return Chunk(request)
