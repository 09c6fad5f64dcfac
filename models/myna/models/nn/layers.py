"""The parts of a conformer block, with explicit state and per-row adapters.

Linear maps keep their weight as (inputs, outputs), the layout of an ONNX MatMul, so that the exported initialiser bears
the parameter's name and needs no transposing.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from myna.models.adapter import AdapterLayout
from myna.models.spec import ModelSpec


class Linear(nn.Module):
    """x @ weight + bias, weight (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-1, 1) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis."""
        if torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self.weight.t(), self.bias)  # one that adds the bias in the lower precision, too
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class Affine(nn.Module):
    """x * weight + bias: what a trained batch norm comes to, its fixed statistics folded in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the last axis."""
        return x * self.weight + self.bias


class DepthwiseTaps(torch.autograd.Function):
    """A depthwise convolution as a sum over its taps: on CPUs several times faster to train than `conv1d`.

    heard (B, T + kernel - 1, width), weight (kernel, width), bias (width) -> (B, T, width), all of one type.
    """

    @staticmethod
    def forward(ctx: Any, heard: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve."""
        frames = heard.shape[1] - len(weight) + 1
        y = torch.addcmul(bias, heard[:, :frames], weight[0])
        for i in range(1, len(weight)):
            y.addcmul_(heard[:, i : i + frames], weight[i])
        ctx.save_for_backward(heard, weight)
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the slopes of those that need one."""
        heard, weight = ctx.saved_tensors
        frames, needed = slope.shape[1], ctx.needs_input_grad
        of_heard = torch.zeros_like(heard) if needed[0] else None
        of_weight = torch.empty_like(weight) if needed[1] else None
        for i in range(len(weight)):
            if of_heard is not None:
                of_heard[:, i : i + frames].addcmul_(slope, weight[i])
            if of_weight is not None:
                of_weight[i] = (slope * heard[:, i : i + frames]).sum((0, 1))
        return of_heard, of_weight, slope.sum((0, 1)) if needed[2] else None


class Adapters:
    """One block's share of the batch's adapters; see `myna.models.adapter`."""

    def __init__(self, layout: AdapterLayout, down: Tensor, up: Tensor, shift: Tensor) -> None:
        self._maps = {slot.name: (slot.inputs, slot.outputs) for slot in layout.maps}
        self._norms = {name: 2 * layout.width * i for i, name in enumerate(layout.norms)}
        self._width = layout.width
        self._down, self._up, self._shift = down, up, shift

    def delta(self, name: str, x: Tensor) -> Tensor:
        """What the map's output gains: x (B, T, inputs) -> (B, T, outputs)."""
        inputs, outputs = self._maps[name]
        return (x @ self._down[:, inputs]) @ self._up[:, :, outputs]

    def bend(self, name: str, y: Tensor) -> Tensor:
        """Scale and shift a norm's output (B, T, width)."""
        at, width = self._norms[name], self._width
        scale, shift = self._shift[:, None, at : at + width], self._shift[:, None, at + width : at + 2 * width]
        return y * (1 + scale) + shift


class Part(nn.Module):
    """A part of a block: a norm in front, maps that adapters may bend."""

    def __init__(self, name: str, width: int, eps: float) -> None:
        super().__init__()
        self.name = name
        self.norm = nn.LayerNorm(width, eps)

    def normed(self, x: Tensor, adapters: Adapters | None) -> Tensor:
        """The part's input behind its norm."""
        y: Tensor = self.norm(x)
        return y if adapters is None else adapters.bend(f"{self.name}.norm", y)

    def mapped(self, which: str, x: Tensor, adapters: Adapters | None) -> Tensor:
        """One of the part's linear maps."""
        y: Tensor = getattr(self, which)(x)
        return y if adapters is None else y + adapters.delta(f"{self.name}.{which}", x)


class FeedForward(Part):
    """Half-step feed-forward with SiLU."""

    def __init__(self, name: str, spec: ModelSpec, dropout: float) -> None:
        super().__init__(name, spec.width, spec.norm_eps)
        self.expand = Linear(spec.width, spec.feed_forward)
        self.reduce = Linear(spec.feed_forward, spec.width)
        self.dropout = dropout

    def forward(self, x: Tensor, adapters: Adapters | None) -> Tensor:
        """Map x (B, T, width); the caller takes half of it."""
        hidden = F.silu(self.mapped("expand", self.normed(x, adapters), adapters))
        return self.mapped("reduce", F.dropout(hidden, self.dropout, self.training), adapters)


