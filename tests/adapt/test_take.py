"""A take ends with silence behind speech, whatever lies in the background, and says what is wrong with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.adapt.take import LONGEST_S, RATE_HZ, Take
from tests.server.speech import silence, talk, voice

BLOCK = 2 * 960
SPOKEN = talk(("silence", 0.5), ("voice", 1.5), ("silence", 3.0))


def heard(samples: NDArray[np.int16], silence_s: float = 1.2, block_bytes: int = BLOCK) -> tuple[Take, float]:
    """Hear samples until the take has ended; return it, and how many seconds it heard."""
    take, pcm = Take(silence_s), samples.tobytes()
    for start in range(0, len(pcm), block_bytes):
        take.hear(pcm[start : start + block_bytes])
        if take.ended:
            return take, (start + block_bytes) / 2 / RATE_HZ
    return take, len(samples) / RATE_HZ


@pytest.mark.parametrize("silence_s", [0.6, 1.2, 2.4])
def test_silence_behind_speech_ends_it(silence_s: float) -> None:
    take, seconds = heard(SPOKEN, silence_s)
    assert take.ended
    assert seconds == pytest.approx(2.0 + silence_s, abs=0.3)
    assert take.faults("ba di") == []
    kept = take.samples()
    assert len(kept) / RATE_HZ == pytest.approx(2.1, abs=0.2)
    start = next(i for i in range(len(SPOKEN)) if np.array_equal(SPOKEN[i : i + len(kept)], kept))
    assert start <= 0.5 * RATE_HZ
    assert start + len(kept) >= 2.0 * RATE_HZ


def test_silence_before_speech_and_short_pauses_do_not() -> None:
    take, _ = heard(talk(("silence", 10.0)))
    assert not take.begun
    assert not take.ended
    assert take.faults("ba di") == ["no speech was heard: is the microphone muted, or far away?"]
    take, seconds = heard(talk(("silence", 3.0), ("voice", 1.0), ("silence", 0.8), ("voice", 1.0), ("silence", 3.0)))
    assert take.ended
    assert seconds > 5.8
    assert len(take.samples()) / RATE_HZ == pytest.approx(3.4, abs=0.3)


@given(block_bytes=st.integers(1, 5_000))
@settings(max_examples=20, deadline=None)
def test_however_blocks_are_cut_the_speech_is_the_same(block_bytes: int) -> None:
    short = talk(("silence", 0.3), ("voice", 0.8), ("silence", 1.5))
    take, _ = heard(short, block_bytes=block_bytes)
    whole, _ = heard(short, block_bytes=2 * 320)
    assert take.ended
    assert np.array_equal(take.samples(), whole.samples())


def test_a_background_is_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 1, len(SPOKEN))
    slow = np.convolve(noise, np.ones(20) / 20, "same")  # a rumble that webrtcvad likes
    level = np.sqrt(np.mean(voice(1.5).astype(np.float64) ** 2)) * 10 ** (-30 / 20) / slow.std()
    take, seconds = heard((SPOKEN + level * slow).clip(-32768, 32767).astype(np.int16))
    assert take.ended
    assert seconds < 4.5


def test_a_click_does_not_make_speech_faint() -> None:
    quiet = (SPOKEN // 12).astype(np.int16)
    quiet[1_600:1_700] = 32_000
    take, seconds = heard(quiet)
    assert take.begun
    assert take.ended
    assert seconds < 4


@pytest.mark.parametrize(
    ("samples", "text", "fault"),
    [
        ((SPOKEN.astype(np.int32) * 6).clip(-32768, 32767).astype(np.int16), "ba di", "too loud"),
        ((SPOKEN // 20).astype(np.int16), "ba di", "too quiet"),
        (SPOKEN, "a long sentence of which so little was said that most of it must be missing here", "too short"),
    ],
)
def test_what_is_wrong_is_said(samples: NDArray[np.int16], text: str, fault: str) -> None:
    take, _ = heard(samples)
    (said,) = take.faults(text)
    assert said.startswith(fault)
    assert take.ended == (fault != "too quiet")  # that may be a noise before the speaker begins


def test_louder_speech_makes_a_noise_before_it_none() -> None:
    noise = talk(("silence", 0.3), ("voice", 2.0), ("silence", 0.2)) // 20  # somebody speaks in the next room
    take, seconds = heard(np.concatenate([noise.astype(np.int16), SPOKEN]))
    assert take.ended
    assert seconds == pytest.approx(2.5 + 2.0 + 1.2, abs=0.3)
    assert len(take.samples()) / RATE_HZ == pytest.approx(2.1, abs=0.2)


def test_what_never_ends_is_ended() -> None:
    take, seconds = heard(voice(LONGEST_S + 2))
    assert seconds == pytest.approx(LONGEST_S, abs=0.1)
    assert [fault[:8] for fault in take.faults("ba di")] == ["too long"]
    assert len(take.samples()) <= LONGEST_S * RATE_HZ


def test_nothing_heard() -> None:
    take = Take(1.2)
    assert len(take.samples()) == 0
    assert take.faults("ba di")
    take.hear(silence(0.5).tobytes()[:-1])
    assert not take.ended
