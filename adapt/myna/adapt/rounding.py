"""Training with the rounding in it: forward and backward see rounded weights, steps move the weights themselves.

(Straight-through: Bengio et al. 2013; of weights alone: Courbariaux et al. 2015.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from myna.models.nn.layers import Linear
from myna.models.nn.quantize import Rounding, rounding_of


class Rounder:
    """Rounds a model's matrices as its bundle will be; adapters stay as they are."""

    def __init__(self, model: nn.Module, precision: Literal["int8", "int4"]) -> None:
        maps = {f"{name}.weight": m.weight for name, m in model.named_modules() if isinstance(m, Linear)}
        roundings = {name: rounding_of(precision, name) for name in maps}
        self._rounded = [(maps[name], r) for name, r in roundings.items() if len(maps[name]) >= r.block]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have rounded weights in the place of the real ones; gradients taken meanwhile are the real ones' after."""
        before = [weight.data for weight, _ in self._rounded]
        self.round()
        try:
            yield
        finally:
            for (weight, _), value in zip(self._rounded, before, strict=True):
                weight.data = value

    @torch.no_grad()
    def round(self) -> None:
        """Round for good: what `quantize` then makes of the model differs by floating point alone."""
        for weight, rounding in self._rounded:
            weight.data = nearest(weight.data, rounding)


def nearest(weight: Tensor, rounding: Rounding) -> Tensor:
    """Round a weight (inputs, outputs) as `round_to_nearest` does; return it at its size."""
    inputs, outputs = weight.shape
    half = 1 << (rounding.bits - 1)
    blocks = F.pad(weight, (0, 0, 0, -inputs % rounding.block)).view(-1, rounding.block, outputs)
    high, low = blocks.amax(1, keepdim=True), blocks.amin(1, keepdim=True)
    extreme = torch.where(high > -low, high, low)
    scale = torch.where(extreme == 0, 1.0, extreme / -half)
    rounded = (blocks / scale).round_().clamp_(-half, half - 1).mul_(scale)
    return rounded.view(-1, outputs)[:inputs].contiguous()
