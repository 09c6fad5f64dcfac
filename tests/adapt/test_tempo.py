"""Time and pitch: lengths as told, pitch moved or left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.adapt.tempo import pitch, speed, tempo
from tests.server.speech import voice

PITCH_HZ = 160.0
SPEECH = voice(1.0, PITCH_HZ).astype(np.float32)


def pitch_of(wave: NDArray[np.float32]) -> float:
    """Measure by the spectrum's comb: the period of the autocorrelation."""
    middle = wave[3000:-3000]
    fits = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    return 16_000 / (60 + float(np.argmax(fits[60:250])))


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_speed_moves_length_and_pitch(factor: float) -> None:
    faster = speed(SPEECH, factor)
    assert len(faster) == pytest.approx(len(SPEECH) / factor, abs=2)
    assert pitch_of(faster) == pytest.approx(PITCH_HZ * factor, rel=0.02)


@pytest.mark.parametrize("factor", [0.7, 0.85, 1.2, 1.5])
def test_tempo_moves_length_alone(factor: float) -> None:
    faster = tempo(SPEECH, factor)
    assert len(faster) == round(len(SPEECH) / factor)
    assert pitch_of(faster) == pytest.approx(PITCH_HZ, rel=0.02)
    assert np.std(faster) == pytest.approx(np.std(SPEECH), rel=0.1)


@pytest.mark.parametrize("semitones", [-3.0, 2.0])
def test_pitch_moves_pitch_alone(semitones: float) -> None:
    moved = pitch(SPEECH, semitones)
    assert len(moved) == len(SPEECH)
    assert pitch_of(moved) == pytest.approx(PITCH_HZ * 2 ** (semitones / 12), rel=0.02)


def test_one_changes_nothing() -> None:
    np.testing.assert_allclose(tempo(SPEECH, 1.0), SPEECH, atol=0.01)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 3000), st.floats(0.5, 2.0))
def test_any_length_will_do(count: int, factor: float) -> None:
    wave = SPEECH[:count]
    assert len(tempo(wave, factor)) == round(count / factor)
    assert abs(len(speed(wave, factor)) - count / factor) <= 2
    assert pitch(wave, 12 * np.log2(factor)).shape == wave.shape


def test_an_event_comes_when_it_should() -> None:
    """A burst at 0.6 s of a quiet second is at half that at double speed, give or take a grain."""
    wave = np.random.default_rng(0).normal(0, 3, 16_000).astype(np.float32)
    wave[9600:9700] += 8000
    assert int(np.argmax(tempo(wave, 2.0))) == pytest.approx(4800, abs=400)
