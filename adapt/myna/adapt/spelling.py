"""How a trained model spells: of all splits of a word into units, the likeliest as its output layer sees units.

A model trained on one split of a word, say by a BPE that is not to be had any more, pays dearly for targets in another:
fewest units are it nearly always, but a few words in a hundred then have most of the loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from myna.models.tokens import BOUNDARY, TokenTable, is_unspaced

UNIT_COST = 8.0  # nats of a unit of mean frequency; so fewer units come first
BIAS_SHARE = 0.6  # of the bias that tells how frequent a unit is


class Spelling(TokenTable):
    """A token table that spells by the biases (vocabulary) of a trained output layer."""

    def __init__(self, units: Sequence[str], blank_id: int, bias: Tensor) -> None:
        super().__init__(units, blank_id)
        centred = bias.detach().double().cpu() - bias.detach().double().mean().cpu()
        costs = torch.clamp(UNIT_COST - BIAS_SHARE * centred, min=0.1).tolist()
        self._costs: dict[str, tuple[float, int]] = {}
        for index, (unit, cost) in enumerate(zip(units, costs, strict=True)):
            silent = unit.startswith("<") and unit.endswith(">")
            if not silent and (cost, index) < self._costs.get(unit.lower(), (float("inf"), 0)):
                self._costs[unit.lower()] = cost, index
        self._most = max(map(len, self._costs), default=1)
        self._spelt: dict[str, tuple[int, ...] | None] = {}

    def encode(self, text: str) -> list[int] | None:
        """Spell text in the likeliest way, or None where it can't be spelt."""
        ids: list[int] = []
        for word in text.lower().split():
            if word not in self._spelt:
                self._spelt[word] = self._likeliest(word if is_unspaced(word[0]) else BOUNDARY + word)
            spelt = self._spelt[word]
            if spelt is None:
                return None
            ids += spelt
        return ids

    def _likeliest(self, marked: str) -> tuple[int, ...] | None:
        best: list[tuple[float, tuple[int, ...]] | None] = [(0.0, ()), *[None] * len(marked)]
        for start in range(len(marked)):
            before = best[start]
            if before is None:
                continue
            for end in range(start + 1, min(len(marked), start + self._most) + 1):
                unit = self._costs.get(marked[start:end])
                there = best[end]
                if unit is not None and (there is None or before[0] + unit[0] < there[0]):
                    best[end] = before[0] + unit[0], (*before[1], unit[1])
        last = best[-1]
        return None if last is None else last[1]
