"""Law 4: zero adapters are no adapters, to the bit; and an adapter is its row's alone, and what it claims to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from myna.models.adapter import AdapterBatch, layout_of
from myna.models.bundle import read_bundle
from myna.models.runtime import Runtime, Step
from tests.support import TINY

BUNDLE = read_bundle(TINY)
RUNTIME = Runtime(BUNDLE)
SPEC = BUNDLE.spec
FRAMES = 6
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def inputs(rows: int, seed: int) -> tuple[Floats, Ints, Ints, Ints, Floats, Floats]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(10, 3, (rows, SPEC.features_needed(FRAMES), SPEC.features.mels)).astype(np.float32),
        np.full(rows, FRAMES),
        np.full(rows, 16),
        np.full(rows, 16),
        rng.standard_normal((rows, SPEC.blocks, SPEC.heads, 16, SPEC.attention_cache_width), np.float32),
        rng.standard_normal((rows, SPEC.blocks, SPEC.kernel - 1, SPEC.width), np.float32),
    )


def step(adapters: AdapterBatch | None, rows: int, seed: int) -> Step:
    return RUNTIME.step(*inputs(rows, seed), adapters=adapters, activations=True)


def some(rows: int, rank: int, seed: int) -> AdapterBatch:
    zeros, rng = AdapterBatch.zeros(SPEC, rows, rank), np.random.default_rng(seed)
    return AdapterBatch(*(0.1 * rng.standard_normal(a.shape, np.float32) for a in (zeros.down, zeros.up, zeros.shift)))


def equal(a: Step, b: Step, row: int) -> bool:
    assert a.activations is not None
    assert b.activations is not None
    pairs = (
        (a.log_probs, b.log_probs),
        (a.att_new, b.att_new),
        (a.conv_new, b.conv_new),
        (a.activations, b.activations),
    )
    return all(np.array_equal(x[row], y[row]) for x, y in pairs)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9), st.integers(1, 4), st.integers(0, 99))
def test_zero_adapters_are_none(rank: int, rows: int, seed: int) -> None:
    base, zeros = step(None, rows, seed), step(AdapterBatch.zeros(SPEC, rows, rank), rows, seed)
    assert all(equal(base, zeros, row) for row in range(rows))


def test_half_an_adapter_is_none() -> None:
    """Up-projections start at zero in training: the first step must hear the base."""
    full, zeros = some(1, 4, seed=1), AdapterBatch.zeros(SPEC, 1, 4)
    for half in (AdapterBatch(full.down, zeros.up, zeros.shift), AdapterBatch(zeros.down, full.up, zeros.shift)):
        assert equal(step(None, 1, 0), step(half, 1, 0), 0)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.integers(0, 99))
def test_an_adapter_is_its_rows_alone(rank: int, seed: int) -> None:
    mixed = some(3, rank, seed)
    for array in (mixed.down, mixed.up, mixed.shift):
        array[1] = 0
    base, bent = step(None, 3, seed), step(mixed, 3, seed)
    assert equal(base, bent, 1)
    assert not equal(base, bent, 0)
    assert not equal(base, bent, 2)


def test_an_adapter_is_a_change_of_the_weights() -> None:
    """W + down @ up in every map, gain and shift behind every norm: PyTorch with such weights says the same."""
    torch = pytest.importorskip("torch", reason="needs the extra `adapt`")
    from tests.models.streams import TorchRuntime, model_of

    bend, model, layout = some(1, 3, seed=4), model_of(BUNDLE), layout_of(SPEC)
    with torch.no_grad():
        for i, block in enumerate(model.blocks):
            for slot in layout.maps:
                delta = bend.down[0, i, slot.inputs] @ bend.up[0, i][:, slot.outputs]
                block.get_parameter(f"{slot.name}.weight").add_(torch.from_numpy(delta))
            for norm, name in enumerate(layout.norms):
                gain, shift = torch.from_numpy(bend.shift[0, i]).view(len(layout.norms), 2, SPEC.width)[norm]
                block.get_parameter(f"{name}.weight").mul_(1 + gain)
                block.get_parameter(f"{name}.bias").mul_(1 + gain).add_(shift)
    expected = TorchRuntime(model).step(*inputs(1, seed=5)).log_probs
    assert np.abs(step(bend, 1, seed=5).log_probs - expected).max() < 1e-4
    assert np.abs(step(None, 1, seed=5).log_probs - expected).max() > 1e-2
