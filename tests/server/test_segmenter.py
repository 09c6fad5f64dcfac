"""From samples to utterances and chunks: pre-roll, endpoints, exact flush, whatever the packets."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.models.features import filterbank
from myna.models.spec import ModelSpec
from myna.server.segmenter import LAST_SILENCE_MS, Chunk, ChunkPlan, Closed, Ending, Opened, Segmenter, SpeechEvent
from myna.server.vad import VadSettings
from tests.server.speech import RATE_HZ, silence, talk

SPEC = ModelSpec(
    subsampling=6, blocks=1, heads=1, width=8, feed_forward=8, kernel=3, vocabulary=8,
    chunk_frames=8, chunk_choices_frames=(5, 8), left_frames=64,
)  # fmt: skip
SPEECH = talk(("silence", 1.0), ("voice", 1.7), ("silence", 1.5), ("voice", 0.9), ("silence", 1.2))


def segmenter(chunk_frames: int = 8, provisional_frames: int = 4, silence_ms: int = 600) -> Segmenter:
    return Segmenter(SPEC, ChunkPlan.of(SPEC, chunk_frames, provisional_frames), VadSettings(), silence_ms)


def chunks(events: list[SpeechEvent], keep: bool = True) -> list[Chunk]:
    return [e for e in events if isinstance(e, Chunk) and e.request.keep == keep]


def same(a: SpeechEvent, b: SpeechEvent) -> bool:
    if isinstance(a, Chunk) and isinstance(b, Chunk):
        fields = ("id", "frames", "first", "keep", "left_frames")
        return np.array_equal(a.request.feats, b.request.feats) and all(
            getattr(a.request, f) == getattr(b.request, f) for f in fields
        )
    return a == b


def test_silence_costs_no_steps() -> None:
    stream = segmenter()
    assert stream.push(silence(20.0)) == []
    assert stream.end("stop") == []


def test_utterances_open_with_pre_roll_and_close_after_silence() -> None:
    stream = segmenter()
    events = stream.push(SPEECH) + stream.end("stop")
    edges = [e for e in events if not isinstance(e, Chunk)]
    assert [type(e) for e in edges] == [Opened, Closed, Opened, Closed]
    first, closed, second, _ = edges
    assert isinstance(first, Opened)
    assert isinstance(second, Opened)
    assert isinstance(closed, Closed)
    assert closed.reason == "silence"
    assert RATE_HZ * 0.5 < first.sample < RATE_HZ * 1.0
    assert RATE_HZ * 3.2 < closed.sample < RATE_HZ * 3.8
    assert closed.sample <= second.sample < RATE_HZ * 4.2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, len(SPEECH) - 1), max_size=30))
def test_packets_do_not_matter(cuts: list[int]) -> None:
    whole, parts = segmenter(), segmenter()
    expected = whole.push(SPEECH) + whole.end("stop")
    found: list[SpeechEvent] = []
    for a, b in itertools.pairwise([0, *sorted(cuts), len(SPEECH)]):
        found += parts.push(SPEECH[a:b])
    found += parts.end("stop")
    assert len(found) == len(expected)
    assert all(map(same, found, expected))


def heard_features(events: list[SpeechEvent]) -> NDArray[np.float32]:
    """All features of the kept chunks, each once."""
    kept = chunks(events)
    head = [c.request.feats[: c.request.frames * SPEC.subsampling] for c in kept[:-1]]
    return np.concatenate([*head, kept[-1].request.feats])


@pytest.mark.parametrize("chunk_frames", [5, 8])
@pytest.mark.parametrize("extra_samples", [0, 1, 479, 480, 959, 1_200])
def test_audio_that_ends_in_speech_is_heard_to_its_last_sample_with_silence_behind(
    chunk_frames: int, extra_samples: int
) -> None:
    speech = talk(("silence", 0.5), ("voice", 1.5))
    audio = np.concatenate([speech, speech[RATE_HZ:]])[: len(speech) + extra_samples]
    stream = segmenter(chunk_frames)
    events = stream.push(audio) + stream.end("stop")
    opened = next(e for e in events if isinstance(e, Opened))
    assert events[-1] == Closed(len(audio), "stop")
    said = events.index(Ending(len(audio)))
    assert all(isinstance(e, Chunk) for e in events[said + 1 : -1])
    feats = heard_features(events)
    expected = filterbank(SPEC.features).push(audio[opened.sample :])
    np.testing.assert_array_equal(feats[: len(expected)], expected)
    frames = sum(c.request.frames for c in chunks(events))
    assert frames == SPEC.frames_ready(len(feats))
    silence_ms = frames * SPEC.frame_ms - (len(audio) - opened.sample) * 1000 / RATE_HZ
    assert LAST_SILENCE_MS - 3 * SPEC.frame_ms < silence_ms <= LAST_SILENCE_MS
    assert feats[-1].max() < 0.6 * expected.max()


def test_silence_that_was_heard_is_not_added_again() -> None:
    stream = segmenter(provisional_frames=0)
    audio = talk(("silence", 0.5), ("voice", 1.5), ("silence", 0.5))
    events = stream.push(audio)
    opened = next(e for e in events if isinstance(e, Opened))
    events += stream.end("finalize")
    heard_samples = sum(c.request.frames for c in chunks(events)) * SPEC.frame_samples
    assert abs(heard_samples - (len(audio) - opened.sample)) < SPEC.samples_needed(1)


def test_chunks_overlap_by_what_the_window_reaches_beyond() -> None:
    stream = segmenter()
    kept = chunks(stream.push(SPEECH))
    full = [c.request for c in kept if c.request.frames == 8]
    assert len(full) > 3
    for request in full:
        assert request.feats.shape == (SPEC.features_needed(8), SPEC.features.mels)
    overlap = SPEC.window_frames - SPEC.subsampling
    np.testing.assert_array_equal(full[0].feats[-overlap:], full[1].feats[:overlap])
    assert [r.first for r in full[:2]] == [True, False]


def test_provisional_steps_come_between_full_chunks_and_say_that_they_leave_no_trace() -> None:
    stream = segmenter(provisional_frames=4)
    events = [e for e in stream.push(SPEECH) if isinstance(e, Chunk)]
    kinds = [(e.request.keep, e.request.frames) for e in events[:4]]
    assert kinds == [(False, 4), (True, 8), (False, 4), (True, 8)]
    assert events[0].request.first
    assert not chunks(segmenter(provisional_frames=0).push(SPEECH), keep=False)


def test_finalize_goes_on_without_losing_or_doubling_audio() -> None:
    stream = segmenter()
    middle = RATE_HZ * 2
    before = stream.push(SPEECH[:middle]) + stream.end("finalize")
    after = stream.push(SPEECH[middle:]) + stream.end("stop")
    assert before[-1] == Closed(middle, "finalize")
    opened = next(e for e in after if isinstance(e, Opened))
    assert middle <= opened.sample <= middle + RATE_HZ // 5


def test_finalize_in_silence_takes_nothing_from_the_next_word() -> None:
    plain, asked = segmenter(), segmenter()
    first = next(e for e in plain.push(SPEECH) if isinstance(e, Opened))
    for at in range(0, len(SPEECH), 320):
        events = asked.push(SPEECH[at : at + 320])
        if events:
            assert events[0] == first
            return
        assert asked.end("finalize") == []


def test_an_utterance_without_end_needs_constant_memory() -> None:
    stream = segmenter(provisional_frames=0)
    speech = talk(("voice", 2.0))

    def held() -> int:
        arrays = [v for v in vars(stream).values() if isinstance(v, np.ndarray)]
        return sum(a.nbytes for a in arrays)

    sizes = []
    for _ in range(40):
        for packet in np.array_split(speech, 20):
            stream.push(packet)
        sizes.append(held())
    assert max(sizes[5:]) <= max(sizes[:5]) + 64_000


def test_left_context_is_whole_chunks_within_the_cache() -> None:
    assert ChunkPlan.of(SPEC, 5, 0).left_frames == 60
    assert ChunkPlan.of(SPEC, 8, 0).left_frames == 64
