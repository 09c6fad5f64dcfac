"""Noises: read from a folder or a manifest, cut anywhere, mixed so far below the speech."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from myna.adapt.data import DataError
from myna.adapt.noises import cut, mix, read_noises
from tests.adapt.made import write
from tests.server.speech import voice
from tests.support import SHARED, needs_shared


def test_a_manifest_and_a_folder(tmp_path: Path) -> None:
    kitchen, hall = write(tmp_path / "kitchen.wav", 0.5, 1), write(tmp_path / "rir-hall.flac", 0.4, 2)
    (tmp_path / "notes.txt").write_text("no audio")
    manifest = tmp_path / "noise.jsonl"
    manifest.write_text('{"audio": "kitchen.wav"}\n\n{"audio": "rir-hall.flac", "label": "rir"}\n')
    for path, cache in ((manifest, None), (manifest, tmp_path / "cache"), (tmp_path, None)):
        found = read_noises(path, cache)
        np.testing.assert_array_equal(found.noises, [kitchen])
        np.testing.assert_array_equal(found.responses, [hall])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: audio: must be an object with a path"),
        ("[]", "line 2: audio: must be an object with a path"),
        ('{"label": "rir"}', "line 2: audio: must be an object with a path"),
        ('{"audio": "absent.wav"}', "absent.wav: is unreadable; take it out"),
        ('{"audio": "silent.wav"}', "silent.wav: is silent; take it out"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    write(tmp_path / "a.wav", 0.5)
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), 16_000)
    (tmp_path / "n.jsonl").write_text('{"audio": "a.wav"}\n' + line)
    with pytest.raises(DataError, match=said):
        read_noises(tmp_path / "n.jsonl")


def test_no_noise_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no audio; give a folder"):
        read_noises(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        read_noises(tmp_path / "absent.jsonl")


@given(st.integers(1, 50), st.integers(0, 200), st.integers(0, 99))
def test_a_cut_goes_round(length: int, count: int, seed: int) -> None:
    noise = np.arange(length, dtype=np.int16)
    found = cut(noise, count, np.random.default_rng(seed))
    assert found.shape == (count,)
    assert found.dtype == np.float32
    if count:
        np.testing.assert_array_equal(found, (found[0] + np.arange(count)) % length)


@given(st.floats(-10, 40))
def test_the_ratio_is_kept(snr_db: float) -> None:
    speech, noise = voice(0.3).astype(np.float32), voice(0.3, seed=1).astype(np.float32)
    added = mix(speech, noise, snr_db) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.1)


def test_silence_stays_as_it_is() -> None:
    speech, nothing = voice(0.1).astype(np.float32), np.zeros(1600, np.float32)
    np.testing.assert_array_equal(mix(speech, nothing, 5), speech)
    np.testing.assert_array_equal(mix(nothing, speech, 5), nothing)
    assert mix(speech[:0], speech[:0], 5).shape == (0,)


@needs_shared
def test_real_noises(tmp_path: Path) -> None:
    found = read_noises(SHARED / "data/noise/noise.jsonl", tmp_path)
    assert len(found.noises) > 10
    assert len(found.responses) >= 3