class Attention(Part):
    """Self-attention whose positional term depends on the key's absolute position alone (WeNet's `rel_pos`).

    score(i, j) = (q_i + u) . k_j + (q_i + v) . p_j = q_i . (k_j + p_j) + (u . k_j + v . p_j)

    so a key is cached as k_j + p_j with one number beside it, and positions cost nothing in later chunks.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__("attention", spec.width, spec.norm_eps)
        self.heads, self.head_width = spec.heads, spec.head_width
        self.qkv = Linear(spec.width, 3 * spec.width)
        self.out = Linear(spec.width, spec.width)
        self.positions = spec.positions == "key"
        if self.positions:
            self.position = Linear(spec.width, spec.width, bias=False)
            self.bias_u = nn.Parameter(torch.zeros(spec.heads, 1, spec.head_width))
            self.bias_v = nn.Parameter(torch.zeros(spec.heads, 1, spec.head_width))

    def split(self, y: Tensor) -> Tensor:
        """(B, T, width) -> (B, heads, T, head_width)."""
        return y.view(y.shape[0], y.shape[1], self.heads, self.head_width).transpose(1, 2)

    def forward(
        self, x: Tensor, places: Tensor, cache: Tensor, mask: Tensor, adapters: Adapters | None
    ) -> tuple[Tensor, Tensor]:
        """Attend over cache (B, heads, C, 2 head_width + 1) and x; mask (B, 1, T, C + T) is added to the scores.

        Returns the output (B, T, width) and what is to be cached (B, heads, T, 2 head_width + 1).
        """
        q, k, v = map(self.split, self.mapped("qkv", self.normed(x, adapters), adapters).chunk(3, -1))
        if self.positions:
            p = self.split(self.position(places))
            side = (k * self.bias_u + p * self.bias_v).sum(-1, keepdim=True)
            k = k + p
        else:
            side = torch.zeros_like(k[..., :1])
        new = torch.cat([k, v, side], -1)
        keys, values, sides = torch.cat([cache, new], 2).split((self.head_width, self.head_width, 1), -1)  # type: ignore[no-untyped-call]
        scores = (q @ keys.transpose(-1, -2) + sides.transpose(-1, -2)) / math.sqrt(self.head_width)
        heard = torch.softmax(scores + mask, -1) @ values
        joined = heard.transpose(1, 2).reshape(x.shape)
        return self.mapped("out", joined, adapters), new


class Convolution(Part):
    """Gated causal depthwise convolution."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__("conv", spec.width, spec.norm_eps)
        self.expand = Linear(spec.width, 2 * spec.width)
        self.depthwise = nn.Conv1d(spec.width, spec.width, spec.kernel, groups=spec.width)
        if spec.conv_norm == "layer_norm":
            self.inner_norm: nn.Module = nn.LayerNorm(spec.width, spec.conv_norm_eps)
        else:
            self.inner_norm = Affine(spec.width)
        self.reduce = Linear(spec.width, spec.width)
        self.history = spec.conv_history

    def forward(self, x: Tensor, cache: Tensor, adapters: Adapters | None) -> tuple[Tensor, Tensor]:
        """Convolve cache (B, kernel - 1, width) and x; return the output and what is to be cached (B, T, width).

        WeNet pads with zeros before `expand`, so what precedes an utterance is the gate's answer to the bias. What is
        cached is the difference from that: zeros are silence, and the convolution's bias makes up for it.
        """
        assert self.expand.bias is not None
        assert self.depthwise.bias is not None
        new = F.glu(self.mapped("expand", self.normed(x, adapters), adapters), -1)
        bias = self.depthwise.bias
        if self.history == "gate":
            silence = F.glu(self.expand.bias, -1)
            new = new - silence
            bias = bias + silence * self.depthwise.weight.sum((1, 2))
        y = self._convolved(torch.cat([cache, new], 1), bias)
        return self.mapped("reduce", F.silu(self.inner_norm(y)), adapters), new

    def _convolved(self, heard: Tensor, bias: Tensor) -> Tensor:
        """Convolve (B, T + kernel - 1, width) -> (B, T, width)."""
        weight = self.depthwise.weight
        if self.training and heard.device.type == "cpu":
            y: Tensor = DepthwiseTaps.apply(  # type: ignore[no-untyped-call]
                heard.to(weight.dtype), weight[:, 0].t().contiguous(), bias
            )
            return y
        return F.conv1d(heard.transpose(1, 2), weight, bias, groups=len(bias)).transpose(1, 2)


class Block(nn.Module):
    """Macaron feed-forward, attention, convolution, feed-forward, norm."""

    def __init__(self, spec: ModelSpec, dropout: float) -> None:
        super().__init__()
        self.ff1 = FeedForward("ff1", spec, dropout) if spec.macaron else None
        self.attention = Attention(spec)
        self.conv = Convolution(spec)
        self.ff2 = FeedForward("ff2", spec, dropout)
        self.norm = nn.LayerNorm(spec.width, spec.norm_eps)
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        places: Tensor,
        att_cache: Tensor,
        conv_cache: Tensor,
        mask: Tensor,
        adapters: Adapters | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the block's output (B, T, width) and what is to be cached of attention and convolution."""
        half = 0.5 if self.ff1 is not None else 1.0
        if self.ff1 is not None:
            x = x + half * self._drop(self.ff1(x, adapters))
        y, att_new = self.attention(x, places, att_cache, mask, adapters)
        x = x + self._drop(y)
        y, conv_new = self.conv(x, conv_cache, adapters)
        x = x + self._drop(y)
        x = x + half * self._drop(self.ff2(x, adapters))
        x = self.norm(x)
        return (x if adapters is None else adapters.bend("norm", x)), att_new, conv_new

    def _drop(self, y: Tensor) -> Tensor:
        return F.dropout(y, self.dropout, self.training)
