"""The network whole and step by step: one and the same, whatever it is made of and however it is cut."""

import itertools
import math
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from myna.models.adapter import AdapterBatch  # noqa: E402
from myna.models.nn.conformer import Conformer, PatchConvolution, StepOutput, Subsampling  # noqa: E402
from myna.models.spec import ModelSpec  # noqa: E402
from tests.data.make_tiny_bundle import tiny_model  # noqa: E402
from tests.models.streams import fresh, seen_by, sinusoids, small_spec, walk  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SUBSAMPLINGS, POSITIONS, NORMS = (4, 6, 8), ("key", "absolute", "none"), ("layer_norm", "batch_norm")
KINDS = [
    {"subsampling": s, "positions": p, "conv_norm": n, "macaron": m}
    for s, p, n, m in itertools.product(SUBSAMPLINGS, POSITIONS, NORMS, (True, False))
]
SPECS = st.builds(
    lambda kind, history: small_spec(**kind, conv_history=history),
    st.sampled_from(KINDS),
    st.sampled_from(["gate", "zeros"]),
)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)  # frames of a stream's chunks


@lru_cache
def model_of(spec: ModelSpec) -> Conformer:
    """Make it in float64: what differs then differs by a mistake."""
    return tiny_model(spec).double().requires_grad_(False)


def heard(spec: ModelSpec, frames: int, rows: int = 1, seed: int = 0) -> Tensor:
    """Draw features (rows, M, mels) of exactly so many encoder frames."""
    shape = rows, spec.features_needed(frames), spec.features.mels
    drawn: Tensor = 10 + 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn


def joined(steps: list[StepOutput]) -> Tensor:
    log_probs: Tensor = torch.cat([step.log_probs for step in steps], 1)
    return log_probs


def masked(model: Conformer, feats: Tensor, seen: Tensor, positions: Tensor) -> Tensor:
    """Log-probs of feats (1, M, mels) by the blocks alone: frames (T) at `positions` see what the mask (T, T) says."""
    spec, state = model.spec, fresh(model)
    places = sinusoids(positions, spec.width)[None]
    x = model.subsampling((feats - model.mean) * model.istd) * math.sqrt(spec.width)
    if spec.positions == "absolute":
        x = x + places
    mask = torch.where(seen, 0.0, -math.inf)
    for i, block in enumerate(model.blocks):
        x, _, _ = block(x, places, state.att[:, i], state.conv[:, i], mask, None)
    return F.log_softmax(model.head(model.norm(x)), -1)


def close(a: Tensor, b: Tensor, by: float = 1e-9) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < by)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 12), st.integers(0, 7))
def test_a_frame_hears_its_window_alone(subsampling: int, frames: int, more: int) -> None:
    spec = small_spec(subsampling=subsampling)
    count = spec.features_needed(frames) + min(more, subsampling - 1)
    feats = torch.randn(1, count, spec.features.mels, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.manual_seed(0)
    y = Subsampling(spec)(feats)
    assert y.shape == (1, frames, spec.width)
    for t in range(frames):
        (slope,) = torch.autograd.grad(y[0, t].abs().sum(), feats, retain_graph=True)
        felt = slope[0].abs().sum(-1).nonzero()[:, 0]
        first = t * subsampling
        assert (felt.min(), felt.max()) == (first, first + spec.window_frames - 1)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 3)])
def test_a_patch_convolution_is_a_convolution(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    convolution, x = PatchConvolution(3, 4, kernel, stride), torch.randn(2, 17, 12, 3)
    torch.nn.init.normal_(convolution.project.get_parameter("bias"))
    weight = convolution.project.weight.view(kernel, kernel, 3, 4).permute(3, 2, 0, 1)
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, convolution.project.bias, stride).relu().permute(0, 2, 3, 1)
    assert close(convolution.train()(x), expected, 1e-5)
    assert close(convolution.eval()(x), expected, 1e-5)


@settings(max_examples=10, deadline=None)
@given(SPECS, st.integers(1, 25), st.integers(0, 9))
def test_training_hears_what_serving_does(spec: ModelSpec, frames: int, chunk: int) -> None:
    model, feats = model_of(spec), heard(spec, frames)
    served = model(feats, torch.tensor([frames]), chunk, 1)
    trained = model.train()(feats, torch.tensor([frames]), chunk, 1)
    model.eval()
    assert close(trained, served)


