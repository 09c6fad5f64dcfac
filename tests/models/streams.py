"""Streams over a step: ONNX Runtime's, or PyTorch's behind the same interface."""

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from myna.models.adapter import AdapterBatch
from myna.models.bundle import Bundle
from myna.models.nn.conformer import Conformer, State, StepOutput
from myna.models.nn.export import read_step
from myna.models.runtime import Step
from myna.models.spec import ModelSpec

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def small_spec(**chosen: object) -> ModelSpec:
    """Make the spec of a conformer so small that a test can run hundreds of them."""
    sizes = {"blocks": 2, "heads": 2, "width": 8, "feed_forward": 12, "kernel": 3, "vocabulary": 7}
    chunks = {"chunk_frames": 4, "chunk_choices_frames": (4,), "left_frames": 8}
    return ModelSpec.model_validate({"features": {"mels": 16}, "subsampling": 6} | sizes | chunks | chosen)


def seen_by(sizes: Sequence[int], left_chunks: int = -1) -> torch.Tensor:
    """Mask (T, T) of which frames a frame sees, in chunks of these sizes; a negative `left_chunks` is all before."""
    chunk = torch.repeat_interleave(torch.tensor(sizes))
    ago = chunk[:, None] - chunk
    return (ago >= 0) & ((ago <= left_chunks) | (left_chunks < 0))


class Stepper(Protocol):
    """What `Runtime` offers."""

    spec: ModelSpec

    def step(
        self, feats: Floats, frames: Ints, offset: Ints, cached: Ints, att_cache: Floats, conv_cache: Floats, /
    ) -> Step: ...


class TorchRuntime:
    """A PyTorch model behind the interface of `Runtime`."""

    def __init__(self, model: Conformer) -> None:
        self.model, self.spec = model.eval(), model.spec

    @torch.no_grad()
    def step(
        self,
        feats: Floats,
        frames: Ints,
        offset: Ints,
        cached: Ints,
        att_cache: Floats,
        conv_cache: Floats,
        adapters: AdapterBatch | None = None,
    ) -> Step:
        state = State(*(torch.from_numpy(a) for a in (offset, cached, att_cache, conv_cache)))
        bend = None
        if adapters is not None:
            bend = torch.from_numpy(adapters.down), torch.from_numpy(adapters.up), torch.from_numpy(adapters.shift)
        return Step(
            *(t.numpy() for t in self.model.step(torch.from_numpy(feats), torch.from_numpy(frames), state, bend))
        )


def model_of(bundle: Bundle) -> Conformer:
    """Rebuild the PyTorch model from the initialisers of the bundle's graph, which bear the parameters' names."""
    return read_step(bundle.step_path, bundle.spec)


def whole(model: Conformer, feats: Floats, chunk_frames: int = 0, left_chunks: int = -1, offset: int = 0) -> Floats:
    """Log-probs (T, vocabulary) of feats (M, mels) by the masked forward."""
    frames = torch.tensor([model.spec.frames_ready(len(feats))])
    with torch.no_grad():
        log_probs: torch.Tensor = model(torch.from_numpy(feats)[None], frames, chunk_frames, left_chunks, offset)
    return np.asarray(log_probs[0])


def fresh(model: Conformer, rows: int = 1, depth: int = 0) -> State:
    """Make the state of streams that have heard nothing, with a cache so deep."""
    spec, kind = model.spec, model.mean.dtype
    none = torch.zeros(rows, dtype=torch.int64)
    att = torch.zeros(rows, spec.blocks, spec.heads, depth, spec.attention_cache_width, dtype=kind)
    return State(none, none, att, torch.zeros(rows, spec.blocks, spec.kernel - 1, spec.width, dtype=kind))


def walk(
    model: Conformer, feats: torch.Tensor, sizes: Sequence[int], left_chunks: int = -1, starts: Sequence[int] = ()
) -> list[StepOutput]:
    """Hear feats (1, M, mels) in chunks of any sizes, at the positions `starts` or else one behind the other.

    The cache is never cut: `cached` alone keeps frames before `left_chunks` from being heard.
    """
    spec, said, at = model.spec, list[StepOutput](), 0
    _, _, att, conv = fresh(model)
    for number, start in enumerate(starts or list(itertools.accumulate(sizes[:-1], initial=0))):
        size = sizes[number]
        part = feats[:, at * spec.subsampling :][:, : spec.features_needed(size)]
        kept = sum(sizes[max(0, number - left_chunks) : number]) if left_chunks >= 0 else at
        step = model.step(part, torch.tensor([size]), State(torch.tensor([start]), torch.tensor([kept]), att, conv))
        att = torch.cat([att, step.att_new], 3)
        conv = torch.cat([conv, step.conv_new], 2)[:, :, size:]
        said.append(step)
        at += size
    return said


def sinusoids(positions: torch.Tensor, width: int) -> torch.Tensor:
    """sin(p / 10000^(2i/width)) and the cosine beside it (Vaswani et al. 2017): positions (T,) -> (T, width)."""
    angle = positions[:, None].double() / 10000 ** (torch.arange(0, width, 2).double() / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def stream(runtime: Stepper, feats: Floats, chunk_frames: int, left_frames: int, offset: int = 0) -> Floats:
    """Log-probs (T, vocabulary) of feats (M, mels), chunk by chunk; a negative `left_frames` keeps everything."""
    spec = runtime.spec
    att, conv = empty_caches(spec, 1)
    total, at, said = spec.frames_ready(len(feats)), 0, []
    while at < total:
        frames = min(chunk_frames, total - at)
        part = feats[at * spec.subsampling :][: spec.features_needed(frames)]
        cached = att.shape[3]
        step = runtime.step(part[None], ints(frames), ints(offset + at), ints(cached), att, conv)
        att = np.concatenate([att, step.att_new], 3)
        att = att[:, :, :, max(0, att.shape[3] - left_frames) if left_frames >= 0 else 0 :]
        conv = np.concatenate([conv, step.conv_new], 2)[:, :, step.conv_new.shape[2] :]
        said.append(step.log_probs[0])
        at += frames
    return np.concatenate(said)


def empty_caches(spec: ModelSpec, rows: int, frames: int = 0) -> tuple[Floats, Floats]:
    """Make the caches of fresh streams."""
    att = np.zeros((rows, spec.blocks, spec.heads, frames, spec.attention_cache_width), np.float32)
    return att, np.zeros((rows, spec.blocks, spec.kernel - 1, spec.width), np.float32)


def ints(*values: int) -> Ints:
    return np.array(values, np.int64)


def speech_like(spec: ModelSpec, frames: int, seed: int) -> Floats:
    """Random features (M, mels) that make so many encoder frames and perhaps a few features more."""
    rng = np.random.default_rng(seed)
    count = spec.features_needed(frames) + int(rng.integers(spec.subsampling))
    return rng.normal(10, 3, (count, spec.features.mels)).astype(np.float32)
