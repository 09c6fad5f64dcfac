"""Streaming filterbanks: Kaldi's numbers, any packets, constant memory."""

import itertools
import os
import wave
from pathlib import Path
from typing import Any, Literal

import kaldi_native_fbank as knf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.models.features import filterbank
from myna.models.spec import FeatureSpec
from tests.support import SHARED, needs_shared

SPEC = FeatureSpec()
SPECS = [
    SPEC,
    FeatureSpec(flavour="log_mel"),
    FeatureSpec(flavour="mfcc", mels=40),
    FeatureSpec(flavour="spectrogram", mels=257),
]
by_flavour = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.flavour)
NOISE = np.random.default_rng(3).integers(-9000, 9000, 9_137).astype(np.int16)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@needs_shared
@pytest.mark.parametrize("name", ["speech", "noise", "silence_click"])
def test_equals_kaldi(name: str) -> None:
    with wave.open(str(SHARED / f"golden/fbank/{name}.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), np.int16)
    with np.load(SHARED / "golden/fbank/expected.npz") as expected:
        found = filterbank(SPEC).push(samples)
        np.testing.assert_allclose(found, expected[name], atol=1e-3)
        np.testing.assert_allclose(found, expected[f"{name}_knf"], atol=1e-5)


def knf_frames(kind: type, options: Any) -> NDArray[np.float32]:
    """Let kaldi-native-fbank compute all frames of the noise, without dither."""
    options.frame_opts.dither = 0.0
    frames = kind(options)
    frames.accept_waveform(16_000, NOISE.tolist())
    return np.stack([frames.get_frame(i) for i in range(frames.num_frames_ready)])


def test_mfcc_are_kaldis() -> None:
    options = knf.MfccOptions()
    options.num_ceps = options.mel_opts.num_bins = 40
    options.use_energy = False
    found = filterbank(FeatureSpec(flavour="mfcc", mels=40)).push(NOISE)
    np.testing.assert_array_equal(found, knf_frames(knf.OnlineMfcc, options))


def test_log_mels_are_librosas() -> None:
    options = knf.FbankOptions()
    options.mel_opts.is_librosa = True
    options.mel_opts.num_bins = 80
    options.mel_opts.low_freq = 0.0
    options.frame_opts.window_type = "hann"
    options.frame_opts.preemph_coeff = 0.0
    options.frame_opts.remove_dc_offset = False
    options.use_energy = False
    expected = knf_frames(knf.OnlineFbank, options) - 2 * np.log(32768)
    found = filterbank(FeatureSpec(flavour="log_mel")).push(NOISE)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_spectrogram_shows_a_tone() -> None:
    """A sine of full scale has a peak of sum(window) / 2, squared, in its bin."""
    tone = (32767 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)).astype(np.int16)
    found = filterbank(SPECS[3]).push(tone)
    assert found.shape == (98, 257)
    assert set(found.argmax(1)) == {32}
    np.testing.assert_allclose(found.max(1), 2 * np.log(100), atol=1e-2)
    np.testing.assert_allclose(filterbank(SPECS[3]).push(0 * tone), np.log(1e-10), rtol=1e-6)


@pytest.mark.parametrize("flavour", ["log_mel", "kaldi"])
def test_frames_may_lie_apart(flavour: Literal["log_mel", "kaldi"]) -> None:
    spec = FeatureSpec(flavour=flavour, mels=8, frame_length_ms=10, frame_shift_ms=17)
    whole = filterbank(spec).push(NOISE)
    assert len(whole) == (len(NOISE) - 160) // 272 + 1
    stream = filterbank(spec)
    np.testing.assert_array_equal(np.concatenate([stream.push(NOISE[i : i + 50]) for i in range(0, 9137, 50)]), whole)


@by_flavour
@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, len(NOISE)), max_size=40))
def test_packets_do_not_matter_to_the_bit(spec: FeatureSpec, cuts: list[int]) -> None:
    stream = filterbank(spec)
    edges = [0, *sorted(cuts), len(NOISE)]
    parts = [stream.push(NOISE[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), filterbank(spec).push(NOISE))


@by_flavour
def test_a_frame_comes_with_its_last_sample(spec: FeatureSpec) -> None:
    stream = filterbank(spec)
    assert stream.push(NOISE[:399]).shape == (0, spec.mels)
    assert stream.push(NOISE[399:400]).shape == (1, spec.mels)
    assert stream.push(NOISE[400:559]).shape == (0, spec.mels)
    assert stream.push(NOISE[559:560]).shape == (1, spec.mels)


@by_flavour
def test_reset_forgets(spec: FeatureSpec) -> None:
    def frames(samples: NDArray[np.int16]) -> NDArray[np.float32]:
        return filterbank(spec).push(samples)

    stream = filterbank(spec)
    stream.push(NOISE[:1000])
    stream.reset()
    np.testing.assert_array_equal(stream.push(NOISE[500:3000]), frames(NOISE[500:3000]))


@by_flavour
def test_memory_does_not_grow_with_the_stream(spec: FeatureSpec) -> None:
    """Five minutes of features would be 10 MB."""
    stream = filterbank(spec)
    packet = np.tile(NOISE, 18)[:160_000]
    for _ in range(6):
        stream.push(packet)
    early = resident_bytes()
    for _ in range(30):
        stream.push(packet)
    assert resident_bytes() - early < 3_000_000
