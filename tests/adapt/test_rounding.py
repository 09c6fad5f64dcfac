"""Training with the rounding in it: the same grid as `quantize`, gradients at rounded weights, steps on real ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.rounding import Rounder, nearest  # noqa: E402
from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.nn.layers import Linear  # noqa: E402
from myna.models.nn.quantize import (  # noqa: E402
    Rounding,
    quantize_step,
    restored,
    round_to_nearest,
    rounding_of,
    values,
)
from tests.adapt import runs  # noqa: E402
from tests.models.streams import model_of  # noqa: E402
from tests.support import TINY  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("rounding", [Rounding(8, 128), Rounding(4, 32)])
def test_the_grid_is_that_of_quantize(rounding: Rounding) -> None:
    weight = np.random.default_rng(0).standard_normal((200, 24), np.float32)
    weight[:, 3] = 0
    expected = values(round_to_nearest("", weight, rounding), rounding, len(weight))
    np.testing.assert_allclose(nearest(torch.from_numpy(weight), rounding).numpy(), expected, atol=1e-6)


def test_gradients_are_those_of_rounded_weights_and_move_the_real_ones() -> None:
    model = torch.nn.Sequential(Linear(64, 8))
    weight, x = model[0].weight, torch.randn(5, 64)
    real = weight.detach().clone()
    rounder = Rounder(model, "int4")
    with rounder.applied():
        assert torch.equal(weight, nearest(real, Rounding(4, 32)))
        model(x).square().sum().backward()
    assert torch.equal(weight, real)
    rounded = nearest(real, Rounding(4, 32)).requires_grad_()
    (x @ rounded).square().sum().backward()
    assert torch.allclose(weight.grad, rounded.grad)


def test_small_matrices_stay(tmp_path: Path) -> None:
    model = model_of(read_bundle(TINY))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    Rounder(model, "int4").round()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    quantize_step(TINY / "step.onnx", tmp_path / "step.onnx", "int4")
    assert changed == set(restored(onnx.load(tmp_path / "step.onnx").graph))
    assert all(before[name].shape[0] >= rounding_of("int4", name).block for name in changed)


def test_a_run_learns_and_ends_on_the_grid(tmp_path: Path) -> None:
    runs.speech(tmp_path)
    trainer = runs.trainer(runs.recipe(tmp_path, run={"rounding": "int4"}), tmp_path / "out")
    before = runs.weights(trainer)
    trainer.run()
    assert not runs.same(before, runs.weights(trainer))
    assert trainer.rounder is not None
    trainer.rounder.round()
    once = runs.weights(trainer)
    trainer.rounder.round()
    assert all(torch.allclose(once[name], value, atol=1e-6) for name, value in runs.weights(trainer).items())
