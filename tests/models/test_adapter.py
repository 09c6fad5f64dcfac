"""The table of an adapter's slots; what they do is held by the laws."""

import itertools
from pathlib import Path

import pytest

from myna.models.adapter import AdapterBatch, layout_of
from myna.models.bundle import read_bundle
from tests.support import TINY, TINY_4


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
