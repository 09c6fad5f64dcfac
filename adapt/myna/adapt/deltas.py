"""Adapters as parameters: low-rank deltas of the linear maps (LoRA: Hu et al. 2021), gains and shifts of the norms."""

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from myna.models.adapter import layout_of
from myna.models.adapter_file import Adapter
from myna.models.nn.conformer import Conformer, Packed
from myna.models.spec import ModelSpec

Kind = Literal["lora", "norms", "adapters"]


class Deltas(nn.Module):
    """The adapters of one row for all; `myna.models.adapter` has their layout. New ones change nothing.

    rank: of the low-rank deltas; top_blocks: how many blocks from the top have any, 0 is all.
    """

    def __init__(self, spec: ModelSpec, kind: Kind, rank: int, top_blocks: int = 0) -> None:
        super().__init__()
        self.spec, self.layout = spec, layout_of(spec)
        self.rank = 0 if kind == "norms" else rank
        first = max(0, spec.blocks - top_blocks) if top_blocks else 0
        self.bent = range(first, spec.blocks)
        self.down, self.up, self.shift = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for block in map(str, self.bent):
            if self.rank:
                # As `Linear` begins, so that x @ down is as large as x; up is zero.
                down = [torch.empty(s.inputs.stop - s.inputs.start, rank) for s in self.layout.maps]
                self.down[block] = torch.cat([part.uniform_(-1, 1) / len(part) ** 0.5 for part in down])
                self.up[block] = torch.zeros(rank, self.layout.outputs)
            if kind != "lora":
                self.shift[block] = torch.zeros(self.layout.shifts)

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters under names like those of the model: `adapters.3.down`."""
        for kind, held in (("down", self.down), ("up", self.up), ("shift", self.shift)):
            for block, parameter in held.items():
                yield f"adapters.{block}.{kind}", parameter

    def packed(self) -> Packed:
        """Pack them as the step takes them: (1, blocks, I, r), (1, blocks, r, O), (1, blocks, S)."""
        layout = self.layout
        shapes = ((layout.inputs, self.rank), (self.rank, layout.outputs), (layout.shifts,))
        down, up, shift = map(self._stacked, (self.down, self.up, self.shift), shapes)
        return down, up, shift

    def _stacked(self, held: nn.ParameterDict, shape: tuple[int, ...]) -> Tensor:
        some = next((p for _, p in self.named()), None)
        zeros = torch.zeros(shape, device=None if some is None else some.device)
        return torch.stack([held.get(str(i), zeros) for i in range(self.spec.blocks)])[None]

    @classmethod
    @torch.no_grad()
    def mean(cls, several: Sequence["Deltas"]) -> "Deltas":
        """Average deltas of the same shapes; of low-rank ones their halves, which began alike."""
        made = copy.deepcopy(several[0])
        for parameter, *others in zip(made.parameters(), *(one.parameters() for one in several[1:]), strict=True):
            parameter.copy_(torch.stack([parameter, *others]).mean(0))
        return made

    @torch.no_grad()
    def scaled(self, strength: float) -> "Deltas":
        """Make the same at a share of their strength: 1 as they are, 0 nothing."""
        made = copy.deepcopy(self)
        for name, parameter in made.named():
            if not name.endswith("down"):
                parameter.mul_(strength)
        return made

    @torch.no_grad()
    def adapter(self, base: str) -> Adapter:
        """Write them as a file holds them, in float16; `base` is the hash of the graph they bend."""
        parts, width = dict[str, Tensor](), self.layout.width
        for block, down in self.down.items():
            for slot in self.layout.maps:
                parts[f"{slot.name}.{block}.down"] = down[slot.inputs]
                parts[f"{slot.name}.{block}.up"] = self.up[block][:, slot.outputs]
        for block, shift in self.shift.items():
            for i, name in enumerate(self.layout.norms):
                parts[f"{name}.{block}.gain"], parts[f"{name}.{block}.shift"] = shift.view(-1, 2, width)[i]
        return Adapter(base, {name: part.half().numpy() for name, part in parts.items()})

    @torch.no_grad()
    def fold(self, model: Conformer) -> None:
        """Put them into the weights of a model, which then says the same without."""
        down, up, shift = (part[0] for part in self.packed())
        for i, block in enumerate(model.blocks):
            for slot in self.layout.maps:
                block.get_parameter(f"{slot.name}.weight").add_(down[i, slot.inputs] @ up[i][:, slot.outputs])
            gains = shift[i].view(len(self.layout.norms), 2, self.spec.width)
            for name, (gain, offset) in zip(self.layout.norms, gains, strict=True):
                block.get_parameter(f"{name}.weight").mul_(1 + gain)
                block.get_parameter(f"{name}.bias").mul_(1 + gain).add_(offset)
