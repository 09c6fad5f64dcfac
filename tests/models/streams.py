"""Streams over a step: ONNX Runtime's, or PyTorch's behind the same interface."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from myna.models.adapter import AdapterBatch
from myna.models.bundle import Bundle
from myna.models.nn.conformer import Conformer, State
from myna.models.nn.export import read_step
from myna.models.runtime import Step
from myna.models.spec import ModelSpec

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


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
