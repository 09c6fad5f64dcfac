"""Denormals count as zero while asked for, and no longer."""

import sys

import pytest

pytest.importorskip("torch", reason="needs the extra `adapt`")

import torch

from myna.adapt.denormals import flushed_denormals


def halves() -> tuple[float, float]:
    """Halve the smallest normal numbers, by Python and by torch."""
    smallest = torch.full((64,), torch.finfo(torch.float32).tiny)
    return sys.float_info.min / 2, float((smallest / 2).max())


def test_they_are_zero_within_and_as_before_behind() -> None:
    if not torch.set_flush_denormal(False):
        pytest.skip("this CPU can't flush denormals")
    before = halves()
    assert min(before) > 0
    with flushed_denormals():
        assert halves() == (0, 0)
        with flushed_denormals():
            assert halves() == (0, 0)
        assert halves() == (0, 0)
    assert halves() == before


def test_an_error_leaves_nothing_changed() -> None:
    before = halves()
    with pytest.raises(ValueError, match="broken"), flushed_denormals():
        raise ValueError("broken")
    assert halves() == before