@pytest.mark.parametrize("positions", POSITIONS)
def test_half_precision_is_near(positions: str) -> None:
    model = tiny_model(small_spec(positions=positions)).train()
    feats, frames = heard(model.spec, 20, rows=2).float(), torch.tensor([20, 13])
    expected = model(feats, frames, 4, 1)
    with torch.autocast("cpu", torch.bfloat16):
        whole = model.heard(feats, frames, 4, 1)[-1]
        near = model.logits(whole).float().log_softmax(-1)
    assert whole.dtype == torch.float32
    assert (near - expected).abs().max() < 0.3


@settings(max_examples=10, deadline=None)
@given(SPECS, st.integers(1, 9))
def test_adapters_and_taps_are_those_of_the_step(spec: ModelSpec, frames: int) -> None:
    model, feats, zeros = model_of(spec), heard(spec, frames), AdapterBatch.zeros(spec, 1, 3)
    torch.manual_seed(0)
    bend = tuple(0.1 * torch.randn(a.shape, dtype=torch.float64) for a in (zeros.down, zeros.up, zeros.shift))
    step = model.step(feats, torch.tensor([frames]), fresh(model), bend)
    first, last = model.heard(feats, torch.tensor([frames]), adapters=bend, taps=[0])
    assert close(first, step.activations[:, 1])
    assert close(last, step.activations[:, 2])
    assert close(F.log_softmax(model.logits(last), -1), step.log_probs)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
