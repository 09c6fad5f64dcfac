"""Rounded matrices: how far from the original, and that ONNX Runtime reads them as they were written."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.models.bundle import CARD, STEP, TOKENS, read_bundle, write_bundle  # noqa: E402
from myna.models.nn.export import read_step  # noqa: E402
from myna.models.nn.quantize import Rounded, Rounding, quantize_step, round_to_nearest, values  # noqa: E402
from myna.models.runtime import Runtime  # noqa: E402
from tests.models.streams import speech_like, stream  # noqa: E402
from tests.support import TINY  # noqa: E402

Floats = NDArray[np.float32]
BUNDLE = read_bundle(TINY)


@pytest.mark.parametrize("rounding", [Rounding(8, 128), Rounding(4, 32), Rounding(4, 16)])
def test_rounding_errs_by_half_a_step_at_most(rounding: Rounding) -> None:
    weight = np.random.default_rng(0).standard_normal((200, 24), np.float32)
    weight[:, 3] = 0
    rounded = round_to_nearest("", weight, rounding)
    assert rounded.q.shape == (24, -(-200 // rounding.block), rounding.block)
    error = np.abs(values(rounded, rounding, 200) - weight).T
    steps = np.repeat(np.abs(rounded.scale), rounding.block, axis=1)[:, :200]
    # The extreme is met exactly; one as large on the other side is beyond the range by a step.
    assert (error <= steps * 1.001).all()
    assert (error <= steps * 0.501).mean() > 0.98
    assert not values(rounded, rounding, 200)[:, 3].any()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantised_bundle_says_about_the_same(tmp_path: Path, precision: str) -> None:
    assert precision in ("int8", "int4")
    step = tmp_path / STEP
    quantize_step(BUNDLE.step_path, step, "int8" if precision == "int8" else "int4")
    manifest = BUNDLE.manifest.model_copy(update={"precision": precision})
    write_bundle(tmp_path / "small", manifest, {STEP: step, TOKENS: TINY / TOKENS, CARD: TINY / CARD})
    small = Runtime(read_bundle(tmp_path / "small"))
    feats = speech_like(BUNDLE.spec, 40, seed=2)
    difference = np.abs(stream(small, feats, 8, 64) - stream(Runtime(BUNDLE), feats, 8, 64))
    assert 0 < difference.mean() < (0.02 if precision == "int8" else 0.4)
    bits = {n.input[1]: n.attribute for n in onnx.load(step).graph.node if n.op_type == "MatMulNBits"}
    front = {a.name: a.i for a in bits["subsampling.convolutions.1.project.weight"]}
    assert front["bits"] == 8  # whatever the rest has
    names = {i.name for i in onnx.load(step).graph.initializer}
    assert "subsampling.convolutions.1.project.weight.scale" in names
    assert ("blocks.1.ff2.expand.weight.scale" in names) == (precision == "int4")  # 32 inputs, blocks of 128 or 32
    assert "blocks.1.ff2.reduce.weight.scale" not in names  # 48 inputs, 8 bits in both


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantised_graph_is_read_back_as_it_was_rounded(tmp_path: Path, precision: Literal["int8", "int4"]) -> None:
    kept: dict[str, Floats] = {}

    def method(name: str, weight: Floats, rounding: Rounding) -> Rounded:
        rounded = round_to_nearest(name, weight, rounding)
        kept[name] = values(rounded, rounding, len(weight))
        return rounded

    quantize_step(BUNDLE.step_path, tmp_path / STEP, precision, method)
    rounded = read_step(tmp_path / STEP, BUNDLE.spec).state_dict()
    assert kept
    for name, value in read_step(BUNDLE.step_path, BUNDLE.spec).state_dict().items():
        assert torch.equal(rounded[name], torch.from_numpy(kept[name]) if name in kept else value)


def test_what_was_rounded_once_is_rounded_the_same_again(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 24), np.float32)
    once = values(round_to_nearest("", weight, Rounding(4, 32)), Rounding(4, 32), 64)
    again = values(round_to_nearest("", once, Rounding(4, 32)), Rounding(4, 32), 64)
    np.testing.assert_allclose(again, once, rtol=1e-6)
