"""One speaker's weights as the step graph takes them: low-rank deltas of the linear maps, and deltas of the norms.

Every block has the same slots. A batch carries, for each row,

    adapter_down   (rows, blocks, sum of inputs, rank)     y + (x @ down) @ up  for each map
    adapter_up     (rows, blocks, rank, sum of outputs)
    adapter_shift  (rows, blocks, 2 * width * norms)       y * (1 + scale) + shift  behind each norm

Zeros, or rank 0, are the base model to the bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myna.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Slot:
    """A linear map of a block, and where its deltas lie in the packed arrays."""

    name: str
    inputs: slice
    outputs: slice


@dataclass(frozen=True, slots=True)
class AdapterLayout:
    """Where the deltas of one block lie."""

    maps: tuple[Slot, ...]
    norms: tuple[str, ...]
    width: int

    @property
    def inputs(self) -> int:
        """Rows of a block's packed down-projections."""
        return int(self.maps[-1].inputs.stop)

    @property
    def outputs(self) -> int:
        """Columns of a block's packed up-projections."""
        return int(self.maps[-1].outputs.stop)

    @property
    def shifts(self) -> int:
        """Numbers of a block's norms."""
        return 2 * self.width * len(self.norms)


def layout_of(spec: ModelSpec) -> AdapterLayout:
    """Lay out the slots of a block, in the order of computation."""
    width, hidden = spec.width, spec.feed_forward
    before = [("ff1.expand", width, hidden), ("ff1.reduce", hidden, width)] if spec.macaron else []
    shapes = [
        *before,
        ("attention.qkv", width, 3 * width),
        ("attention.out", width, width),
        ("conv.expand", width, 2 * width),
        ("conv.reduce", width, width),
        ("ff2.expand", width, hidden),
        ("ff2.reduce", hidden, width),
    ]
    maps: list[Slot] = []
    into = out = 0
    for name, inputs, outputs in shapes:
        maps.append(Slot(name, slice(into, into + inputs), slice(out, out + outputs)))
        into, out = into + inputs, out + outputs
    norms = ("attention.norm", "conv.norm", "ff2.norm", "norm")
    return AdapterLayout(tuple(maps), ("ff1.norm", *norms) if spec.macaron else norms, width)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class AdapterBatch:
    """The adapters of a batch's rows, packed as above; float32."""

    down: NDArray[np.float32]
    up: NDArray[np.float32]
    shift: NDArray[np.float32]

    @classmethod
    def zeros(cls, spec: ModelSpec, rows: int, rank: int = 0) -> "AdapterBatch":
        """Make the identity for so many rows."""
        return cls(*(np.zeros(shape, np.float32) for shape in _shapes(spec, rows, rank)))

    @property
    def rank(self) -> int:
        """Rank of the deltas; those of less are padded with zeros."""
        return int(self.down.shape[3])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.down.nbytes + self.up.nbytes + self.shift.nbytes


class AdapterRoom:
    """Where the adapters of one step after another are laid out; memory is taken for the largest so far, once."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._room = [np.empty(0, np.float32)] * 3

    def join(self, rows: Sequence[AdapterBatch | None]) -> AdapterBatch | None:
        """Make one batch of rows that were packed one by one; None is the base alone, for a row and for all of them.

        What comes out is valid until the next call.
        """
        if not any(rows):
            return None
        if len(rows) == 1:
            return rows[0]
        batch = self._taken(len(rows), max(row.rank for row in rows if row))
        for at, row in enumerate(rows):
            rank = row.rank if row else 0
            batch.down[at, ..., rank:] = 0
            batch.up[at, :, rank:] = 0
            batch.shift[at] = row.shift[0] if row else 0
            if row:
                batch.down[at, ..., :rank] = row.down[0]
                batch.up[at, :, :rank] = row.up[0]
        return batch

    def _taken(self, rows: int, rank: int) -> AdapterBatch:
        shapes = _shapes(self._spec, rows, rank)
        for i, shape in enumerate(shapes):
            if self._room[i].size < math.prod(shape):
                self._room[i] = np.empty(math.prod(shape), np.float32)
        return AdapterBatch(
            *(room[: math.prod(shape)].reshape(shape) for room, shape in zip(self._room, shapes, strict=True))
        )


def _shapes(spec: ModelSpec, rows: int, rank: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a batch's arrays."""
    layout = layout_of(spec)
    return (
        (rows, spec.blocks, layout.inputs, rank),
        (rows, spec.blocks, rank, layout.outputs),
        (rows, spec.blocks, layout.shifts),
    )
