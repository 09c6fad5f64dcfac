"""One speaker's adapter on disk: a safetensors file of what differs from the base, in float16, known by its hash.

    ff1.expand.3.down   (inputs, rank)     low-rank delta of a linear map of block 3
    ff1.expand.3.up     (rank, outputs)
    ff1.norm.3.gain     (width,)           gain and shift behind a norm of block 3
    ff1.norm.3.shift    (width,)

What is not there is zero. The metadata name the format and the base: the sha256 of its `step.onnx`, for no other graph
is bent right.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from myna.models.adapter import AdapterBatch, layout_of
from myna.models.errors import MynaError
from myna.models.spec import ModelSpec

FORMAT = "myna-adapter-1"  # the metadata's one key, for several come in any order; its value is the base
MOST_BYTES = 64 << 20
MOST_RANK = 64  # packed, one map of a high rank makes all maps of all blocks as large

Half = NDArray[np.float16]


class AdapterError(MynaError):
    """An adapter that can't be used; says why."""

    code = "bad_adapter"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What differs from the base, by name as above."""

    base: str  # sha256 of the base's step.onnx
    parts: Mapping[str, Half]

    @property
    def rank(self) -> int:
        """The largest rank of its deltas."""
        return max((part.shape[1] for name, part in self.parts.items() if name.endswith(".down")), default=0)

    def packed(self, spec: ModelSpec) -> AdapterBatch:
        """Lay it out as the one row of a batch: what a step takes without further work."""
        batch = AdapterBatch.zeros(spec, 1, self.rank)
        self.put(batch, 0, spec)
        return batch

    def put(self, batch: AdapterBatch, row: int, spec: ModelSpec) -> None:
        """Write it into a row of zeros of a batch, whose rank is at least this one's."""
        layout = layout_of(spec)
        maps = {slot.name: slot for slot in layout.maps}
        norms = {name: 2 * layout.width * i for i, name in enumerate(layout.norms)}
        for name, part in self.parts.items():
            where, block, kind = name.rsplit(".", 2)
            match kind:
                case "down":
                    batch.down[row, int(block), maps[where].inputs, : part.shape[1]] = part
                case "up":
                    batch.up[row, int(block), : len(part), maps[where].outputs] = part
                case _:
                    at = norms[where] + (layout.width if kind == "shift" else 0)
                    batch.shift[row, int(block), at : at + layout.width] = part


def adapter_bytes(adapter: Adapter) -> bytes:
    """Write an adapter; the same adapter gives the same bytes."""
    parts = {name: np.ascontiguousarray(adapter.parts[name]) for name in sorted(adapter.parts)}
    return save(parts, {FORMAT: adapter.base})


def version_of(content: bytes) -> str:
    """Return the version by which a file is known: the beginning of its sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


def read_adapter(content: bytes, spec: ModelSpec, base: str) -> Adapter:
    """Read what `adapter_bytes` wrote. Raises AdapterError where it is damaged, or made for another base."""
    if len(content) > MOST_BYTES:
        raise AdapterError(f"the adapter has {len(content)} bytes; {MOST_BYTES} are the most")
    try:
        metadata = _metadata(content)
        parts: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"the adapter is damaged ({error})") from None
    if FORMAT not in metadata:
        raise AdapterError("the file holds no adapter of this version of Myna")
    if metadata[FORMAT] != base:
        raise AdapterError("the adapter was made for another version of the model; adapt again")
    wanted = _shapes(spec)
    for name, part in parts.items():
        shape = wanted.get(name)
        if shape is None or part.dtype != np.float16 or not _fits(part.shape, shape):
            raise AdapterError(f"the adapter is damaged: {name[:80]} has no place in this model")
        if not np.isfinite(part).all():
            raise AdapterError(f"the adapter is damaged: {name} holds numbers that are not finite")
    ranks = {name.rpartition(".")[0]: set[int]() for name in parts if name.endswith((".down", ".up"))}
    for name, part in parts.items():
        stem, _, kind = name.rpartition(".")
        if kind in ("down", "up"):
            ranks[stem].add(part.shape[1 if kind == "down" else 0])
    broken = [s for s, found in ranks.items() if len(found) != 1 or not {f"{s}.down", f"{s}.up"} <= parts.keys()]
    if broken:
        raise AdapterError(f"the adapter is damaged: {broken[0]} lacks a half, or its halves differ in rank")
    adapter = Adapter(base, parts)
    if adapter.rank > MOST_RANK:
        raise AdapterError(f"the adapter has deltas of rank {adapter.rank}; {MOST_RANK} is the most")
    return adapter


def _metadata(content: bytes) -> dict[str, str]:
    """Read the header's metadata, which the numpy reader leaves out (safetensors: format, section 1)."""
    size = int.from_bytes(content[:8], "little")
    if size > len(content):
        raise ValueError("it is cut off")
    found: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return found


def _shapes(spec: ModelSpec) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes by name; None is the rank."""
    layout, shapes = layout_of(spec), dict[str, tuple[int | None, ...]]()
    for block in range(spec.blocks):
        for slot in layout.maps:
            shapes[f"{slot.name}.{block}.down"] = (slot.inputs.stop - slot.inputs.start, None)
            shapes[f"{slot.name}.{block}.up"] = (None, slot.outputs.stop - slot.outputs.start)
        for norm in layout.norms:
            shapes[f"{norm}.{block}.gain"] = shapes[f"{norm}.{block}.shift"] = (layout.width,)
    return shapes


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))
