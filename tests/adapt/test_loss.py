"""The loss: CTC and what is added to it, each by its formula."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

import torch.nn.functional as F  # noqa: E402

from myna.adapt.feed import Batch  # noqa: E402
from myna.adapt.loss import Objective, ctc, divergence  # noqa: E402
from myna.adapt.recipe import LossSettings, RecipeError, TrainableSettings  # noqa: E402
from myna.adapt.trainable import Trainable  # noqa: E402
from myna.models.bundle import read_bundle  # noqa: E402
from tests.data.make_tiny_bundle import SPEC, tiny_model  # noqa: E402
from tests.models.streams import model_of  # noqa: E402
from tests.support import TINY, TINY_4  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
FRAMES, LENGTHS = torch.tensor([14, 9]), torch.tensor([3, 2])


def value(loss: Any) -> float:
    return float(loss.detach())


def batch(views: int = 1) -> Batch:
    torch.manual_seed(1)
    feats = torch.cat([10 + 3 * torch.randn(2, SPEC.features_needed(14), 80) for _ in range(views)])
    targets = torch.tensor([[3, 4, 3], [7, 8, 0]])
    return Batch(feats, FRAMES.repeat(views), targets.repeat(views, 1), LENGTHS.repeat(views), 5, 1, 1.0)


def objective(model: Any, mode: str = "all", **settings: Any) -> Objective:
    trainable = Trainable(model, TrainableSettings.model_validate({"mode": mode}))
    return Objective(model, trainable, LossSettings.model_validate(settings))


def log_probs(model: Any, heard: Batch, block: int = 1) -> Any:
    tapped = model.heard(heard.feats, heard.frames, 5, 1, taps=[0])
    return model.logits(tapped[block]).log_softmax(-1)


def test_ctc_counts_each_unit_alike() -> None:
    model, heard = tiny_model(), batch()
    said = log_probs(model, heard)
    alone = [
        F.ctc_loss(said[i, : FRAMES[i]], heard.targets[i, : LENGTHS[i]], FRAMES[i], LENGTHS[i], reduction="sum")
        for i in range(2)
    ]
    expected = value(torch.stack(alone).sum() / LENGTHS.sum())
    assert value(objective(model)(heard)) == pytest.approx(expected, rel=1e-5)


def test_a_text_that_does_not_fit_counts_as_nothing() -> None:
    said = torch.randn(1, 2, 5).log_softmax(-1).requires_grad_()
    short = Batch(torch.zeros(0), torch.tensor([2]), torch.tensor([[1, 2, 3]]), torch.tensor([3]), 0, -1, 1.0)
    loss = ctc(said, short, 0)
    torch.autograd.backward(loss)
    assert value(loss) == 0
    assert not said.grad.any()


def test_intermediate_blocks_share_the_loss() -> None:
    model, heard = tiny_model(), batch()
    one, two = (value(ctc(log_probs(model, heard, i), heard, 0)) for i in range(2))
    mixed = objective(model, intermediate_weight=0.3, intermediate_blocks=[1])
    assert value(mixed(heard)) == pytest.approx(0.7 * two + 0.3 * one, rel=1e-5)
    assert value(objective(model, intermediate_weight=0.3)(heard)) == pytest.approx(value(mixed(heard)))
    with pytest.raises(RecipeError, match="2 blocks, 3 is none"):
        objective(model, intermediate_weight=0.3, intermediate_blocks=[3])


def test_a_divergence_is_one() -> None:
    heard = batch()
    p, q = (torch.randn(2, 14, 39).log_softmax(-1) for _ in range(2))
    expected = 0.0
    for row in range(2):
        valid = slice(0, int(FRAMES[row]))
        expected += value((q[row, valid].exp() * (q[row, valid] - p[row, valid])).sum() / LENGTHS.sum())
    assert value(divergence(p, q, heard)) == pytest.approx(expected, rel=1e-4)
    assert value(divergence(p, p, heard)) == pytest.approx(0, abs=1e-5)


def test_two_views_are_pulled_together() -> None:
    model, heard = tiny_model(), batch(2)
    said = log_probs(model, heard)
    one, other = said.chunk(2)
    both = divergence(one, other, heard) + divergence(other, one, heard)
    expected = ctc(said, heard, 0) + 0.2 * both / 2
    assert value(objective(model, consistency_weight=0.2)(heard)) == pytest.approx(value(expected), rel=1e-5)


@pytest.mark.parametrize("mode", ["all", "norms"])
def test_the_untouched_model_is_held_to(mode: str) -> None:
    model, heard = tiny_model(), batch()
    loss = objective(model, mode, untouched_weight=0.5)
    plain = value(ctc(log_probs(model, heard), heard, 0))
    assert value(loss(heard)) == pytest.approx(plain, rel=1e-5)
    before = log_probs(model, heard).detach()
    if mode == "all":
        with torch.no_grad():
            model.head.weight.mul_(1.1)
        said = log_probs(model, heard)
        expected = ctc(said, heard, 0) + 0.5 * divergence(said, before, heard)
        assert value(loss(heard)) == pytest.approx(value(expected), rel=1e-5)


def test_a_teacher_is_learnt_from() -> None:
    model, heard = tiny_model(), batch()
    with torch.no_grad():
        model.head.weight.mul_(0.5)
    loss = objective(model, teacher=str(TINY), teacher_weight=2.0)
    taught = model_of(read_bundle(TINY))
    apart = divergence(log_probs(model, heard), log_probs(taught, heard), heard)
    expected = value(objective(model)(heard)) + 2 * value(apart)
    assert value(loss(heard)) == pytest.approx(expected, rel=1e-5)
    torch.autograd.backward(loss(heard))


def test_a_teacher_of_other_units_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"loss\.teacher: .* has another subsampling"):
        objective(tiny_model(), teacher=str(TINY_4))
