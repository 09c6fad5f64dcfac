"""What a run can go on from: written whole or not at all, read without unpickling anything but tensors and numbers."""

import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from myna.models.errors import MynaError

FORMAT = 1


class CheckpointError(MynaError):
    """A checkpoint that can't be gone on from; names the file and the remedy."""

    code = "bad_checkpoint"


@dataclass(slots=True)
class Checkpoint:
    """The state of a run between two steps. No generator is in it: all chance is made anew from seed and step."""

    recipe: str  # what of the recipe must be the same to go on
    weights: dict[str, Tensor]  # of what moves
    optimiser: dict[str, Any]
    ema: dict[str, Tensor]
    step: int = 0
    epoch: int = 0
    position: int = 0  # batches of the epoch that were taken, by all ranks
    count: int = 1  # batches of the epoch
    trained_s: float = 0.0
    heard_s: float = 0.0  # audio
    wers: dict[int, float] = field(default_factory=dict)  # by step; of step 0 before training
    format: int = FORMAT


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically."""
    _save(path, {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read. Raises CheckpointError where it is damaged or of another version."""
    values = _load(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT or set(values) != set(_names()):
        raise CheckpointError(f"{path}: is of another version; begin anew with --no-resume")
    return Checkpoint(**values)


def _names() -> list[str]:
    return [f.name for f in fields(Checkpoint)]


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write tensors atomically."""
    _save(path, dict(weights))


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Average tensors of the same names over files (Vaswani et al. 2017, section 6.1); one file's stay as they are."""
    if not paths:
        raise CheckpointError("average: there are no weights to average")
    if len(paths) == 1:
        loaded: dict[str, Tensor] = _load(paths[0])
        return loaded
    sums: dict[str, Tensor] = {}
    for path in paths:
        for name, value in _load(path).items():
            sums[name] = sums[name].add_(value) if name in sums else value.double()
    return {name: (value / len(paths)).float() for name, value in sums.items()}


def remove_but(folder: Path, kept: Iterable[Path]) -> None:
    """Remove the weights of a folder that are not among the kept."""
    for path in set(folder.glob("*.pt")) - set(kept):
        path.unlink()


def _save(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb") as file:
        torch.save(values, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing") from None
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError):
        raise CheckpointError(f"{path}: is damaged; begin anew with --no-resume") from None
