"""A chunked conformer with a CTC head (Gulati et al. 2020; U2++: Wu et al. 2021), whole or step by step."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from myna.models.adapter import layout_of
from myna.models.nn.layers import Adapters, Block, Linear
from myna.models.spec import ModelSpec

# Kernel and stride of the unpadded convolutions, by subsampling factor.
FRONTS = {4: ((3, 2), (3, 2)), 6: ((3, 2), (5, 3)), 8: ((3, 2), (3, 2), (3, 2))}
HIDDEN = -1e9  # a masked score; its share is exactly 0 in float32


class State(NamedTuple):
    """What a stream's rows carry from chunk to chunk."""

    offset: Tensor  # (B,) int64: position of the chunk's first frame
    cached: Tensor  # (B,) int64: valid frames at the end of att
    att: Tensor  # (B, blocks, heads, C, 2 head_width + 1)
    conv: Tensor  # (B, blocks, kernel - 1, width); zeros before the utterance


class StepOutput(NamedTuple):
    """What a step gives; the caller keeps the valid new frames."""

    log_probs: Tensor  # (B, T, vocabulary)
    att_new: Tensor  # (B, blocks, heads, T, 2 head_width + 1)
    conv_new: Tensor  # (B, blocks, T, width)
    activations: Tensor  # (B, blocks + 1, T, width): each block's input, and the last one's output


class PatchConvolution(nn.Module):
    """A convolution over (time, mels) as one matrix product over patches, channels last."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.project = Linear(kernel * kernel * channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F, channels) -> (B, T', F', width), rectified."""
        spans = [(n - self.kernel) // self.stride * self.stride + 1 for n in x.shape[1:3]]
        patches = [
            x[:, i : i + spans[0] : self.stride, j : j + spans[1] : self.stride]
            for i in range(self.kernel)
            for j in range(self.kernel)
        ]
        return torch.relu(self.project(torch.cat(patches, -1)))


class Subsampling(nn.Module):
    """Convolutions that make one encoder frame of `subsampling` feature frames."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        mels, channels = spec.features.mels, 1
        convolutions = []
        for kernel, stride in FRONTS[spec.subsampling]:
            convolutions.append(PatchConvolution(channels, spec.width, kernel, stride))
            mels, channels = (mels - kernel) // stride + 1, spec.width
        self.convolutions = nn.ModuleList(convolutions)
        self.out = Linear(mels * spec.width, spec.width)

    def forward(self, feats: Tensor) -> Tensor:
        """Normalised feats (B, M, mels) -> (B, T, width)."""
        x = feats[..., None]
        for convolution in self.convolutions:
            x = convolution(x)
        y: Tensor = self.out(x.flatten(2))
        return y


class Conformer(nn.Module):
    """The encoder and its CTC head. `forward` hears whole utterances, `step` one chunk of a stream."""

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        self.layout = layout_of(spec)
        self.register_buffer("mean", torch.zeros(spec.features.mels))
        self.register_buffer("istd", torch.ones(spec.features.mels))
        self.mean: Tensor
        self.istd: Tensor
        self.subsampling = Subsampling(spec)
        self.blocks = nn.ModuleList(Block(spec, dropout) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(spec.width, spec.norm_eps)
        self.head = Linear(spec.width, spec.vocabulary)

    def forward(
        self, feats: Tensor, frames: Tensor, chunk_frames: int = 0, left_chunks: int = -1, offset: int = 0
    ) -> Tensor:
        """Hear whole utterances: feats (B, M, mels), frames (B,) valid encoder frames -> log-probs (B, T, vocabulary).

        A frame sees its chunk and `left_chunks` chunks before it (all if negative), or everything if chunk_frames is 0.
        """
        rows = len(feats)
        x = self.subsampling((feats - self.mean) * self.istd)
        at = torch.arange(x.shape[1], device=x.device)
        seen = (at < frames[:, None])[:, None, None, :]
        if chunk_frames:
            ago = at[:, None] // chunk_frames - at // chunk_frames
            seen = seen & (ago >= 0) & ((ago <= left_chunks) | (left_chunks < 0))
        mask = torch.where(seen, 0.0, HIDDEN).expand(-1, -1, x.shape[1], -1)
        state = State(torch.full((rows,), offset, device=x.device), torch.zeros_like(frames), *self._no_cache(x))
        return self._encode(x, state, mask, None).log_probs

    def step(
        self, feats: Tensor, frames: Tensor, state: State, adapters: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> StepOutput:
        """Hear one chunk of each row; see the bundle's contract for `step.onnx`."""
        x = self.subsampling((feats - self.mean) * self.istd)
        kept, new = state.att.shape[3], x.shape[1]
        before = torch.arange(kept, device=x.device) >= kept - state.cached[:, None]
        chunk = torch.arange(new, device=x.device) < frames[:, None]
        seen = torch.cat([before, chunk], 1)[:, None, None, :]
        return self._encode(x, state, torch.where(seen, 0.0, HIDDEN), adapters)

    def _encode(
        self, x: Tensor, state: State, mask: Tensor, adapters: tuple[Tensor, Tensor, Tensor] | None
    ) -> StepOutput:
        places = self._places(state.offset, x.shape[1])
        x = x * math.sqrt(self.spec.width)
        if self.spec.positions == "absolute":
            x = x + places
        activations, att_new, conv_new = [x], [], []
        for i, block in enumerate(self.blocks):
            bend = None if adapters is None else Adapters(self.layout, *(a[:, i] for a in adapters))
            x, att, conv = block(x, places, state.att[:, i], state.conv[:, i], mask, bend)
            activations.append(x)
            att_new.append(att)
            conv_new.append(conv)
        log_probs = torch.log_softmax(self.head(self.norm(x)), -1)
        return StepOutput(log_probs, torch.stack(att_new, 1), torch.stack(conv_new, 1), torch.stack(activations, 1))

    def _places(self, offset: Tensor, frames: int) -> Tensor:
        """Sinusoids of the positions from `offset` (B,) on: (B, frames, width), sine and cosine interleaved.

        (Vaswani et al. 2017, section 3.5.) Computed, not looked up: a table would be larger than a quantised block.
        """
        width = self.spec.width
        at = (offset[:, None] + torch.arange(frames, device=offset.device)).to(self.mean.dtype)
        rates = torch.exp(torch.arange(0, width, 2, device=offset.device) * -(math.log(10000.0) / width))
        angle = at[..., None] * rates
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(2)

    def _no_cache(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spec, rows = self.spec, len(x)
        att = x.new_zeros(rows, spec.blocks, spec.heads, 0, spec.attention_cache_width)
        return att, x.new_zeros(rows, spec.blocks, spec.kernel - 1, spec.width)
