"""Laws 1, 5 and 6 through a whole session with the tiny bundle: packets, stable text, nothing accepted is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.models.bundle import read_bundle
from myna.server.outputs import Message
from myna.server.protocol import Done, Final, Partial, SpeechEnded, SpeechStarted, Start
from tests.laws.hearing import STOP, Hearing
from tests.server.speech import talk
from tests.support import TINY

HEARING = Hearing(read_bundle(TINY))
CHUNKS_MS = [frames * HEARING.bundle.spec.frame_ms for frames in HEARING.bundle.spec.chunk_choices_frames]
PARTS = st.lists(
    st.tuples(st.sampled_from(["voice", "silence"]), st.floats(0.05, 1.6).map(lambda s: round(s, 2))),
    min_size=1,
    max_size=5,
)


def cut(data: bytes, sizes: list[int]) -> list[bytes | str]:
    """Cut into packets of these sizes, again and again."""
    packets: list[bytes | str] = []
    at = 0
    for size in sizes * (len(data) // sum(sizes) + 1):
        packets.append(data[at : at + size])
        at += size
    return [*packets, STOP]


@settings(max_examples=40, deadline=None)
@given(PARTS, st.lists(st.integers(1, 50_000), min_size=1, max_size=6).filter(lambda s: sum(s) > 400))
def test_the_same_events_however_the_packets_fall(parts: list[tuple[str, float]], sizes: list[int]) -> None:
    audio = talk(*parts).tobytes()
    assert HEARING.hear(cut(audio, sizes)) == HEARING.hear([audio, STOP])


@settings(max_examples=40, deadline=None)
@given(PARTS, st.sampled_from(CHUNKS_MS))
def test_stable_text_never_changes(parts: list[tuple[str, float]], chunk_ms: int) -> None:
    check_stability(HEARING.hear([talk(*parts).tobytes(), STOP], Start(chunk_ms=chunk_ms)))


def check_stability(messages: list[Message]) -> None:
    """Hold each partial and final to what was shown as stable before."""
    stable: dict[str, str] = {}
    for message in messages:
        if isinstance(message, Partial):
            assert message.text.startswith(stable.get(message.utterance, ""))
            assert message.stable_chars >= len(stable.get(message.utterance, ""))
            stable[message.utterance] = message.text[: message.stable_chars]
        elif isinstance(message, Final):
            assert message.text.startswith(stable.pop(message.utterance, ""))
    assert stable == {}


@settings(max_examples=40, deadline=None)
@given(PARTS, st.sampled_from(CHUNKS_MS))
def test_every_utterance_that_began_is_finished_and_all_audio_is_counted(
    parts: list[tuple[str, float]], chunk_ms: int
) -> None:
    audio = talk(*parts)
    said = HEARING.hear([audio.tobytes(), STOP], Start(chunk_ms=chunk_ms))
    began = [m.utterance for m in said if isinstance(m, SpeechStarted)]
    assert began == [m.utterance for m in said if isinstance(m, SpeechEnded)]
    assert began == [m.utterance for m in said if isinstance(m, Final)]
    assert said[-1] == Done(audio_seconds=round(len(audio) / 16_000, 3), utterances=len(began))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_garbage_gives_errors_and_never_an_exception(data: st.DataObject) -> None:
    junk = st.one_of(
        st.binary(max_size=3000),
        st.text(max_size=60),
        st.sampled_from(['{"type": "finalize"}', '{"type": "update", "endpointing": "assistant"}', "[]", '{"type":']),
    )
    said = HEARING.hear(data.draw(st.lists(junk, max_size=12)))
    assert said[0].type == "ready"


@pytest.mark.parametrize("chunk_ms", CHUNKS_MS)
def test_speech_that_ends_with_the_audio_is_decoded_to_its_end(chunk_ms: int) -> None:
    """Whatever is said up to the last sample lies within the span of a decoded frame."""
    audio = talk(("silence", 0.4), ("voice", 1.37))
    silent = np.zeros(16_000, np.int16)
    start = Start(chunk_ms=chunk_ms, partials=False)
    ended = [m for m in HEARING.hear([audio.tobytes(), STOP], start) if isinstance(m, Final)]
    padded = [m for m in HEARING.hear([np.concatenate([audio, silent]).tobytes(), STOP], start) if isinstance(m, Final)]
    assert len(ended) == len(padded) == 1
    assert ended[0].words
    assert ended[0].end >= 0.4 + 1.37 - 0.5
