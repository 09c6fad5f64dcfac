"""Several processes that train one model (`torchrun`): each hears its own batches, gradients are averaged."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Ranks:
    """How many processes there are, and which this is. Everything is a no-op where it is alone."""

    rank: int = 0
    world: int = 1

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the mean over processes in place of each gradient."""
        slopes = [p.grad for p in parameters if p.grad is not None]
        if self.world == 1 or not slopes:
            return
        flat = torch.cat([slope.flatten() for slope in slopes])
        dist.all_reduce(flat)
        flat /= self.world
        for slope, part in zip(slopes, torch.split(flat, [s.numel() for s in slopes]), strict=True):
            slope.copy_(part.view_as(slope))

    def total(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Sum numbers up over processes."""
        if self.world == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(summed)
        return [float(value) for value in summed]

    def agreed(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return what the first process says, so that all stop at the same step."""
        if self.world == 1:
            return list(values)
        said: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(said, 0)
        return [float(value) for value in said]

    def wait(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def open_ranks(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the processes that torchrun started, if it did; yield them and this one's device (auto, cpu, cuda)."""
    cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(), torch.device(("cuda" if device == "auto" else device) if cuda else "cpu")
        return
    chosen = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), chosen
    finally:
        dist.destroy_process_group()
