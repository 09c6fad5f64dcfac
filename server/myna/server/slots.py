"""The state of all streams between steps, allocated once: what each slot's attention and convolution look back to.

Owned by the engine's thread. A step's caches are copied out into one batch, and only the new frames are written back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myna.models.spec import ModelSpec
from myna.server.outputs import DecodeRequest

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class History:
    """The last `frames` frames of every slot, each slot's always in one piece.

    |<- frames ->|<- frames ->|
    |....aaaaaaaabbbbbb.......|     a view of the last frames ends at `end`; new ones are written there
                      ^ end         at the right edge, the last frames move back to the left one
    """

    def __init__(self, slots: int, lead: tuple[int, ...], frames: int, width: int) -> None:
        self.frames = frames
        self._data = np.zeros((slots, *lead, 2 * frames, width), np.float32)  # untouched pages cost no memory
        self._end = [frames] * slots

    def clear(self, slot: int) -> None:
        """Begin anew: zeros lie before the first frame."""
        self._end[slot] = self.frames
        self._data[slot, ..., : self.frames, :] = 0

    def last(self, slot: int, count: int) -> Floats:
        """View the last `count` frames (*lead, count, width), at most `frames`."""
        end = self._end[slot]
        return self._data[slot, ..., end - count : end, :]

    def append(self, slot: int, new: Floats) -> None:
        """Write frames (*lead, n, width) behind the last ones."""
        new = new[..., max(0, new.shape[-2] - self.frames) :, :]
        end, count = self._end[slot], new.shape[-2]
        if end + count > 2 * self.frames:
            self._data[slot, ..., : self.frames, :] = self._data[slot, ..., end - self.frames : end, :].copy()
            end = self.frames
        self._data[slot, ..., end : end + count, :] = new
        self._end[slot] = end + count


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of one step; see the bundle's contract for `step.onnx`."""

    feats: Floats  # (rows, feature frames, mels), padded on the right
    frames: Ints  # (rows,) valid encoder frames
    offset: Ints  # (rows,) position of the first one
    cached: Ints  # (rows,) valid frames at the end of att
    att: Floats  # (rows, blocks, heads, depth, attention_cache_width)
    conv: Floats  # (rows, blocks, kernel - 1, width)


class Slots:
    """What every stream's next step looks back to."""

    def __init__(self, spec: ModelSpec, slots: int, max_rows: int) -> None:
        self._spec = spec
        self._att = History(slots, (spec.blocks, spec.heads), spec.left_frames, spec.attention_cache_width)
        self._conv = History(slots, (spec.blocks,), spec.kernel - 1, spec.width)
        self._seen_frames = [0] * slots  # of the utterance
        row = spec.blocks * spec.heads * spec.left_frames * spec.attention_cache_width
        self._att_batch = np.zeros(max_rows * row, np.float32)
        self._conv_batch = np.zeros((max_rows, spec.blocks, spec.kernel - 1, spec.width), np.float32)

    def gather(self, slots: Sequence[int], requests: Sequence[DecodeRequest]) -> Batch:
        """Lay out a step with one row for each request. The batch is valid until the next call."""
        spec, rows = self._spec, len(slots)
        seen = [0 if r.first else self._seen_frames[slot] for slot, r in zip(slots, requests, strict=True)]
        cached = [min(n, r.left_frames, spec.left_frames) for n, r in zip(seen, requests, strict=True)]
        depth = max(cached)
        shape = (rows, spec.blocks, spec.heads, depth, spec.attention_cache_width)
        att = self._att_batch[: int(np.prod(shape))].reshape(shape)
        conv = self._conv_batch[:rows]
        feats = np.zeros((rows, max(len(r.feats) for r in requests), spec.features.mels), np.float32)
        for row, (slot, request) in enumerate(zip(slots, requests, strict=True)):
            feats[row, : len(request.feats)] = request.feats
            att[row] = 0 if request.first else self._att.last(slot, depth)
            conv[row] = 0 if request.first else self._conv.last(slot, spec.kernel - 1)
        frames = [r.frames for r in requests]
        offset = [self._position(n, new) for n, new in zip(seen, frames, strict=True)]
        return Batch(feats, _ints(frames), _ints(offset), _ints(cached), att, conv)

    def keep(self, slot: int, request: DecodeRequest, att_new: Floats, conv_new: Floats) -> None:
        """Write what a step made: att_new (blocks, heads, n, …), conv_new (blocks, n, width), n at least the frames."""
        if request.first:
            self._att.clear(slot)
            self._conv.clear(slot)
            self._seen_frames[slot] = 0
        self._att.append(slot, att_new[..., : request.frames, :])
        self._conv.append(slot, conv_new[..., : request.frames, :])
        self._seen_frames[slot] += request.frames

    def _position(self, seen: int, new: int) -> int:
        """Where the next frames stand. Positions end: an utterance longer than that goes on at the last ones."""
        return max(0, min(seen, self._spec.max_positions_frames - new))


def _ints(values: list[int]) -> Ints:
    return np.array(values, np.int64)
