"""The token table: ids to text and back, and where words begin."""

from collections.abc import Sequence
from pathlib import Path

from myna.models.errors import BundleError

BOUNDARY = "▁"
# Scripts written without spaces: a character is a word of its own (CJK ideographs, kana, and their extensions).
_UNSPACED = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))


def is_unspaced(character: str) -> bool:
    """Tell whether the character belongs to a script written without spaces."""
    return any(low <= ord(character) <= high for low, high in _UNSPACED)


class TokenTable:
    """Units by id. `<…>` units are silent; `▁` stands before a word; text comes out in lower case."""

    def __init__(self, units: Sequence[str], blank_id: int = 0, costs: Sequence[float] | None = None) -> None:
        """Take units, and what each costs to spell with: above 0, all alike if left out."""
        self.units = tuple(units)
        self.blank_id = blank_id
        self._silent = frozenset(i for i, u in enumerate(units) if u.startswith("<") and u.endswith(">"))
        priced = sorted(zip(costs or [1.0] * len(units), range(len(units)), strict=True), reverse=True)
        self._priced = {units[i].lower(): (cost, i) for cost, i in priced if i not in self._silent}  # the cheapest
        self._longest = max(map(len, units), default=1)

    def text(self, ids: Sequence[int]) -> str:
        """Join units; a longer sequence's text begins with a shorter one's."""
        joined = "".join(self.units[i] for i in ids if i not in self._silent)
        return joined.replace(BOUNDARY, " ").strip(" ").lower()

    def starts_word(self, token_id: int) -> bool:
        """Tell whether a word begins with this token."""
        unit = self.units[token_id]
        return unit.startswith(BOUNDARY) or (token_id not in self._silent and is_unspaced(unit[0]))

    def encode(self, text: str) -> list[int] | None:
        """Spell text as cheaply as can be, so in the fewest units where all cost alike; None where it can't be."""
        ids: list[int] = []
        for word in text.lower().split():
            spelt = self._spell(word)
            if spelt is None:
                return None
            ids += spelt
        return ids

    def _spell(self, word: str) -> list[int] | None:
        marked = word if is_unspaced(word[0]) else BOUNDARY + word
        best: list[tuple[float, list[int]] | None] = [(0.0, []), *[None] * len(marked)]
        for start in range(len(marked)):
            before = best[start]
            if before is None:
                continue
            for end in range(start + 1, min(len(marked), start + self._longest) + 1):
                priced, there = self._priced.get(marked[start:end]), best[end]
                if priced is not None and (there is None or before[0] + priced[0] < there[0]):
                    best[end] = (before[0] + priced[0], [*before[1], priced[1]])
        last = best[-1]
        return None if last is None else last[1]


def read_units(path: Path) -> list[str]:
    """Read `unit id` lines, ids in order from 0, as WeNet and sherpa write them. Raises BundleError."""
    units: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        unit, _, index = line.rpartition(" ")
        if index != str(number):
            raise BundleError(f"{path.name}: line {number + 1} must be a unit and the id {number}")
        units.append(unit or " ")
    return units
