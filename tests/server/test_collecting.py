"""What is kept of a stream: whole utterances that were agreed to, as they were heard."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.server.collecting import Collector, Recording
from myna.server.protocol import Final, Latency, SpeechEnded, SpeechStarted

RATE_HZ = 16_000
STREAM = np.arange(-30_000, 30_000, dtype=np.int16)


def final(collector: Collector, start: int, end: int, text: str = "hello", utterance: str = "0") -> Recording | None:
    """Tell of an utterance between two samples."""
    assert collector.told(SpeechStarted(utterance=utterance, time=start / RATE_HZ)) is None
    assert collector.told(SpeechEnded(utterance=utterance, time=end / RATE_HZ, reason="silence")) is None
    latency = Latency(audio_to_engine_ms=0, queue_ms=0, compute_ms=0)
    return collector.told(Final(utterance=utterance, text=text, confidence=0.5, start=0, end=1, latency=latency))


def heard(*parts: NDArray[np.int16], max_s: float = 60) -> Collector:
    collector = Collector(RATE_HZ, max_s)
    collector.agree(True)
    for part in parts:
        collector.hear(part)
    return collector


@given(st.lists(st.integers(0, 60_000), max_size=8), st.integers(0, 59_000), st.integers(1, 1_000))
def test_the_audio_is_that_of_the_utterance(cuts: list[int], first: int, length: int) -> None:
    collector = heard(*np.split(STREAM, sorted(cuts)))
    kept = final(collector, first, first + length)
    assert kept is not None
    np.testing.assert_array_equal(kept.samples, STREAM[first : first + length])
    assert (kept.utterance, kept.text, kept.confidence) == ("0", "hello", 0.5)


def test_without_words_nothing_is_kept() -> None:
    assert final(heard(STREAM), 100, 900, text="") is None


def test_nothing_is_kept_of_who_did_not_agree() -> None:
    collector = Collector(RATE_HZ, 60)
    collector.hear(STREAM)
    assert final(collector, 0, 1_000) is None


def test_an_utterance_must_be_agreed_to_from_end_to_end() -> None:
    collector = Collector(RATE_HZ, 60)
    collector.hear(STREAM[:10_000])
    collector.agree(True)
    collector.hear(STREAM[10_000:20_000])
    assert final(collector, 9_999, 15_000) is None
    assert final(collector, 10_000, 15_000) is not None
    collector.agree(False)
    assert final(collector, 10_000, 15_000) is None
    collector.hear(STREAM[20_000:30_000])
    collector.agree(True)
    collector.hear(STREAM[30_000:])
    assert final(collector, 19_000, 31_000) is None
    kept = final(collector, 30_000, 40_000)
    assert kept is not None
    np.testing.assert_array_equal(kept.samples, STREAM[30_000:40_000])


def test_memory_is_bounded_and_what_is_longer_is_not_kept() -> None:
    collector = heard(*np.split(STREAM, 60), max_s=1)
    assert sum(len(part) for part in collector._parts) <= RATE_HZ + 1_000
    assert final(collector, 30_000, 59_000) is None
    assert final(collector, 50_000, 59_000) is not None


def test_utterances_may_overlap_their_finals() -> None:
    collector = heard(STREAM)
    collector.told(SpeechStarted(utterance="0", time=0))
    collector.told(SpeechStarted(utterance="1", time=1))
    kept = final(collector, 8_000, 24_000, utterance="1")
    assert kept is not None
    assert len(kept.samples) == 16_000
