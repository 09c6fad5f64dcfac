"""Decoding what comes on the wire: G.711 by the table, whole samples, full scale, resampling as soxr does it."""

import io

import numpy as np
import pytest
import soundfile
import soxr

from myna.server.audio import open_decoder
from myna.server.errors import AudioError
from myna.server.opus import OggOpusDecoder
from myna.server.protocol import AudioFormat
from tests.server.speech import voice

VOICE = voice(1.0)


def test_pcm_at_16_khz_is_passed_on() -> None:
    decoder = open_decoder(AudioFormat())
    np.testing.assert_array_equal(decoder.decode(VOICE.tobytes()), VOICE)
    assert len(decoder.flush()) == decoder.leftover_bytes == 0


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_companded_codes_are_expanded_by_the_table(encoding: str, subtype: str) -> None:
    codes = bytes(range(256))
    expected, _ = soundfile.read(
        io.BytesIO(codes), dtype="int16", format="RAW", subtype=subtype, channels=1, samplerate=16_000
    )
    found = open_decoder(AudioFormat.model_validate({"encoding": encoding})).decode(codes)
    np.testing.assert_array_equal(found, expected)


def test_floats_have_full_scale_one() -> None:
    found = open_decoder(AudioFormat(encoding="pcm_f32le")).decode(
        np.array([0, 0.5, -1, 1, 3, -3], np.float32).tobytes()
    )
    assert found.tolist() == [0, 16384, -32768, 32767, 32767, -32768]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -32768.0])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_floats_that_are_no_samples_are_refused(value: float, rate_hz: int) -> None:
    decoder = open_decoder(AudioFormat(encoding="pcm_f32le", sample_rate=rate_hz))
    with pytest.raises(AudioError, match="pcm_f32le"):
        decoder.decode(np.array([0, value, 0], np.float32).tobytes())


def test_two_channels_are_mixed_down() -> None:
    left, right = VOICE, VOICE[::-1]
    found = open_decoder(AudioFormat(channels=2)).decode(np.stack([left, right], axis=1).tobytes())
    np.testing.assert_array_equal(found, np.rint((left.astype(np.float32) + right) / 2))


@pytest.mark.parametrize(("encoding", "channels", "size"), [("pcm_s16le", 2, 4), ("pcm_f32le", 1, 4), ("mulaw", 2, 2)])
def test_a_broken_sample_waits_for_its_rest(encoding: str, channels: int, size: int) -> None:
    decoder = open_decoder(AudioFormat.model_validate({"encoding": encoding, "channels": channels}))
    assert len(decoder.decode(bytes(3 * size - 1))) == 2
    assert decoder.leftover_bytes == size - 1
    assert len(decoder.decode(b"\0")) == 1
    assert decoder.leftover_bytes == 0


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_001, 22_050, 44_100, 48_000])
def test_resampling_equals_soxr_at_one_go(rate_hz: int) -> None:
    samples = np.random.default_rng(rate_hz).integers(-20_000, 20_000, rate_hz).astype(np.int16)
    decoder = open_decoder(AudioFormat(sample_rate=rate_hz))
    parts = [decoder.decode(samples[at : at + 441].tobytes()) for at in range(0, len(samples), 441)]
    whole = soxr.resample(samples.astype(np.float32), rate_hz, 16_000)
    expected = np.clip(np.rint(whole), -32768, 32767)
    np.testing.assert_array_equal(np.concatenate([*parts, decoder.flush()]), expected)


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_a_flush_gives_all_and_more_may_follow(rate_hz: int) -> None:
    decoder = open_decoder(AudioFormat(sample_rate=rate_hz))
    data = np.random.default_rng(1).integers(-9_000, 9_000, rate_hz // 2).astype(np.int16).tobytes()
    first, second = (np.concatenate([decoder.decode(data), decoder.flush()]) for _ in range(2))
    assert len(first) == 8_000
    np.testing.assert_array_equal(first, second)
    assert len(decoder.flush()) == 0


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_resampling_holds_back_little(rate_hz: int) -> None:
    decoder = open_decoder(AudioFormat(sample_rate=rate_hz))
    behind = 0
    for packet in range(1, 200):  # 20 ms each
        behind += 320 - len(decoder.decode(bytes(rate_hz // 50 * 2)))
        assert packet < 50 or behind <= 0.12 * 16_000


def test_opus_is_opened_by_its_name() -> None:
    assert isinstance(open_decoder(AudioFormat(encoding="ogg_opus")), OggOpusDecoder)
