"""Rooms: direct sound first, 60 dB of decay in the time asked for; speech there keeps its length and level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.rooms import place, response
from tests.server.speech import voice

SPEECH = voice(0.5).astype(np.float32)


@settings(deadline=None)
@given(st.floats(0.1, 1.0), st.integers(0, 999))
def test_the_direct_sound_comes_first_and_is_about_the_loudest(rt60_s: float, seed: int) -> None:
    answer = response(rt60_s, np.random.default_rng(seed))
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    assert answer[0] == 1
    assert np.abs(answer).max() < 1.5
    np.testing.assert_array_equal(answer, response(rt60_s, np.random.default_rng(seed)))


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.8])
def test_sound_decays_as_asked(rt60_s: float) -> None:
    """Schroeder's integral from -5 to -25 dB, drawn out to 60."""
    found = []
    for seed in range(20):
        left = np.cumsum(np.square(response(rt60_s, np.random.default_rng(seed)), dtype=float)[::-1])[::-1]
        level_db = 10 * np.log10(left / left[1])
        start, end = (int(np.argmax(level_db < level)) for level in (-5, -25))
        found.append(3 * (end - start) / 16_000)
    assert np.median(found) == pytest.approx(rt60_s, rel=0.15)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, len(SPEECH)), st.integers(0, 99))
def test_length_and_level_stay(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wet = place(SPEECH[:count], response(0.3, rng))
    assert wet.shape == (count,)
    assert wet.dtype == np.float32
    if count > 100:
        assert np.mean(wet**2) == pytest.approx(np.mean(SPEECH[:count] ** 2), rel=0.01)


def test_a_click_alone_changes_nothing_and_a_delay_is_taken_off() -> None:
    for delay in (0, 700):
        click = np.zeros(2000, np.int16)
        click[delay] = -20_000 if delay else 20_000
        np.testing.assert_allclose(np.abs(place(SPEECH, click)), np.abs(SPEECH), atol=0.1)


def test_it_is_convolution() -> None:
    answer = response(0.2, np.random.default_rng(1))
    straight = np.convolve(SPEECH, answer)[: len(SPEECH)]
    wet = place(SPEECH, answer)
    np.testing.assert_allclose(wet / np.std(wet), straight / np.std(straight), atol=1e-3)
