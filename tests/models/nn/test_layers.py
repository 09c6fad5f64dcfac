"""The parts of a block against plain formulas, in float64, so that nothing but a wrong formula tells them apart."""

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from myna.models.adapter import layout_of  # noqa: E402
from myna.models.nn import layers  # noqa: E402
from myna.models.spec import ModelSpec  # noqa: E402
from tests.models.streams import seen_by, small_spec  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = 2
SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=4)  # frames of a stream's chunks
Module = TypeVar("Module", bound=nn.Module)


def shaken(module: Module) -> Module:
    """Make it float64 and fill what a new module leaves at zero or one, biases and gains."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return module.requires_grad_(False).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    drawn: Tensor = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=0, atol=1e-10))


def bent(spec: ModelSpec, rank: int = 3) -> tuple[layers.Adapters, Tensor, Tensor, Tensor]:
    """Make the adapters of a block, and return what they are made of as well."""
    layout = layout_of(spec)
    parts = noise(ROWS, layout.inputs, rank), noise(ROWS, rank, layout.outputs, seed=1), noise(ROWS, layout.shifts)
    return layers.Adapters(layout, *parts), *parts


def normed(x: Tensor, norm: nn.Module, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / deviation * norm.get_parameter("weight") + norm.get_parameter("bias")


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_map_keeps_its_weight_as_inputs_by_outputs(bias: bool) -> None:
    linear, x = shaken(layers.Linear(5, 3, bias)), noise(ROWS, 4, 5)
    assert linear.weight.shape == (5, 3)
    assert (linear.bias is not None) == bias
    assert same(linear(x), F.linear(x, linear.weight.T, linear.bias))


def test_an_affine_is_a_trained_batch_norm() -> None:
    batch_norm, affine, x = shaken(nn.BatchNorm1d(6)), layers.Affine(6).double(), noise(ROWS, 4, 6)
    assert same(affine(x), x)
    mean, deviation = noise(6), noise(6).abs() + 0.1
    batch_norm.load_state_dict(batch_norm.state_dict() | {"running_mean": mean, "running_var": deviation.square()})
    with torch.no_grad():
        affine.weight.copy_(batch_norm.weight / (deviation.square() + batch_norm.eps).sqrt())
        affine.bias.copy_(batch_norm.bias - mean * affine.weight)
    assert same(affine(x), batch_norm(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 0.1])
def test_a_part_norms_with_the_eps_it_is_given(eps: float) -> None:
    part, x = shaken(layers.Part("conv", 8, eps)), 0.01 * noise(ROWS, 4, 8)
    assert same(part.normed(x, None), normed(x, part.norm, eps))


@pytest.mark.parametrize("macaron", [True, False])
def test_adapters_bend_each_norm_of_each_row(macaron: bool) -> None:
    spec = small_spec(macaron=macaron)
    adapters, _, _, shift = bent(spec)
    y = noise(ROWS, 5, spec.width, seed=2)
    for number, name in enumerate(layout_of(spec).norms):
        for row in range(ROWS):
            gain, offset = shift[row, 2 * spec.width * number :][: 2 * spec.width].view(2, spec.width)
            assert same(adapters.bend(name, y)[row], y[row] * (1 + gain) + offset), name


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("macaron", [True, False])
def test_adapters_add_a_low_rank_map_to_each_map_of_each_row(macaron: bool, rank: int) -> None:
    spec = small_spec(macaron=macaron)
    adapters, down, up, _ = bent(spec, rank)
    block, into, out = shaken(layers.Block(spec, 0)), 0, 0
    for slot in layout_of(spec).maps:
        name, _, which = slot.name.partition(".")
        part, weight = block.get_submodule(name), block.get_parameter(f"{slot.name}.weight")
        assert isinstance(part, layers.Part)
        inputs, outputs = weight.shape
        x = noise(ROWS, 5, inputs, seed=2)
        delta = down[:, into : into + inputs] @ up[:, :, out : out + outputs]
        for row in range(ROWS):
            assert same(adapters.delta(slot.name, x)[row], x[row] @ delta[row])
        expected = torch.baddbmm(block.get_parameter(f"{slot.name}.bias"), x, weight + delta)
        assert same(part.mapped(which, x, adapters), expected)
        into, out = into + inputs, out + outputs


def test_a_feed_forward_drops_in_training_alone() -> None:
    spec, x = small_spec(), noise(ROWS, 5, 8)
    part = shaken(layers.FeedForward("ff1", spec, dropout=0.5))
    hidden = normed(x, part.norm, spec.norm_eps) @ part.expand.weight + part.get_parameter("expand.bias")
    expected = (hidden * hidden.sigmoid()) @ part.reduce.weight + part.get_parameter("reduce.bias")
    assert same(part(x, None), expected)
    assert not same(part.train()(x, None), expected)
    part.dropout = 0.0
    assert same(part(x, None), expected)


def textbook(part: layers.Attention, x: Tensor, places: Tensor, seen: Tensor) -> Tensor:
    """((q + u) k + (q + v) p) / sqrt(d), head by head; without positions q k / sqrt(d)."""
    q, k, v = (part.norm(x) @ part.qkv.weight + part.get_parameter("qkv.bias")).chunk(3, -1)
    heard = []
    for head in range(part.heads):
        at = slice(head * part.head_width, (head + 1) * part.head_width)
        if part.positions:
            p = (places @ part.position.weight)[..., at]
            scores = (q[..., at] + part.bias_u[head]) @ k[..., at].mT + (q[..., at] + part.bias_v[head]) @ p.mT
        else:
            scores = q[..., at] @ k[..., at].mT
        weights = (scores / math.sqrt(part.head_width)).masked_fill(~seen, -math.inf).softmax(-1)
        heard.append(weights @ v[..., at])
    y: Tensor = torch.cat(heard, -1) @ part.out.weight + part.get_parameter("out.bias")
    return y


@settings(max_examples=20, deadline=None)
@given(SIZES, st.sampled_from([1, 2, 4]), st.sampled_from(["key", "absolute", "none"]), st.integers(-1, 2))
def test_attention_is_the_textbooks(sizes: list[int], heads: int, positions: str, left_chunks: int) -> None:
    """Chunk by chunk with a cache that holds more than is seen: score and positions are those of the formula."""
    part = shaken(layers.Attention(small_spec(heads=heads, positions=positions)))
    x, places = noise(ROWS, sum(sizes), 8), noise(ROWS, sum(sizes), 8, seed=1)
    seen, at, said = seen_by(sizes, left_chunks), 0, []
    cache = noise(ROWS, heads, 0, 2 * part.head_width + 1)
    for size in sizes:
        now = slice(at, at + size)
        mask = torch.where(seen[now, : at + size], 0.0, -1e9)
        y, new = part(x[:, now], places[:, now], cache, mask, None)
        assert new.shape == (ROWS, heads, size, 2 * part.head_width + 1)
        cache, at = torch.cat([cache, new], 2), at + size
        said.append(y)
    assert same(torch.cat(said, 1), textbook(part, x, places, seen))


def test_a_key_is_cached_with_its_position() -> None:
    part, x, places = shaken(layers.Attention(small_spec())), noise(ROWS, 3, 8), noise(ROWS, 3, 8, seed=1)
    _, new = part(x, places, noise(ROWS, 2, 0, 9), torch.zeros(3, 3), None)
    _, k, v = map(part.split, part.qkv(part.norm(x)).chunk(3, -1))
    p = part.split(part.position(places))
    score = torch.einsum("hd,bhtd->bht", part.bias_u[:, 0], k) + torch.einsum("hd,bhtd->bht", part.bias_v[:, 0], p)
    assert same(new, torch.cat([k + p, v, score[..., None]], -1))


def padded_whole(part: layers.Convolution, x: Tensor, spec: ModelSpec) -> Tensor:
    """Pad where the history says, before the gate or behind it, and convolve all at once."""
    pad = (0, 0, spec.kernel - 1, 0)
    before = normed(x, part.norm, spec.norm_eps)
    heard = F.glu(part.expand(F.pad(before, pad) if spec.conv_history == "gate" else before), -1)
    if spec.conv_history == "zeros":
        heard = F.pad(heard, pad)
    y = part.depthwise(heard.transpose(1, 2)).transpose(1, 2)
    inner = part.inner_norm
    y = normed(y, inner, spec.conv_norm_eps) if spec.conv_norm == "layer_norm" else y * inner.weight + inner.bias
    out: Tensor = part.reduce(F.silu(y))
    return out


@pytest.mark.parametrize("conv_norm", ["layer_norm", "batch_norm"])
@pytest.mark.parametrize("conv_history", ["gate", "zeros"])
@settings(max_examples=10, deadline=None)
@given(SIZES, st.integers(1, 7))
def test_a_convolution_is_one_of_the_padded_whole(
    conv_history: str, conv_norm: str, sizes: Sequence[int], kernel: int
) -> None:
    spec = small_spec(conv_history=conv_history, conv_norm=conv_norm, kernel=kernel, conv_norm_eps=0.1)
    part, x = shaken(layers.Convolution(spec)), noise(ROWS, sum(sizes), 8)
    cache, said = torch.zeros(ROWS, kernel - 1, 8, dtype=torch.float64), []
    for start, size in zip(itertools.accumulate(sizes, initial=0), sizes, strict=False):
        y, new = part(x[:, start : start + size], cache, None)
        assert new.shape == (ROWS, size, 8)
        cache = torch.cat([cache, new], 1)[:, size:]
        said.append(y)
    assert same(torch.cat(said, 1), padded_whole(part, x, spec))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7))
def test_taps_are_a_depthwise_convolution(frames: int, kernel: int) -> None:
    """And its slopes are those that PyTorch finds."""
    heard, weight, bias = noise(ROWS, frames + kernel - 1, 8), noise(kernel, 8, seed=1), noise(8, seed=2)
    parts = tuple(part.requires_grad_() for part in (heard, weight, bias))
    expected = F.conv1d(heard.transpose(1, 2), weight.t()[:, None], bias, groups=8).transpose(1, 2)
    assert same(layers.DepthwiseTaps.apply(*parts), expected)  # type: ignore[no-untyped-call]
    assert torch.autograd.gradcheck(layers.DepthwiseTaps.apply, parts)


def test_training_and_serving_convolve_alike() -> None:
    part, x = shaken(layers.Convolution(small_spec())), noise(ROWS, 5, 8)
    cache = noise(ROWS, 2, 8, seed=1)
    served, trained = part.eval()(x, cache, None), part.train()(x, cache, None)
    assert all(map(same, served, trained))


def test_half_precision_is_near() -> None:
    """Of matrix products alone: what is added up from block to block stays in float32."""
    torch.manual_seed(0)
    part, x = layers.Linear(64, 32), torch.randn(ROWS, 5, 64)
    torch.nn.init.normal_(part.get_parameter("bias"))
    with torch.autocast("cpu", torch.bfloat16):
        y = part(x)
    assert y.dtype == torch.bfloat16
    assert (y - part(x)).abs().max() < 0.05


@pytest.mark.parametrize("macaron", [True, False])
def test_a_block_is_its_parts(macaron: bool) -> None:
    """Feed-forwards count half where there are two."""
    spec, x, places = small_spec(macaron=macaron), noise(ROWS, 5, 8), noise(ROWS, 5, 8, seed=1)
    block, (adapters, *_, shift) = shaken(layers.Block(spec, 0)), bent(spec)
    att, conv, mask = noise(ROWS, 2, 4, 9, seed=2), noise(ROWS, 2, 8, seed=3), torch.zeros(5, 9)
    assert (block.ff1 is not None) == macaron
    y = x if block.ff1 is None else x + 0.5 * block.ff1(x, adapters)
    heard, att_new = block.attention(y, places, att, mask, adapters)
    convolved, conv_new = block.conv(y + heard, conv, adapters)
    y = y + heard + convolved
    y = normed(y + (0.5 if macaron else 1) * block.ff2(y, adapters), block.norm, spec.norm_eps)
    gain, offset = shift[:, None, -2 * spec.width :].chunk(2, -1)
    expected = y * (1 + gain) + offset, att_new, conv_new
    assert all(map(same, block(x, places, att, conv, mask, adapters), expected))