@settings(max_examples=6, deadline=None)
@given(SIZES, st.integers(-1, 3), st.sampled_from(["gate", "zeros"]), st.integers(0, 50), st.integers(9, 90))
def test_steps_are_the_masked_whole(
    kind: dict[str, object], sizes: list[int], left_chunks: int, history: str, offset: int, end: int
) -> None:
    """Positions may end, as they do in a long utterance: then each chunk stands there, over those before it."""
    model = model_of(small_spec(**kind, conv_history=history))
    feats, seen = heard(model.spec, sum(sizes)), seen_by(sizes, left_chunks)
    before = itertools.accumulate(sizes, initial=offset)
    starts = [min(at, end - size) for at, size in zip(before, sizes, strict=False)]
    positions = torch.cat([torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
    assert int(positions.max()) < end
    assert close(joined(walk(model, feats, sizes, left_chunks, starts)), masked(model, feats, seen, positions), 1e-4)


@settings(max_examples=30, deadline=None)
@given(SPECS, st.integers(1, 25), st.integers(1, 9), st.integers(-1, 3))
def test_the_forward_is_the_steps(spec: ModelSpec, frames: int, chunk: int, left_chunks: int) -> None:
    model, feats = model_of(spec), heard(spec, frames)
    sizes = [min(chunk, frames - at) for at in range(0, frames, chunk)]
    whole = model(feats, torch.tensor([frames]), chunk, left_chunks)
    assert close(whole, joined(walk(model, feats, sizes, left_chunks)))
    assert close(model(feats, torch.tensor([frames])), joined(walk(model, feats, [frames])))


@settings(max_examples=20, deadline=None)
@given(SPECS, st.lists(st.integers(1, 15), min_size=2, max_size=4), st.integers(0, 6))
def test_neither_neighbours_nor_padding_are_heard(spec: ModelSpec, lengths: list[int], chunk: int) -> None:
    """What is padded with is as loud as speech."""
    model, frames = model_of(spec), torch.tensor(lengths)
    feats = heard(spec, max(lengths) + 2, rows=len(lengths))
    together = model(feats, frames, chunk, 1)
    padded = fresh(model, len(lengths), depth=5)
    padded.att.normal_(0, 10, generator=torch.Generator().manual_seed(1))
    step = model.step(feats, frames, padded)
    for row, length in enumerate(lengths):
        alone, one = feats[row : row + 1, : spec.features_needed(length)], frames[row : row + 1]
        assert close(together[row : row + 1, :length], model(alone, one, chunk, 1))
        by_itself = model.step(alone, one, fresh(model))
        assert close(step.log_probs[row, :length], by_itself.log_probs[0])
        assert close(step.att_new[row, :, :, :length], by_itself.att_new[0])
        assert close(step.conv_new[row, :, :length], by_itself.conv_new[0])
        assert close(step.activations[row, :, :length], by_itself.activations[0])


@settings(max_examples=15, deadline=None)
@given(SPECS, st.integers(1, 3), st.integers(1, 9))
def test_activations_lie_between_the_blocks(spec: ModelSpec, rows: int, frames: int) -> None:
    model, feats = model_of(spec), heard(spec, frames, rows)
    state = fresh(model, rows)
    step = model.step(feats, torch.full((rows,), frames), state)
    assert step.activations.shape == (rows, spec.blocks + 1, frames, spec.width)
    places = sinusoids(torch.arange(frames), spec.width).expand(rows, -1, -1)
    for i, block in enumerate(model.blocks):
        after, _, _ = block(
            step.activations[:, i], places, state.att[:, i], state.conv[:, i], torch.zeros(frames, frames), None
        )
        assert close(after, step.activations[:, i + 1], 1e-4)
    assert close(F.log_softmax(model.head(model.norm(step.activations[:, -1])), -1), step.log_probs)


@pytest.mark.parametrize("kind", KINDS[::5], ids=lambda kind: "-".join(map(str, kind.values())))
@pytest.mark.parametrize("history", ["gate", "zeros"])
def test_every_parameter_learns(kind: dict[str, object], history: str) -> None:
    """And by the right slope: a small step in any direction changes the loss by as much as the gradient says."""
    model = tiny_model(small_spec(**kind, conv_history=history)).double().train()
    feats, frames, weights = heard(model.spec, 20, rows=2), torch.tensor([20, 13]), list(model.parameters())

    def loss() -> Tensor:
        summed: Tensor = model(feats, frames, 4, 1)[..., 1].sum()
        return summed

    torch.autograd.backward(loss())
    slopes = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, slope in slopes.items() if slope is None or not slope.any()] == []
    directions, losses = [torch.randn_like(weight) for weight in weights], []
    with torch.no_grad():
        for step in (1e-7, -2e-7):
            for weight, way in zip(weights, directions, strict=True):
                weight.add_(way, alpha=step)
            losses.append(float(loss()))
    expected = sum(float((weight.grad * way).sum()) for weight, way in zip(weights, directions, strict=True))
    assert (losses[0] - losses[1]) / 2e-7 == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("macaron", [True, False])
def test_every_slot_of_an_adapter_learns(macaron: bool) -> None:
    model = model_of(small_spec(macaron=macaron))
    zeros = AdapterBatch.zeros(model.spec, 2, 3)
    arrays = [
        torch.full(a.shape, 0.01, dtype=torch.float64, requires_grad=True) for a in (zeros.down, zeros.up, zeros.shift)
    ]
    step = model.step(heard(model.spec, 12, rows=2), torch.tensor([12, 7]), fresh(model, 2), tuple(arrays))
    torch.autograd.backward(step.log_probs[..., 1].sum())
    for array in arrays:
        assert array.grad is not None
        assert (array.grad != 0).double().mean() > 0.95  # rounding may leave a few at zero


@pytest.mark.parametrize("positions", POSITIONS)
def test_far_positions_are_exact_enough(positions: str) -> None:
    """In float32, as served: at the end of the table that others look positions up in."""
    spec = small_spec(positions=positions)
    model, end = tiny_model(spec), spec.max_positions_frames
    feats, frames = heard(spec, 8).float(), torch.tensor([8])
    with torch.no_grad():
        early, late = (model(feats, frames, offset=offset) for offset in (0, end - 8))
        expected = masked(model_of(spec), feats.double(), seen_by([8]), torch.arange(end - 8, end))
    assert close(late.double(), expected, 1e-3)
    assert torch.equal(early, late) == (positions == "none")


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("split", [0, 1, 2])
def test_blocks_go_on_from_what_came_out_below(positions: str, split: int) -> None:
    model = model_of(small_spec(positions=positions))
    torch.manual_seed(split)
    feats, frames = torch.randn(2, 70, 16, dtype=torch.float64), torch.tensor([9, 6])
    (whole,) = model.heard(feats, frames, 3, 2)
    x = model.front(feats)
    if split:
        (x,) = model.above(x, frames, 3, 2, blocks=range(split))
    if split < len(model.blocks):
        (x,) = model.above(x, frames, 3, 2, blocks=range(split, len(model.blocks)))
    assert torch.equal(x, whole)
