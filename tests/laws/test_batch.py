"""Law 3: a row's result does not depend on its neighbours, its row or padding."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.models.bundle import read_bundle
from myna.models.runtime import Runtime, Step
from tests.support import TINY

RUNTIME = Runtime(read_bundle(TINY))
SPEC = RUNTIME.spec
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One stream's share of a step."""

    feats: Floats
    offset: int
    att: Floats  # (blocks, heads, cached, …)
    conv: Floats


def row(frames: int, cached: int, offset: int, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    return Row(
        rng.normal(10, 3, (SPEC.features_needed(frames), SPEC.features.mels)).astype(np.float32),
        offset,
        rng.normal(size=(SPEC.blocks, SPEC.heads, cached, SPEC.attention_cache_width)).astype(np.float32),
        rng.normal(size=(SPEC.blocks, SPEC.kernel - 1, SPEC.width)).astype(np.float32),
    )


def step(rows: list[Row], longer: int = 0, deeper: int = 0, noise: int = 0) -> Step:
    """Run rows as one batch, with so much more padding than is needed, filled with noise instead of zeros if asked."""
    rng = np.random.default_rng(noise)
    length = max(len(r.feats) for r in rows) + longer
    depth = max(r.att.shape[2] for r in rows) + deeper
    scale = np.float32(10 if noise else 0)
    feats = scale * rng.standard_normal((len(rows), length, SPEC.features.mels), np.float32)
    shape = (len(rows), SPEC.blocks, SPEC.heads, depth, SPEC.attention_cache_width)
    att = scale * rng.standard_normal(shape, np.float32)
    for i, r in enumerate(rows):
        feats[i, : len(r.feats)] = r.feats
        att[i, :, :, depth - r.att.shape[2] :] = r.att
    return RUNTIME.step(
        feats,
        np.array([SPEC.frames_ready(len(r.feats)) for r in rows]),
        np.array([r.offset for r in rows]),
        np.array([r.att.shape[2] for r in rows]),
        att,
        np.stack([r.conv for r in rows]),
    )


def parts(result: Step, index: int, frames: int) -> list[Floats]:
    return [
        result.log_probs[index, :frames],
        result.att_new[index, :, :, :frames],
        result.conv_new[index, :, :frames],
    ]


ROWS = st.builds(row, st.integers(1, 20), st.integers(0, 64), st.integers(0, 4900), st.integers(0, 99))


@settings(max_examples=40, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6), st.integers(0, 40), st.integers(0, 9), st.integers(0, 99))
def test_rows_are_independent(rows: list[Row], longer: int, deeper: int, noise: int) -> None:
    together = step(rows, longer, deeper, noise)
    for index, one in enumerate(rows):
        frames = SPEC.frames_ready(len(one.feats))
        for alone, beside in zip(parts(step([one]), 0, frames), parts(together, index, frames), strict=True):
            assert np.abs(alone - beside).max() < 1e-5


def test_a_fresh_row_ignores_the_attention_cache() -> None:
    fresh, old = row(8, 0, 0, seed=1), row(8, 64, 100, seed=2)
    for noise in (0, 3):
        beside = parts(step([old, fresh], noise=noise), 1, 8)
        for alone, there in zip(parts(step([fresh]), 0, 8), beside, strict=True):
            assert np.abs(alone - there).max() < 1e-5
