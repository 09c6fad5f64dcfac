"""Streaming filterbanks: Kaldi's numbers, any packets, constant memory."""

import itertools
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.models.features import filterbank
from myna.models.spec import FeatureSpec
from tests.support import SHARED, needs_shared

SPEC = FeatureSpec()
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


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, len(NOISE)), max_size=40))
def test_packets_do_not_matter_to_the_bit(cuts: list[int]) -> None:
    stream = filterbank(SPEC)
    edges = [0, *sorted(cuts), len(NOISE)]
    parts = [stream.push(NOISE[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), filterbank(SPEC).push(NOISE))


def test_a_frame_comes_with_its_last_sample() -> None:
    stream = filterbank(SPEC)
    assert stream.push(NOISE[:399]).shape == (0, 80)
    assert stream.push(NOISE[399:400]).shape == (1, 80)
    assert stream.push(NOISE[400:559]).shape == (0, 80)
    assert stream.push(NOISE[559:560]).shape == (1, 80)


def test_reset_forgets() -> None:
    def frames(samples: NDArray[np.int16]) -> NDArray[np.float32]:
        return filterbank(SPEC).push(samples)

    stream = filterbank(SPEC)
    stream.push(NOISE[:1000])
    stream.reset()
    np.testing.assert_array_equal(stream.push(NOISE[500:3000]), frames(NOISE[500:3000]))


def test_memory_does_not_grow_with_the_stream() -> None:
    """Five minutes of features would be 10 MB."""
    stream = filterbank(SPEC)
    packet = np.tile(NOISE, 18)[:160_000]
    for _ in range(6):
        stream.push(packet)
    early = resident_bytes()
    for _ in range(30):
        stream.push(packet)
    assert resident_bytes() - early < 3_000_000
