"""Augmentation: chance comes from the generator alone; each part does what its setting says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from myna.adapt.augment import Augmenter
from myna.adapt.settings import AugmentSettings, DataSettings, Source
from myna.adapt.speech import Speech
from tests.adapt.made import LETTERS, spec, utterances, write
from tests.server.speech import voice

NOTHING: dict[str, Any] = {"speed_share": 0, "gain_db": (0, 0), "noise_share": 0, "spec_share": 0, "spec_bands": 0}
SAMPLES = voice(0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augment")
    write(folder / "hum.wav", 0.5, 7)
    write(folder / "rir.wav", 0.1, 8)
    lines = [{"audio": "hum.wav", "label": "hum"}, {"audio": "rir.wav", "label": "rir"}]
    (folder / "noise.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def speech(folder: Path, quiet_s: tuple[float, float] = (0, 0)) -> Speech:
    data = DataSettings(train=[Source(kind="manifest", path=Path("none"))], quiet_s=quiet_s)
    return Speech(utterances(folder, 0.5, 0.7, 0.9), LETTERS, spec(), data, folder / "cache")


def augmenter(held: Speech | None = None, **fields: Any) -> Augmenter:
    return Augmenter(AugmentSettings.model_validate(NOTHING | fields), held)


def changed(made: Augmenter, seed: int = 0) -> NDArray[np.float32]:
    return made.wave(SAMPLES, np.random.default_rng(seed))


def test_nothing_asked_for_is_nothing_done() -> None:
    np.testing.assert_array_equal(changed(augmenter()), SAMPLES.astype(np.float32))


PARTS: dict[str, dict[str, Any]] = {
    "speed": {"speed_share": 1},
    "tempo": {"tempo_share": 1},
    "pitch": {"pitch_share": 1},
    "gain": {"gain_db": (-20, -10)},
    "rooms": {"rooms_share": 1},
    "noise": {"noise": "noise.jsonl", "noise_share": 1},
    "recorded": {"noise": "noise.jsonl", "rooms_share": 1, "rooms_recorded_share": 1},
    "babble": {"babble_share": 1},
    "codec": {"codec_share": 1},
}


@pytest.mark.parametrize("part", [*PARTS, "all"])
def test_the_same_state_gives_the_same_to_the_bit(folder: Path, part: str) -> None:
    fields = {k: v for name in (PARTS if part == "all" else [part]) for k, v in PARTS[name].items()}
    if "noise" in fields:
        fields["noise"] = folder / fields["noise"]
    made, again = (augmenter(speech(folder), **fields) for _ in range(2))
    seen = [changed(made, seed) for seed in range(4)]
    for seed, wave in reversed(list(enumerate(seen))):
        np.testing.assert_array_equal(changed(again, seed), wave)
        assert wave.dtype == np.float32
        assert np.abs(wave).max() <= 32768
        assert wave.shape != SAMPLES.shape or not np.array_equal(wave, SAMPLES)
    if part != "recorded":
        assert any(seen[0].shape != wave.shape or not np.array_equal(seen[0], wave) for wave in seen[1:])


def test_shares_are_of_utterances() -> None:
    made = augmenter(speed_share=0.3, speeds=(1.1,))
    rng = np.random.default_rng(0)
    faster = sum(len(made.wave(SAMPLES[:800], rng)) < 800 for _ in range(1000))
    assert faster == pytest.approx(300, abs=50)


def test_loud_sounds_are_clipped() -> None:
    assert np.abs(changed(augmenter(gain_db=(30, 30)))).max() == 32768


def test_quiet_goes_around(folder: Path) -> None:
    wave = changed(augmenter(speech(folder, (0.1, 0.3))))
    added = len(wave) - len(SAMPLES)
    assert 0.2 * 16_000 <= added <= 0.6 * 16_000
    start = next(i for i in range(1600, 4801) if np.array_equal(wave[i : i + len(SAMPLES)], SAMPLES))
    around = np.concatenate([wave[:start], wave[start + len(SAMPLES) :]])
    assert 0 < np.abs(around).max() < 20


def test_noise_lies_below_speech(folder: Path) -> None:
    wave = changed(augmenter(noise=folder / "noise.jsonl", noise_share=1, snr_db=(10, 10)))
    speech_power = np.mean(SAMPLES.astype(float) ** 2)
    assert 10 * np.log10(speech_power / np.mean((wave - SAMPLES) ** 2)) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("fields", [{"noise_share": 1}, {"babble_share": 1}])
def test_without_noise_or_speech_there_is_none(fields: dict[str, Any]) -> None:
    np.testing.assert_array_equal(changed(augmenter(**fields)), SAMPLES)


def features(*frames: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(len(frames), max(frames), 80) + 5, torch.tensor(frames)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 30),
    st.floats(0, 1),
    st.integers(1, 30),
    st.integers(0, 999),
)
def test_hidden_numbers_are_the_mean_and_the_rest_stays(
    frames: list[int], bands: int, width: int, share: float, stripe: int, seed: int
) -> None:
    feats, counts = features(*frames)
    before = feats.clone()
    made = augmenter(spec_bands=bands, spec_band_bins=width, spec_share=share, spec_stripe_frames=stripe)
    hidden = made.hide(feats, counts, np.random.default_rng(seed))
    assert torch.equal(feats, before)
    assert torch.equal(hidden, made.hide(feats, counts, np.random.default_rng(seed)))
    for row, was, count in zip(hidden, before, frames, strict=True):
        assert torch.equal(row[count:], was[count:])
        touched = row[:count] != was[:count]
        if count:
            assert torch.allclose(row[:count][touched], was[:count].mean(), atol=1e-4)
            whole_bins = touched.all(0)
            assert int(whole_bins.sum()) <= bands * width or bool(touched.all(1).all())


def test_a_stripe_is_no_wider_than_told_and_shares_are_about_kept() -> None:
    feats, counts = features(*[400] * 50)
    hidden = augmenter(spec_share=0.2).hide(feats, counts, np.random.default_rng(0))
    share = float((hidden != feats).all(2).float().mean())
    assert 0.15 < share < 0.21  # stripes may overlap
    bands = augmenter(spec_bands=2, spec_band_bins=15).hide(feats, counts, np.random.default_rng(0))
    assert 10 < float((bands != feats).all(1).sum(1).float().mean()) < 17


def test_features_may_be_half_as_precise() -> None:
    feats, counts = features(50, 40)
    hidden = augmenter(spec_bands=1, spec_band_bins=5).hide(feats.bfloat16(), counts, np.random.default_rng(0))
    assert hidden.dtype == torch.bfloat16
