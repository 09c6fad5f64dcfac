"""A smaller model out of a trained one: what matters least, measured on speech, is left out. It wants training after.

Blocks go by how little they turn what passes through (Men et al. 2024, "ShortGPT", section 3.1); neurons of
feed-forward parts and channels of the subsampling by how much they add to what follows: mean square of the activation
times the squared norm of its outgoing weights.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from myna.models.errors import ImportFailed
from myna.models.nn.conformer import Conformer
from myna.models.spec import ModelSpec


@dataclass(slots=True)
class Importance:
    """What was measured; higher matters more."""

    blocks: Tensor  # (blocks,)
    neurons: dict[str, Tensor]  # of a feed-forward part, by its name: (feed_forward,)
    channels: list[Tensor]  # of each convolution of the subsampling: (channels,)


@dataclass(slots=True)
class _Sums:
    squares: dict[str, Tensor] = field(default_factory=dict)
    turns: dict[str, Tensor] = field(default_factory=dict)
    frames: int = 0

    def square(self, name: str, x: Tensor) -> None:
        total = x.flatten(0, -2).square().sum(0)
        self.squares[name] = self.squares[name] + total if name in self.squares else total


def importance(model: Conformer, utterances: Iterable[NDArray[np.float32]]) -> Importance:
    """Listen to speech in the chunks served; utterances: features (M, mels) each. Raises ImportFailed without any."""
    spec, sums = model.spec, _Sums()
    handles = [_listen(name, module, sums) for name, module in model.named_modules() if _is_heard(name)]
    with torch.no_grad():
        for feats in utterances:
            if (frames := spec.frames_ready(len(feats))) > 0:
                left_chunks = spec.left_frames // spec.chunk_frames
                model(torch.from_numpy(feats)[None], torch.tensor([frames]), spec.chunk_frames, left_chunks)
                sums.frames += frames
    for handle in handles:
        handle.remove()
    if not sums.frames:
        raise ImportFailed("shrink: there is no speech to hear; name clips as long as a word at least")
    state = model.state_dict()
    outgoing = {name: state[f"{name}.weight"].square().sum(1) for name in sums.squares if name.endswith(".reduce")}
    neurons = {name.removesuffix(".reduce"): sums.squares[name] * norms for name, norms in outgoing.items()}
    blocks = torch.stack([sums.turns[f"blocks.{i}"] for i in range(spec.blocks)]) / sums.frames
    return Importance(blocks, neurons, _channels(model, sums))


def _is_heard(name: str) -> bool:
    parts = name.split(".")
    return (parts[0] == "blocks" and (len(parts) == 2 or (parts[-1] == "reduce" and parts[2] in ("ff1", "ff2")))) or (
        parts[:2] == ["subsampling", "convolutions"] and len(parts) == 3
    )


def _listen(name: str, module: nn.Module, sums: _Sums) -> torch.utils.hooks.RemovableHandle:
    def after(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if name.startswith("subsampling"):
            sums.square(name, output)
        elif name.endswith(".reduce"):
            sums.square(name, inputs[0])
        else:
            turn = 1 - torch.cosine_similarity(inputs[0], output[0], dim=-1).sum() / inputs[0][..., 0].numel()
            sums.turns[name] = sums.turns.get(name, torch.zeros(())) + turn * inputs[0].shape[1]

    return module.register_forward_hook(after)


def _channels(model: Conformer, sums: _Sums) -> list[Tensor]:
    """Weigh each convolution's channels by what the next map makes of them."""
    convolutions: Any = model.subsampling.convolutions
    following = [*(convolution.project for convolution in convolutions[1:]), model.subsampling.out]
    found = []
    for i, after in enumerate(following):
        squares = sums.squares[f"subsampling.convolutions.{i}"]
        norms = after.weight.view(-1, len(squares), after.weight.shape[1]).square().sum((0, 2))
        found.append(squares * norms)
    return found


def shrink(model: Conformer, measured: Importance, blocks: int, feed_forward: int, front_channels: int) -> Conformer:
    """Make the smaller model. Raises ImportFailed where it would be no smaller or have nothing left."""
    sizes = {"blocks": blocks, "feed_forward": feed_forward, "front_channels": front_channels}
    had = model.spec.model_dump() | {"front_channels": model.spec.front_channels or model.spec.width}
    for name, size in sizes.items():
        if not 0 < size <= had[name]:
            raise ImportFailed(f"{name}: must be 1 to {had[name]}, what the model has")
    try:
        spec = ModelSpec.model_validate(model.spec.model_dump() | sizes)
    except ValidationError as error:
        raise ImportFailed(str(error)) from None
    kept_blocks = _best(measured.blocks, blocks)
    fronts = [_best(channels, front_channels) for channels in measured.channels]
    state = model.state_dict()
    small = Conformer(spec)
    values = {}
    for name in small.state_dict():
        parts = name.split(".")
        if parts[0] == "blocks":
            parts[1] = str(kept_blocks[int(parts[1])].item())
            values[name] = _neurons(state[".".join(parts)], parts, measured, feed_forward)
        else:
            values[name] = _front(state[name], parts, fronts, had["front_channels"])
    small.load_state_dict(values)
    return small.eval()


def _best(scores: Tensor, count: int) -> Tensor:
    """Return the places of the highest scores, in order."""
    return scores.topk(count).indices.sort().values


def _neurons(value: Tensor, parts: list[str], measured: Importance, count: int) -> Tensor:
    """Keep the best neurons of a parameter of a feed-forward part; others stay whole."""
    scores = measured.neurons.get(".".join(parts[:3]))
    if scores is None or parts[3] == "norm":
        return value
    kept = _best(scores, count)
    cut: dict[tuple[str, str], Callable[[], Tensor]] = {
        ("expand", "weight"): lambda: value[:, kept],
        ("expand", "bias"): lambda: value[kept],
        ("reduce", "weight"): lambda: value[kept],
    }
    return cut.get((parts[3], parts[4]), lambda: value)()


def _front(value: Tensor, parts: list[str], kept: list[Tensor], channels: int) -> Tensor:
    """Keep channels of the subsampling: rows by those of the convolution before, columns by its own."""
    if parts[0] != "subsampling":
        return value
    number = int(parts[2]) if parts[1] == "convolutions" else len(kept)
    if parts[-1] == "weight" and number:
        value = value.view(-1, channels, value.shape[1])[:, kept[number - 1]].flatten(0, 1)
    return value[..., kept[number]] if number < len(kept) else value
