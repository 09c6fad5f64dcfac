"""A chunked conformer with a CTC head (Gulati et al. 2020; U2++: Wu et al. 2021), whole or step by step."""

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from myna.models.adapter import layout_of
from myna.models.nn.layers import Adapters, Block, Linear
from myna.models.spec import ModelSpec

# Kernel and stride of the unpadded convolutions, by subsampling factor.
FRONTS = {4: ((3, 2), (3, 2)), 6: ((3, 2), (5, 3)), 8: ((3, 2), (3, 2), (3, 2))}
HIDDEN = -1e9  # a masked score; its share is exactly 0 in float32

Packed = tuple[Tensor, Tensor, Tensor]  # adapter_down, adapter_up, adapter_shift


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
        if self.training or torch.is_autocast_enabled(x.device.type):
            return self._convolved(x)
        spans = [(n - self.kernel) // self.stride * self.stride + 1 for n in x.shape[1:3]]
        patches = [
            x[:, i : i + spans[0] : self.stride, j : j + spans[1] : self.stride]
            for i in range(self.kernel)
            for j in range(self.kernel)
        ]
        return torch.relu(self.project(torch.cat(patches, -1)))

    def _convolved(self, x: Tensor) -> Tensor:
        """Do the same by `conv2d`, which keeps no patches for the gradients: ten times faster to train."""
        kernel = self.kernel
        weight: Tensor = self.project.weight
        if torch.is_autocast_enabled(x.device.type):
            weight = weight.to(torch.get_autocast_dtype(x.device.type))  # before its order is changed: half the bytes
        weight = weight.view(kernel, kernel, x.shape[-1], -1).permute(3, 2, 0, 1)
        y = F.conv2d(
            x.permute(0, 3, 1, 2), weight.contiguous(memory_format=torch.channels_last), self.project.bias, self.stride
        )
        return torch.relu_(y).permute(0, 2, 3, 1)


class Subsampling(nn.Module):
    """Convolutions that make one encoder frame of `subsampling` feature frames."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        mels, channels, wanted = spec.features.mels, 1, spec.front_channels or spec.width
        convolutions = []
        for kernel, stride in FRONTS[spec.subsampling]:
            convolutions.append(PatchConvolution(channels, wanted, kernel, stride))
            mels, channels = (mels - kernel) // stride + 1, wanted
        self.convolutions = nn.ModuleList(convolutions)
        self.out = Linear(mels * wanted, spec.width)

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
        return torch.log_softmax(self.logits(self.heard(feats, frames, chunk_frames, left_chunks, offset)[-1]), -1)

    def heard(
        self,
        feats: Tensor,
        frames: Tensor,
        chunk_frames: int = 0,
        left_chunks: int = -1,
        offset: int = 0,
        adapters: Packed | None = None,
        taps: Collection[int] = (),
    ) -> list[Tensor]:
        """Hear like `forward`; return what comes out of the blocks `taps`, in order, and of the last: (B, T, width).

        Adapters of one row are every row's. Nothing else is kept, so that training holds what its gradients need alone.
        """
        x = self.front(feats)
        return self.above(x, frames, chunk_frames, left_chunks, offset, adapters, taps)

    def front(self, feats: Tensor) -> Tensor:
        """Subsample feats (B, M, mels): what goes into the first block (B, T, width), but for its scale and places."""
        x: Tensor = self.subsampling((feats - self.mean) * self.istd)
        return x.to(self.mean.dtype)

    def above(
        self,
        x: Tensor,
        frames: Tensor,
        chunk_frames: int = 0,
        left_chunks: int = -1,
        offset: int = 0,
        adapters: Packed | None = None,
        taps: Collection[int] = (),
        blocks: range | None = None,
    ) -> list[Tensor]:
        """Go on like `heard` from what `front` gave, or `blocks` from what came out of the block before: (B, T, width).

        Returns what comes out of the blocks `taps`, in order, and of the last one.
        """
        mask = self._mask(frames, x.shape[1], chunk_frames, left_chunks)
        places = self._places(torch.full((1,), offset, device=x.device), x.shape[1])  # every row's
        blocks, tapped = blocks or range(len(self.blocks)), list[Tensor]()
        x = x if blocks.start else self._scaled(x, places)
        att_cache, conv_cache = self._no_cache(x)
        for i in blocks:
            x, _, _ = self.blocks[i](x, places, att_cache[:, i], conv_cache[:, i], mask, self._bend(adapters, i))
            if i in taps:
                tapped.append(x)
        return [*tapped, x]

    def logits(self, x: Tensor) -> Tensor:
        """Judge what came out of a block: (B, T, width) -> (B, T, vocabulary), before the softmax."""
        y: Tensor = self.head(self.norm(x))
        return y

    def step(self, feats: Tensor, frames: Tensor, state: State, adapters: Packed | None = None) -> StepOutput:
        """Hear one chunk of each row; see the bundle's contract for `step.onnx`."""
        x = self.subsampling((feats - self.mean) * self.istd)
        kept, new = state.att.shape[3], x.shape[1]
        before = torch.arange(kept, device=x.device) >= kept - state.cached[:, None]
        chunk = torch.arange(new, device=x.device) < frames[:, None]
        seen = torch.cat([before, chunk], 1)[:, None, None, :]
        return self._encode(x, state, torch.where(seen, 0.0, HIDDEN), adapters)

    def _encode(self, x: Tensor, state: State, mask: Tensor, adapters: Packed | None) -> StepOutput:
        places = self._places(state.offset, x.shape[1])
        x = self._scaled(x, places)
        activations, att_new, conv_new = [x], [], []
        for i, block in enumerate(self.blocks):
            x, att, conv = block(x, places, state.att[:, i], state.conv[:, i], mask, self._bend(adapters, i))
            activations.append(x)
            att_new.append(att)
            conv_new.append(conv)
        log_probs = torch.log_softmax(self.logits(x), -1)
        return StepOutput(log_probs, torch.stack(att_new, 1), torch.stack(conv_new, 1), torch.stack(activations, 1))

    def _scaled(self, x: Tensor, places: Tensor) -> Tensor:
        x = x * math.sqrt(self.spec.width)
        return x + places if self.spec.positions == "absolute" else x

    def _bend(self, adapters: Packed | None, block: int) -> Adapters | None:
        return None if adapters is None else Adapters(self.layout, *(a[:, block] for a in adapters))

    def _mask(self, frames: Tensor, size: int, chunk_frames: int, left_chunks: int) -> Tensor:
        """Make what is added to scores (B, 1, size, size): 0 where a frame sees another."""
        at = torch.arange(size, device=frames.device)
        seen = (at < frames[:, None])[:, None, None, :]
        if chunk_frames:
            ago = at[:, None] // chunk_frames - at // chunk_frames
            seen = seen & (ago >= 0) & ((ago <= left_chunks) | (left_chunks < 0))
        return torch.where(seen, 0.0, HIDDEN).expand(-1, -1, size, -1)

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
