"""Codecs: as many samples, nothing shifted, and what each of them takes away."""

import numpy as np
import pytest
from numpy.typing import NDArray

from myna.adapt.codec import Codec, mu_law, opus, transmit
from tests.server.speech import voice

SPEECH = voice(1.0).astype(np.float32)
CODECS: tuple[Codec, ...] = ("telephone", "mu_law", "opus")


def sent(codec: Codec, wave: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    return transmit(wave, codec, np.random.default_rng(seed))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [0, 1, 555, 16_000])
def test_as_many_samples_come_out(codec: Codec, count: int) -> None:
    heard = sent(codec, SPEECH[:count])
    assert heard.shape == (count,)
    assert heard.dtype == np.float32
    np.testing.assert_array_equal(heard, sent(codec, SPEECH[:count]))


@pytest.mark.parametrize("codec", CODECS)
def test_speech_is_where_it_was(codec: Codec) -> None:
    heard = sent(codec, SPEECH)
    fits = np.correlate(heard, SPEECH[200:-200], "valid")
    assert abs(int(np.argmax(fits)) - 200) <= 1
    assert np.corrcoef(heard, SPEECH)[0, 1] > 0.9
    assert not np.array_equal(heard, SPEECH)


def test_a_telephone_has_nothing_above_4_khz() -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 16_000).astype(np.float32)
    power = np.abs(np.fft.rfft(sent("telephone", noise))) ** 2
    assert power[4200:].sum() < 1e-3 * power.sum()


def test_the_mu_law_has_255_levels_and_follows_small_sounds() -> None:
    ramp = np.arange(-32_768, 32_768, dtype=np.float32)
    heard = mu_law(ramp)
    assert len(np.unique(heard)) == 255
    assert np.abs(heard - ramp)[np.abs(ramp) > 300].max() < 800
    assert np.abs(heard - ramp)[np.abs(ramp) < 100].max() < 5


def test_opus_gets_worse_with_its_level() -> None:
    def error(level: float) -> float:
        return float(np.mean((opus(SPEECH, level) - SPEECH) ** 2))

    assert error(0.5) < error(0.9) < error(0.99)
