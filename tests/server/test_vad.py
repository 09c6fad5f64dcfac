"""Voice activity: nothing spoken is missed, silence is not taken for speech, and the hysteresis counts as it says."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from myna.server.vad import VadSettings, VoiceActivity
from tests.server.speech import silence, voice
from tests.support import SHARED, needs_shared

Spans = list[tuple[int, int]]
SETTINGS = VadSettings()
FRAME = 320


def spans(samples: NDArray[np.int16], settings: VadSettings = SETTINGS) -> Spans:
    """Where speech is, (start, end) in samples; speech under way at the end lasts until there."""
    activity = VoiceActivity(settings)
    size = activity.frame_samples
    found: Spans = []
    for at in range(0, len(samples) - size + 1, size):
        before = activity.active
        activity.push(samples[at : at + size])
        if activity.active and not before:
            found.append((activity.start_sample, len(samples)))
        elif before and not activity.active:
            found[-1] = (found[-1][0], at + size)
    return found


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_a_word_in_silence_is_found_with_its_pre_roll(frame_ms: int) -> None:
    settings = dataclasses.replace(SETTINGS, frame_ms=frame_ms)
    [(start, end)] = spans(np.concatenate([silence(1.0), voice(0.4), silence(1.0)]), settings)
    assert 16_000 - 16 * (settings.pre_roll_ms + 3 * frame_ms) <= start <= 16_000 - 16 * (settings.pre_roll_ms - 40)
    assert 16_000 + 6_400 <= end <= 16_000 + 6_400 + 16 * (settings.hangover_ms + 150)


def test_the_pre_roll_ends_at_the_streams_beginning() -> None:
    assert spans(np.concatenate([voice(0.5), silence(1.0)]))[0][0] == 0


@pytest.mark.parametrize("loudest", [0, 1, 5, 8])
def test_a_quiet_room_is_silence(loudest: int) -> None:
    noise = np.random.default_rng(loudest).integers(-loudest, loudest + 1, 10 * 16_000).astype(np.int16)
    assert spans(noise) == []


def test_steady_noise_is_soon_taken_for_silence() -> None:
    noise = (np.random.default_rng(1).standard_normal(20 * 16_000) * 100).astype(np.int16)  # -50 dBFS
    assert sum(end - start for start, end in spans(noise)) < 16_000


def test_a_click_is_no_speech() -> None:
    samples = silence(2.0)
    samples[16_000 : 16_000 + FRAME // 2] = voice(1.0)[4_000 : 4_000 + FRAME // 2]
    assert spans(samples) == []


def test_short_gaps_do_not_end_speech_and_long_ones_do() -> None:
    word = voice(0.5)
    assert len(spans(np.concatenate([silence(0.5), word, np.zeros(10 * 160, np.int16), word, silence(1.0)]))) == 1
    assert len(spans(np.concatenate([silence(0.5), word, np.zeros(50 * 160, np.int16), word, silence(1.0)]))) == 2


def test_speech_ends_when_it_was_quiet_for_the_hangover() -> None:
    activity = VoiceActivity(SETTINGS)
    samples = np.concatenate([silence(0.2), voice(0.6), np.zeros(16_000, np.int16)])
    quiet = []
    for at in range(0, len(samples), FRAME):
        before = activity.active
        activity.push(samples[at : at + FRAME])
        if before:
            assert activity.active == (activity.quiet_samples < 16 * SETTINGS.hangover_ms)
        quiet.append(activity.quiet_samples)
    assert not activity.active
    assert quiet[-1] == FRAME * (len(quiet) - 1 - max(i for i, samples in enumerate(quiet) if samples == 0))


def test_reset_begins_anew_without_what_was_heard() -> None:
    activity = VoiceActivity(SETTINGS)
    frames = voice(1.0)[: 10 * FRAME].reshape(-1, FRAME)
    for frame in frames:
        activity.push(frame)
    assert activity.active
    activity.reset(12_345)
    assert not activity.active
    for frame in frames[: SETTINGS.trigger_frames - 1]:
        activity.push(frame)
    assert not activity.active
    assert activity.start_sample == 12_345


@needs_shared
def test_every_clip_of_real_speech_is_found() -> None:
    """The shortest are single digits of a third of a second."""
    lines = [json.loads(line) for line in (SHARED / "data/dev.jsonl").read_text().splitlines()]
    for line in [line for line in lines if line["corpus"] == "fsdd"] + lines[::20]:
        clip, _ = soundfile.read(SHARED / "data" / line["audio"], dtype="int16")
        assert spans(np.concatenate([silence(1.0), clip, silence(1.0)])), line["audio"]


@needs_shared
def test_the_beginning_of_a_digit_is_kept() -> None:
    lines = [json.loads(line) for line in (SHARED / "data/dev.jsonl").read_text().splitlines()]
    for line in (line for line in lines if line["corpus"] == "fsdd"):
        clip, _ = soundfile.read(SHARED / "data" / line["audio"], dtype="int16")
        loud = np.abs(clip.astype(np.int32)) > 0.1 * np.abs(clip.astype(np.int32)).max()
        onset = 16_000 + int(np.argmax(loud))
        assert spans(np.concatenate([silence(1.0), clip, silence(1.0)]))[0][0] <= onset, line["audio"]
