"""Law 1, packets: however the bytes are split, the same samples come out of every decoder, to the bit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.server.audio import open_decoder
from myna.server.protocol import AudioFormat
from tests.server.opus_streams import encoded
from tests.server.speech import voice

VOICE = voice(0.7)
CUTS = st.lists(st.integers(0, 1 << 15), max_size=30)
RAW = {
    "pcm_s16le": VOICE.tobytes(),
    "pcm_f32le": (VOICE / np.float32(32768)).tobytes(),
    "mulaw": VOICE.astype(np.uint8).tobytes(),
    "alaw": VOICE.astype(np.uint8).tobytes(),
}
OPUS = encoded(VOICE)


def samples(audio: AudioFormat, data: bytes, cuts: list[int]) -> NDArray[np.int16]:
    decoder = open_decoder(audio)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [decoder.decode(data[a:b]) for a, b in itertools.pairwise(edges)]
    return np.concatenate([*parts, decoder.flush()])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("encoding", RAW)
@settings(max_examples=15, deadline=None)
@given(cuts=CUTS)
def test_raw_encodings(encoding: str, channels: int, rate_hz: int, cuts: list[int]) -> None:
    audio = AudioFormat.model_validate({"encoding": encoding, "channels": channels, "sample_rate": rate_hz})
    np.testing.assert_array_equal(samples(audio, RAW[encoding], cuts), samples(audio, RAW[encoding], []))


@settings(max_examples=50, deadline=None)
@given(cuts=CUTS)
def test_ogg_opus(cuts: list[int]) -> None:
    audio = AudioFormat(encoding="ogg_opus")
    np.testing.assert_array_equal(samples(audio, OPUS, cuts), samples(audio, OPUS, []))


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@settings(max_examples=10, deadline=None)
@given(data=st.binary(max_size=400), cuts=CUTS)
def test_any_bytes_are_some_samples(rate_hz: int, data: bytes, cuts: list[int]) -> None:
    for encoding in ("pcm_s16le", "mulaw", "alaw"):
        audio = AudioFormat.model_validate({"encoding": encoding, "sample_rate": rate_hz})
        np.testing.assert_array_equal(samples(audio, data, cuts), samples(audio, data, []))
