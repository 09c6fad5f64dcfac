"""Features of a batch: those of the streaming filterbank, whatever else is in the batch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from myna.adapt.data import read_source
from myna.adapt.decode import decode
from myna.adapt.frontend import batch_features
from myna.adapt.settings import Source
from myna.models.features import filterbank
from myna.models.spec import FeatureSpec
from tests.server.speech import talk, voice
from tests.support import SHARED, needs_shared

SPEC = FeatureSpec()


def differences(waves: list[NDArray[np.int16]]) -> NDArray[np.float32]:
    """Return |batch - stream| of all numbers."""
    feats, frames = batch_features(waves, SPEC, "cpu")
    assert feats.dtype == torch.float32
    apart = []
    for wave, row, count in zip(waves, feats, frames.tolist(), strict=True):
        expected = filterbank(SPEC).push(wave)
        assert count == len(expected)
        assert not row[count:].any()
        apart.append(np.abs(row[:count].numpy() - expected).ravel())
    return np.concatenate(apart)


def test_equals_the_stream_on_made_speech() -> None:
    """To 1e-3 but where a bin lies far below its neighbours: both compute in float32."""
    waves = [talk(("silence", 0.5), ("voice", 1.5)), voice(0.7), np.zeros(5000, np.int16), voice(0.025), voice(0.5)]
    apart = differences(waves)
    assert np.mean(apart > 1e-3) < 1e-3
    assert apart.max() < 0.02


@needs_shared
def test_equals_the_stream_on_real_speech() -> None:
    """To 1e-3 but for a number in 20,000 (see above)."""
    some = read_source(Source(kind="manifest", path=SHARED / "data/dev.jsonl"))[::60]
    apart = differences([wave for u in some if (wave := decode(str(u.audio))) is not None])
    assert len(apart) > 500_000
    assert np.mean(apart > 1e-3) < 5e-5
    assert apart.max() < 0.05
    assert apart.mean() < 1e-5


def test_rows_do_not_mix() -> None:
    alone, _ = batch_features([voice(0.5)], SPEC, "cpu")
    beside, frames = batch_features([voice(1.0, seed=3), voice(0.5)], SPEC, "cpu")
    torch.testing.assert_close(beside[1, : frames[1]], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_shorter_than_a_window_has_no_frame(samples: int) -> None:
    feats, frames = batch_features([voice(1.0)[:samples], voice(0.5)], SPEC, "cpu")
    assert frames.tolist() == [0, 48]
    assert not feats[0].any()
    assert batch_features([voice(1.0)[:samples]], SPEC, "cpu")[1].tolist() == [0]


def test_floats_are_taken() -> None:
    whole, _ = batch_features([voice(0.5)], SPEC, "cpu")
    floats, _ = batch_features([voice(0.5).astype(np.float32)], SPEC, "cpu")
    assert torch.equal(whole, floats)


@pytest.mark.parametrize("mels", [40, 64])
def test_other_sizes(mels: int) -> None:
    spec = FeatureSpec(mels=mels, frame_length_ms=20, frame_shift_ms=8)
    feats, _ = batch_features([voice(0.6)], spec, "cpu")
    np.testing.assert_allclose(feats[0].numpy(), filterbank(spec).push(voice(0.6)), atol=1e-3)


@pytest.mark.parametrize(
    "spec",
    [
        FeatureSpec(flavour="log_mel"),
        FeatureSpec(flavour="mfcc", mels=40),
        FeatureSpec(flavour="spectrogram", mels=257),
        FeatureSpec(flavour="log_mel", mels=40, frame_length_ms=20, frame_shift_ms=8),
    ],
    ids=lambda spec: f"{spec.flavour}-{spec.mels}",
)
def test_other_flavours_equal_their_stream(spec: FeatureSpec) -> None:
    rng = np.random.default_rng(0)
    noisy = voice(1.0) + rng.normal(0, 30, 16_000).astype(np.int16)
    feats, frames = batch_features([noisy, voice(0.5), np.zeros(2000, np.int16)], spec, "cpu")
    expected = filterbank(spec).push(noisy)
    assert int(frames[0]) == len(expected)
    apart = np.abs(feats[0].numpy() - expected)
    assert np.mean(apart > 1e-3) < 1e-3
    assert apart.max() < 0.02
    np.testing.assert_allclose(
        feats[2, : frames[2]].numpy(), filterbank(spec).push(np.zeros(2000, np.int16)), atol=1e-3
    )
