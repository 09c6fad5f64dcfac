"""Captions from hand-made log-probabilities: stability, words, early ends."""

import numpy as np
import pytest
from numpy.typing import NDArray

from myna.models.confidence import Calibration, Platt
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable
from myna.server.captions import Captioner
from myna.server.outputs import DecodeRequest, DecodeResult, Message
from myna.server.protocol import Endpointing, Final, Partial, SpeechEnded, SpeechStarted

UNITS = ["<blank>", "<unk>", "▁HE", "LLO", "▁WORLD", "▁A"]
HE, LLO, WORLD, A = 2, 3, 4, 5
SPEC = ModelSpec(
    subsampling=6, blocks=1, heads=1, width=8, feed_forward=8, kernel=3, vocabulary=len(UNITS),
    chunk_frames=8, chunk_choices_frames=(8,), left_frames=64,
)  # fmt: skip
RULE = Endpointing(silence_ms=600, max_utterance_ms=2_000, blank_ms=960)


def log_probs(best: list[int]) -> NDArray[np.float32]:
    rows = np.full((len(best), len(UNITS)), np.log(0.02), np.float32)
    rows[np.arange(len(best)), best] = np.log(0.9)
    return rows


class Stream:
    """A captioner that hears best ids."""

    def __init__(self, partials: bool = True, words: bool = True, calibration: Calibration | None = None) -> None:
        self.captioner = Captioner(SPEC, TokenTable(UNITS), RULE, partials, words, calibration)
        self.messages: list[Message] = list(self.captioner.opened(16_000))

    def hear(self, *best: int, keep: bool = True) -> list[Message]:
        request = DecodeRequest(0, np.zeros((0, 80), np.float32), len(best), False, keep, 64)
        new = list(self.captioner.heard(request, DecodeResult(log_probs(list(best)), 1, 2, 3)))
        self.messages += new
        return new

    def close(self, sample: int = 32_000) -> list[Message]:
        new = list(self.captioner.closed(sample, "silence"))
        self.messages += new
        return new


def test_an_utterance_from_start_to_final() -> None:
    stream = Stream()
    assert stream.messages == [SpeechStarted(utterance="0", time=1.0)]
    (partial,) = stream.hear(0, HE, HE, LLO, 0, 0, 0, 0)
    assert partial == Partial(utterance="0", text="hello", stable_chars=5, start=1.0, end=1.48)
    stream.hear(WORLD, 0)
    ended, final = stream.close()
    assert ended == SpeechEnded(utterance="0", time=2.0, reason="silence")
    assert isinstance(final, Final)
    assert final.text == "hello world"
    assert final.words is not None
    assert [(w.word, w.start, w.end) for w in final.words] == [("hello", 1.06, 1.24), ("world", 1.48, 1.54)]
    assert final.confidence == pytest.approx(0.9, abs=1e-3)
    assert (final.latency.audio_to_engine_ms, final.latency.queue_ms, final.latency.compute_ms) == (1, 2, 3)


def test_a_provisional_step_shows_text_that_is_not_stable_and_leaves_no_trace() -> None:
    stream = Stream()
    stream.hear(HE, 0)
    (partial,) = stream.hear(LLO, WORLD, keep=False)
    assert isinstance(partial, Partial)
    assert (partial.text, partial.stable_chars) == ("hello world", 2)
    (partial,) = stream.hear(LLO, 0)
    assert isinstance(partial, Partial)
    assert (partial.text, partial.stable_chars) == ("hello", 5)


def test_nothing_new_is_not_said_again() -> None:
    stream = Stream()
    stream.hear(HE)
    assert stream.hear(0, 0) == []


def test_without_partials_and_words_the_final_is_all() -> None:
    stream = Stream(partials=False, words=False)
    assert stream.hear(HE) == []
    final = stream.close()[-1]
    assert isinstance(final, Final)
    assert final.words is None


def test_an_utterance_without_words_has_an_empty_final() -> None:
    stream = Stream()
    stream.hear(0, 0, 0)
    final = stream.close()[-1]
    assert isinstance(final, Final)
    assert (final.text, final.words, final.confidence) == ("", (), 0.0)


def test_nothing_that_is_told_from_the_silence_behind_the_audio_lasts_beyond_it() -> None:
    stream = Stream()
    stream.hear(HE, 0, 0, 0)
    stream.captioner.ending(16_000 + 5 * SPEC.frame_samples)
    (partial,) = stream.hear(0, 0, 0, LLO, *[0] * 16)  # as long as blank_ms, but the reason to end is another
    assert isinstance(partial, Partial)
    assert (partial.text, partial.end) == ("hello", 1.3)
    final = stream.close(16_000 + 5 * SPEC.frame_samples)[-1]
    assert isinstance(final, Final)
    assert final.words is not None
    assert [(w.start, w.end) for w in final.words] == [(1.0, 1.3)]


def test_confidence_is_calibrated_where_the_model_knows_how() -> None:
    rule = Calibration(word=Platt(slope=1, intercept=-1), utterance=Platt(slope=0.5, intercept=0))
    stream = Stream(calibration=rule)
    stream.hear(HE, LLO, 0, WORLD)
    final = stream.close()[-1]
    assert isinstance(final, Final)
    assert final.words is not None
    assert final.confidence == pytest.approx(rule.utterance(0.9), abs=1e-3) == pytest.approx(0.75, abs=1e-3)
    assert [w.confidence for w in final.words] == [pytest.approx(rule.word(0.9), abs=1e-3)] * 2
    silent = Stream(calibration=rule)
    silent.hear(0)
    final = silent.close()[-1]
    assert isinstance(final, Final)
    assert final.confidence == 0.0


def test_sound_without_words_ends_an_utterance_and_the_next_word_begins_another() -> None:
    stream = Stream()
    stream.hear(HE, *[0] * 16)  # 16 frames of 60 ms are the 960 ms of the rule
    assert isinstance(stream.messages[-1], Final)
    assert stream.hear(*[0] * 8) == []
    started, partial = stream.hear(0, WORLD)
    assert started == SpeechStarted(utterance="1", time=round(1 + 26 * 0.06, 3))
    assert isinstance(partial, Partial)
    assert (partial.utterance, partial.text) == ("1", "world")
    assert [m.type for m in stream.close()] == ["speech_ended", "final"]
    assert stream.captioner.utterances == 2


def test_a_long_utterance_is_cut_where_a_word_begins() -> None:
    stream = Stream()
    for _ in range(4):
        stream.hear(A, 0, 0, 0, A, 0, 0, 0)  # 4 x 480 ms
    assert not any(isinstance(m, Final) for m in stream.messages)
    ended, final, started, partial = stream.hear(HE, LLO, 0, 0)  # past 2 s; a word begins with this chunk
    assert isinstance(ended, SpeechEnded)
    assert ended.reason == "length"
    assert isinstance(final, Final)
    assert final.text == "a a a a a a a a"
    assert isinstance(started, SpeechStarted)
    assert started.time == ended.time
    assert isinstance(partial, Partial)
    assert partial.text == "hello"
    final = stream.close()[-1]
    assert isinstance(final, Final)
    assert final.text == "hello"


def test_a_cut_never_takes_back_stable_text() -> None:
    stream = Stream()
    for _ in range(4):
        stream.hear(A, 0, 0, 0, A, 0, 0, 0)
    stream.hear(LLO, 0)  # past 2 s, but the last word goes on: no cut
    (last,) = [m for m in stream.messages if isinstance(m, Partial)][-1:]
    stream.hear(HE)
    final = next(m for m in stream.messages if isinstance(m, Final))
    assert final.text.startswith(last.text[: last.stable_chars])
