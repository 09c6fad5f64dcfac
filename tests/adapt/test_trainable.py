"""Which parameters move: by mode, by name, by depth, one after the other."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.recipe import OptimiserSettings, RecipeError, TrainableSettings  # noqa: E402
from myna.adapt.trainable import Trainable, clip, make_optimiser, set_rates  # noqa: E402
from tests.data.make_tiny_bundle import tiny_model  # noqa: E402

MODEL = tiny_model()
NAMES = {name for name, _ in MODEL.named_parameters()}
HEAD = {"head.weight", "head.bias", "norm.weight", "norm.bias"}


def moving(**settings: Any) -> set[str]:
    return set(Trainable(MODEL, TrainableSettings.model_validate(settings)).moving)


def starting(*prefixes: str) -> set[str]:
    return {name for name in NAMES if name.startswith(prefixes)}


def test_modes() -> None:
    assert moving() == NAMES
    assert moving(with_head=False) == NAMES - HEAD
    assert moving(mode="top") == HEAD
    assert moving(mode="top", top_blocks=1) == HEAD | starting("blocks.1.")
    assert moving(mode="top", top_blocks=9, with_head=False) == starting("blocks.")
    assert moving(mode="norms") == {"adapters.0.shift", "adapters.1.shift"}
    assert moving(mode="lora", top_blocks=1) == {"adapters.1.down", "adapters.1.up"}
    assert len(moving(mode="adapters")) == 6
    assert moving(mode="norms", with_head=True, top_blocks=1) == {"adapters.1.shift"} | HEAD


def test_names() -> None:
    assert moving(freeze=["^subsampling"]) == NAMES - starting("subsampling.")
    assert moving(mode="top", train=["blocks.0.conv"]) == HEAD | starting("blocks.0.conv.")
    assert moving(train=["."], freeze=["weight$", "bias_"]) == {n for n in NAMES if n.endswith(".bias")}
    assert moving(rates={"^subsampling": 0.0}) == NAMES - starting("subsampling.")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "top", "with_head": False}, "nothing moves"),
        ({"freeze": ["encoder"]}, "trainable.freeze: encoder fits no name"),
        ({"rates": {"encoder": 2.0}}, "trainable.rates: encoder fits no name"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        moving(**settings)


def test_only_what_moves_has_gradients() -> None:
    trainable = Trainable(MODEL, TrainableSettings(mode="top", top_blocks=1))
    assert {name for name, p in MODEL.named_parameters() if p.requires_grad} == set(trainable.moving)


def test_rates_fall_with_depth_and_by_pattern() -> None:
    trainable = Trainable(MODEL, TrainableSettings(layer_decay=0.5, rates={"^subsampling": 4.0, "sub": 9.0}))
    optimiser = make_optimiser(trainable, OptimiserSettings(weight_decay=0.1))
    set_rates(optimiser, trainable, 2.0)
    rates: dict[str, float] = {}
    for group, held in zip(trainable.groups, optimiser.param_groups, strict=True):
        rates |= dict.fromkeys(group.names, held["lr"])
        assert held["params"] == [trainable.moving[name] for name in group.names]
        assert held["weight_decay"] == (0.1 if group.decays else 0.0)
    assert rates["head.weight"] == rates["norm.bias"] == 2.0
    assert rates["blocks.1.ff1.expand.weight"] == 1.0
    assert rates["blocks.0.norm.weight"] == 0.5
    assert rates["subsampling.out.weight"] == 2 * 4 / 8
    decaying = {name for group in trainable.groups if group.decays for name in group.names}
    assert "head.weight" in decaying
    assert not {name for name in decaying if "bias" in name or "norm" in name}


def test_depths_thaw_from_the_top() -> None:
    trainable = Trainable(MODEL, TrainableSettings(unfreeze_every_steps=10))
    thawed = []
    for step in (0, 9, 10, 20, 29, 30, 99):
        trainable.thaw(step)
        thawed.append({name for name, p in trainable.moving.items() if p.requires_grad})
    head, one = HEAD, HEAD | starting("blocks.1.")
    assert thawed == [head, head, one, NAMES - starting("subsampling."), NAMES - starting("subsampling."), NAMES, NAMES]
    adapted = Trainable(MODEL, TrainableSettings(mode="norms", unfreeze_every_steps=1))
    adapted.thaw(0)
    assert [p.requires_grad for p in adapted.moving.values()] == [False, True]


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_optimisers_move_down(kind: Any) -> None:
    model = tiny_model()
    trainable = Trainable(model, TrainableSettings(mode="top"))
    optimiser = make_optimiser(trainable, OptimiserSettings(kind=kind, rate=0.01))
    before = model.head.weight.detach().clone()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    optimiser.step()
    assert torch.allclose(model.head.weight, before - 0.01, atol=1e-5)


def test_gradients_are_bounded() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    for settings, expected in (
        (OptimiserSettings(), 0.5),
        (OptimiserSettings(clip_value=0.25), 0.25),
        (OptimiserSettings(clip_norm=0), 9.0),
    ):
        weight.grad = torch.full((4,), 9.0)
        clip([weight], settings)
        assert torch.allclose(weight.grad, torch.full((4,), expected))
