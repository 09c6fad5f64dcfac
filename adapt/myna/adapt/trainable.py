"""Which parameters move and how fast; the others are left out of gradients and optimiser: the same to the bit."""

import re
from dataclasses import dataclass

import torch
from torch import nn

from myna.adapt.deltas import Deltas
from myna.adapt.recipe import OptimiserSettings, RecipeError, TrainableSettings
from myna.models.nn.conformer import Conformer

HEAD = ("head.", "norm.")  # the output layer and the norm before it


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters of one rate, depth and weight decay."""

    names: tuple[str, ...]
    factor: float  # of the rate
    depth: int  # 0 is the head, then blocks from the top, then the subsampling
    decays: bool


class Trainable:
    """What of a model, and of adapters beside it, moves. Raises RecipeError where nothing would.

    moving: parameters by name, all that a run changes; groups: the same by rate and depth.
    """

    def __init__(self, model: Conformer, settings: TrainableSettings) -> None:
        self._blocks, self._settings = len(model.blocks), settings
        self.deltas: Deltas | None = None
        if settings.mode in ("lora", "norms", "adapters"):
            self.deltas = Deltas(model.spec, settings.mode, settings.rank, settings.top_blocks)
            self.deltas.to(model.mean.device)
        known = dict(model.named_parameters()) | (dict(self.deltas.named()) if self.deltas else {})
        for field in ("train", "freeze", "rates"):
            for pattern in getattr(settings, field):
                if not any(re.search(pattern, name) for name in known):
                    raise RecipeError(f"trainable.{field}: {pattern} fits no name; they look like {next(iter(known))}")
        self.moving = {name: p for name, p in known.items() if self._moves(name) and self.factor(name)}
        for name, parameter in known.items():
            parameter.requires_grad_(name in self.moving)
        if not self.moving:
            raise RecipeError("trainable: nothing moves; choose another mode, with_head or train")
        self.groups = self._grouped()

    def _moves(self, name: str) -> bool:
        settings = self._settings
        if any(re.search(pattern, name) for pattern in settings.freeze):
            return False
        if any(re.search(pattern, name) for pattern in settings.train) or name.startswith("adapters."):
            return True
        if name.startswith(HEAD):
            return settings.mode in ("all", "top") if settings.with_head is None else settings.with_head
        return settings.mode == "all" or (
            settings.mode == "top" and name.startswith("blocks.") and self.depth(name) <= settings.top_blocks
        )

    def depth(self, name: str) -> int:
        """Count from the head down: 0 the head, 1 the last block, last of all the subsampling."""
        if name.startswith(HEAD):
            return 0
        kind, _, rest = name.partition(".")
        return self._blocks + 1 if kind == "subsampling" else self._blocks - int(rest.partition(".")[0])

    def factor(self, name: str) -> float:
        """Return the factor of the rate: by pattern, times layer_decay ** depth (as in ELECTRA: Clark et al. 2020)."""
        factors = (factor for pattern, factor in self._settings.rates.items() if re.search(pattern, name))
        return next(factors, 1.0) * float(self._settings.layer_decay ** self.depth(name))

    def _grouped(self) -> list[Group]:
        groups: dict[tuple[float, int, bool], list[str]] = {}
        for name, parameter in self.moving.items():
            groups.setdefault(
                (self.factor(name), self.depth(name), parameter.dim() > 1 and "bias" not in name), []
            ).append(name)
        return [Group(tuple(names), *key) for key, names in sorted(groups.items(), key=lambda item: item[0][1])]

    def thaw(self, step: int) -> None:
        """Let the depths move whose time has come at a step (gradual unfreezing: Howard, Ruder 2018, section 3.3)."""
        every = self._settings.unfreeze_every_steps
        if not every:
            return
        shallowest = self.groups[0].depth
        for group in self.groups:
            for name in group.names:
                self.moving[name].requires_grad_(group.depth - shallowest <= step // every)


def make_optimiser(trainable: Trainable, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Make the optimiser of what moves, a group of its for each of `trainable.groups`, in their order."""
    groups = [
        {
            "params": [trainable.moving[name] for name in group.names],
            "weight_decay": settings.weight_decay if group.decays else 0.0,
        }
        for group in trainable.groups
    ]
    match settings.kind:
        case "adamw":
            return torch.optim.AdamW(groups, settings.rate, settings.betas, fused=True)
        case "adam":
            return torch.optim.Adam(groups, settings.rate, settings.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, settings.rate, settings.momentum)


def set_rates(optimiser: torch.optim.Optimizer, trainable: Trainable, rate: float) -> None:
    """Set each group's rate: its factor of `rate`."""
    for held, group in zip(optimiser.param_groups, trainable.groups, strict=True):
        held["lr"] = rate * group.factor


def clip(parameters: list[nn.Parameter], settings: OptimiserSettings) -> None:
    """Bound the gradients by value or by their norm, as the settings say."""
    if settings.clip_value:
        nn.utils.clip_grad_value_(parameters, settings.clip_value)
    elif settings.clip_norm:
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
