"""The table of an adapter's slots; what they do is held by the laws."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from myna.models.adapter import AdapterBatch, AdapterRoom, layout_of
from myna.models.bundle import read_bundle
from tests.support import TINY, TINY_4

SPEC = read_bundle(TINY).spec


@pytest.mark.parametrize("path", [TINY, TINY_4])
def test_slots_lie_side_by_side_and_fill_the_arrays(path: Path) -> None:
    spec = read_bundle(path).spec
    layout = layout_of(spec)
    for axis in ("inputs", "outputs"):
        spans = [getattr(slot, axis) for slot in layout.maps]
        assert spans[0].start == 0
        assert all(a.stop == b.start for a, b in itertools.pairwise(spans))
    assert len({slot.name for slot in layout.maps}) == len(layout.maps) == (8 if spec.macaron else 6)
    zeros = AdapterBatch.zeros(spec, rows=3, rank=2)
    assert zeros.down.shape == (3, spec.blocks, layout.inputs, 2)
    assert zeros.up.shape == (3, spec.blocks, 2, layout.outputs)
    assert zeros.shift.shape == (3, spec.blocks, 2 * spec.width * (5 if spec.macaron else 4))
    assert (zeros.rank, zeros.nbytes) == (2, 4 * (zeros.down.size + zeros.up.size + zeros.shift.size))


def filled(rank: int, value: float) -> AdapterBatch:
    batch = AdapterBatch.zeros(SPEC, 1, rank)
    for array in (batch.down, batch.up, batch.shift):
        array[:] = value
    return batch


def test_a_step_finds_nothing_of_the_one_before() -> None:
    room = AdapterRoom(SPEC)
    room.join([filled(5, 9.0)] * 4)
    rows = [filled(2, 1.0), None, filled(3, 2.0), filled(0, 3.0)]
    joined = room.join(rows)
    assert joined is not None
    assert (len(joined.down), joined.rank) == (4, 3)
    for at, row in enumerate(rows):
        rank = row.rank if row else 0
        for array, own in ((joined.down[at], rank), (joined.up[at].swapaxes(-1, -2), rank)):
            assert not array[..., own:].any()
            assert (array[..., :own] == at / 2 + 1).all()
        assert (joined.shift[at] == (row.shift[0] if row else 0)).all()


def test_what_need_not_be_copied_is_not() -> None:
    room, row = AdapterRoom(SPEC), filled(2, 1.0)
    assert room.join([None, None]) is None
    assert room.join([row]) is row
    first, second = room.join([row, row]), room.join([row, None])
    assert first is not None
    assert second is not None
    assert np.shares_memory(first.down, second.down)
