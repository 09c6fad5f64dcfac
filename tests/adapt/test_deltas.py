"""Adapters as parameters: new ones change nothing, all of them learn, folded in they say the same."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.deltas import Deltas  # noqa: E402
from myna.models.adapter import AdapterBatch  # noqa: E402
from myna.models.adapter_file import adapter_bytes, read_adapter  # noqa: E402
from tests.data.make_tiny_bundle import OTHER, SPEC, tiny_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = ("lora", "norms", "adapters")


def said(model: Any, deltas: Deltas | None) -> Any:
    feats = 10 + 3 * torch.randn(2, 90, 80, generator=torch.Generator().manual_seed(0))
    frames = torch.tensor([model.spec.frames_ready(90), 5])
    packed = None if deltas is None else deltas.packed()
    return model.logits(model.heard(feats, frames, 4, 2, adapters=packed)[-1])


@pytest.mark.parametrize("spec", [SPEC, OTHER])
@pytest.mark.parametrize("kind", KINDS)
def test_new_ones_change_nothing(kind: Any, spec: Any) -> None:
    model = tiny_model(spec)
    assert torch.equal(said(model, Deltas(spec, kind, 3)), said(model, None))


@pytest.mark.parametrize("spec", [SPEC, OTHER])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_blocks", [0, 1, 9])
def test_folded_in_they_say_the_same(kind: Any, spec: Any, top_blocks: int) -> None:
    model, deltas = tiny_model(spec), Deltas(spec, kind, 3, top_blocks)
    with torch.no_grad():
        for _, parameter in deltas.named():
            parameter.add_(0.1 * torch.randn_like(parameter))
        bent = said(model, deltas)
        assert (bent - said(model, None)).abs().max() > 0.01
        deltas.fold(model)
        assert (bent - said(model, None)).abs().max() < 1e-3
    blocks = {name.split(".")[1] for name, _ in deltas.named()}
    assert blocks == ({"1"} if top_blocks == 1 else {"0", "1"})


def test_every_one_learns() -> None:
    model, deltas = tiny_model().requires_grad_(False), Deltas(SPEC, "adapters", 2)
    said(model, deltas)[..., 1].sum().backward()
    slopes = {name: parameter.grad for name, parameter in deltas.named() if parameter.grad is not None}
    assert len(slopes) == 6
    assert [name for name, slope in slopes.items() if not slope.any()] == ["adapters.0.down", "adapters.1.down"]


def random(kind: Any, seed: int) -> Deltas:
    torch.manual_seed(seed)
    deltas = Deltas(SPEC, kind, 2)
    with torch.no_grad():
        for _, parameter in deltas.named():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return deltas


@pytest.mark.parametrize("kind", KINDS)
def test_strength_goes_from_nothing_to_all(kind: Any) -> None:
    model, deltas = tiny_model(), random(kind, 0)
    assert torch.equal(said(model, deltas.scaled(1.0)), said(model, deltas))
    assert torch.equal(said(model, deltas.scaled(0.0)), said(model, None))
    half = (said(model, deltas.scaled(0.5)) - said(model, None)).norm()
    assert 0 < half < (said(model, deltas) - said(model, None)).norm()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_lies_between(kind: Any) -> None:
    one, other = random(kind, 1), random(kind, 2)
    mean = Deltas.mean([one, other])
    for (name, found), (_, a), (_, b) in zip(mean.named(), one.named(), other.named(), strict=True):
        assert torch.allclose(found, (a + b) / 2), name
    assert torch.equal(said(tiny_model(), Deltas.mean([one])), said(tiny_model(), one))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_what_moves(kind: Any) -> None:
    deltas = random(kind, 3)
    adapter = deltas.adapter("base")
    assert read_adapter(adapter_bytes(adapter), SPEC, "base").rank == deltas.rank
    batch = AdapterBatch.zeros(SPEC, 1, adapter.rank)
    adapter.put(batch, 0, SPEC)
    for written, packed in zip((batch.down, batch.up, batch.shift), deltas.packed(), strict=True):
        assert np.abs(written - packed.detach().numpy()).max(initial=0) < 1e-3
