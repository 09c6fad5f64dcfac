"""Shrinking: what is left out is what matters least; nothing left out is the same model to the bit."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from torch import Tensor  # noqa: E402

from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.errors import ImportFailed  # noqa: E402
from myna.models.nn.conformer import Conformer  # noqa: E402
from myna.models.nn.shrink import importance, shrink  # noqa: E402
from tests.data.make_tiny_bundle import tiny_model  # noqa: E402
from tests.models.streams import speech_like  # noqa: E402
from tests.support import TINY  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = read_bundle(TINY).spec
SPEECH = [speech_like(SPEC, 12, seed) for seed in range(3)]


@pytest.fixture
def model() -> Conformer:
    return tiny_model(SPEC)


def said(model: Conformer) -> Tensor:
    with torch.no_grad():
        heard: Tensor = model(torch.from_numpy(SPEECH[0])[None], torch.tensor([12]), 4, 2)
    return heard


def test_nothing_left_out_is_the_same_model(model: Conformer) -> None:
    same = shrink(model, importance(model, SPEECH), SPEC.blocks, SPEC.feed_forward, SPEC.width)
    assert torch.equal(said(same), said(model))


def test_sizes_and_what_stays(model: Conformer) -> None:
    measured = importance(model, SPEECH)
    small = shrink(model, measured, 1, 7, 9)
    assert (small.spec.blocks, small.spec.feed_forward, small.spec.front_channels) == (1, 7, 9)
    best = int(measured.blocks.argmax())
    kept = measured.neurons[f"blocks.{best}.ff1"].topk(7).indices.sort().values
    before, after = model.state_dict(), small.state_dict()
    assert torch.equal(after["blocks.0.attention.qkv.weight"], before[f"blocks.{best}.attention.qkv.weight"])
    assert torch.equal(after["blocks.0.ff1.expand.weight"], before[f"blocks.{best}.ff1.expand.weight"][:, kept])
    assert torch.equal(after["blocks.0.ff1.reduce.weight"], before[f"blocks.{best}.ff1.reduce.weight"][kept])
    assert said(small).shape == said(model).shape


def test_what_does_nothing_goes_first_and_costs_nothing(model: Conformer) -> None:
    """Silent neurons and channels, and a block that passes through what it gets, up to its last norm."""
    state = model.state_dict()
    with torch.no_grad():
        for part in ("ff1", "ff2"):
            for block in range(SPEC.blocks):
                state[f"blocks.{block}.{part}.reduce.weight"][5:] = 0
        state["subsampling.convolutions.1.project.weight"].view(-1, SPEC.width, SPEC.width)[:, 20:] = 0
        state["subsampling.out.weight"].view(-1, SPEC.width, SPEC.width)[:, 20:] = 0
    small = shrink(model, importance(model, SPEECH), SPEC.blocks, 5, 20)
    assert torch.allclose(said(small), said(model), atol=1e-5)


def test_a_block_that_turns_little_goes(model: Conformer) -> None:
    measured = importance(model, SPEECH)
    least = int(measured.blocks.argmin())
    small = shrink(model, measured, SPEC.blocks - 1, SPEC.feed_forward, SPEC.width)
    left = [i for i in range(SPEC.blocks) if i != least]
    for now, before in enumerate(left):
        assert torch.equal(
            small.state_dict()[f"blocks.{now}.norm.weight"], model.state_dict()[f"blocks.{before}.norm.weight"]
        )


@pytest.mark.parametrize(
    ("sizes", "said"),
    [((9, 8, 8), "blocks: must be 1 to"), ((1, 0, 8), "feed_forward"), ((1, 8, 99), "front_channels")],
)
def test_what_is_no_smaller_is_refused(model: Conformer, sizes: tuple[int, int, int], said: str) -> None:
    with pytest.raises(ImportFailed, match=said):
        shrink(model, importance(model, SPEECH), *sizes)


def test_silence_teaches_nothing(model: Conformer) -> None:
    with pytest.raises(ImportFailed, match="no speech to hear"):
        importance(model, [np.zeros((3, SPEC.features.mels), np.float32)])


def test_a_smaller_one_can_be_shrunk_again(model: Conformer) -> None:
    once = shrink(model, importance(model, SPEECH), 1, 9, 12)
    twice = shrink(once, importance(once, SPEECH), 1, 6, 10)
    assert (twice.spec.feed_forward, twice.spec.front_channels) == (6, 10)
    assert dataclasses.is_dataclass(importance(twice, SPEECH))
