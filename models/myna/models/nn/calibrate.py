"""Rounding with feedback (GPTQ: Frantar et al. 2023): a column's error is made up for by those not rounded yet.

What an error costs is told by the second moments of a matrix's inputs, measured while the model hears speech.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from myna.models.errors import ImportFailed
from myna.models.features import filterbank
from myna.models.nn.conformer import Conformer
from myna.models.nn.layers import Linear
from myna.models.nn.quantize import Rounded, Rounding
from myna.models.spec import FeatureSpec

DAMPING = 0.01  # share of the mean moment, added to the diagonal
MAX_ROWS = 192  # of an utterance: the patches of the subsampling are many and alike
SHRINK = np.linspace(0.7, 1.0, 13)  # candidates for a block's scale, as shares of what reaches its extreme value


def features_of(manifest: Path, spec: FeatureSpec, count: int) -> Iterator[NDArray[np.float32]]:
    """Yield the features of `count` clips, evenly spread over a manifest of JSON lines `{"audio": path}`.

    Of a shorter manifest, those of all clips. Raises ImportFailed, which names the line.
    """
    lines = manifest.read_text(encoding="utf-8").splitlines()
    count = min(count, len(lines))
    for number in (len(lines) * i // count for i in range(count)):
        try:
            path = manifest.parent / json.loads(lines[number])["audio"]
            wave, rate_hz = soundfile.read(path, dtype="int16")
        except (ValueError, KeyError, TypeError, soundfile.SoundFileError) as error:
            raise ImportFailed(f"{manifest}: line {number + 1}: {error!r}") from None
        if rate_hz != spec.sample_rate_hz or wave.ndim != 1:
            raise ImportFailed(f"{manifest}: line {number + 1}: must be mono at {spec.sample_rate_hz} Hz")
        yield filterbank(spec).push(wave)


def input_moments(
    model: Conformer, utterances: Iterable[NDArray[np.float32]], wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, Tensor]:
    """Sum x xᵀ over the inputs of the linear maps that are wanted, by their weights' names, in the chunks served.

    utterances: features (M, mels) each. Returns (inputs, inputs) float32 tensors. Raises ImportFailed where none
    of them is as long as a frame.
    """
    spec, moments = model.spec, dict[str, Tensor]()
    generator = torch.Generator().manual_seed(0)

    def listen(name: str, module: Linear) -> torch.utils.hooks.RemovableHandle:
        def hook(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].flatten(0, -2)
            if len(x) > MAX_ROWS:
                x = x[torch.randperm(len(x), generator=generator)[:MAX_ROWS]]
            if name not in moments:
                moments[name] = x.new_zeros(x.shape[1], x.shape[1])
            moments[name].addmm_(x.T, x)

        return module.register_forward_pre_hook(hook)

    maps = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, Linear)}
    handles = [listen(name, module) for name, module in maps.items() if wanted(name)]
    with torch.no_grad():
        for feats in utterances:
            if (frames := spec.frames_ready(len(feats))) > 0:
                left_chunks = spec.left_frames // spec.chunk_frames
                model(torch.from_numpy(feats)[None], torch.tensor([frames]), spec.chunk_frames, left_chunks)
    for handle in handles:
        handle.remove()
    if not moments:
        raise ImportFailed("calibration: there is no speech to hear; name clips as long as a word at least")
    return moments


def round_with_feedback(weight: NDArray[np.float32], moments: Tensor, rounding: Rounding) -> Rounded:
    """Round a weight (inputs, outputs), whose inputs have these moments (inputs, inputs), like `round_to_nearest`."""
    inputs, outputs = weight.shape
    size = -(-inputs // rounding.block) * rounding.block
    half = 1 << (rounding.bits - 1)
    rest = torch.zeros(outputs, size)
    rest[:, :inputs] = torch.from_numpy(weight.T.copy())
    cost = torch.zeros(size, size)
    cost[:inputs, :inputs] = moments
    importance = cost.diagonal().clone()
    factor = _inverse_factor(cost)
    q, scales = torch.zeros(outputs, size), torch.zeros(outputs, size // rounding.block)
    for number, start in enumerate(range(0, size, rounding.block)):
        end = start + rounding.block
        part, errors = rest[:, start:end], torch.zeros(outputs, rounding.block)
        scale = scales[:, number] = _best_scale(part, importance[start:end], half)
        for column in range(rounding.block):
            at = start + column
            q[:, at] = (part[:, column] / scale).round().clamp(-half, half - 1)
            errors[:, column] = (part[:, column] - q[:, at] * scale) / factor[at, at]
            part[:, column:] -= errors[:, column, None] * factor[at, at:end]
        rest[:, end:] -= errors @ factor[start:end, end:]
    packed = (q + half).to(torch.uint8).view(outputs, -1, rounding.block)
    return Rounded(packed.numpy(), scales.numpy())


def _inverse_factor(cost: Tensor) -> Tensor:
    """Factor the damped inverse as Uᵀ U, U upper triangular."""
    damped = cost + torch.eye(len(cost)) * (DAMPING * cost.diagonal().mean() + 1e-6)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _best_scale(part: Tensor, importance: Tensor, half: int) -> Tensor:
    """Choose each row's scale among candidates: the least weighted error when rounded to nearest."""
    extreme = part.gather(1, part.abs().argmax(1, keepdim=True))
    extreme = torch.where(extreme == 0, 1.0, extreme)
    best, least = extreme, torch.full((len(part), 1), torch.inf)
    for shrink in SHRINK:
        scale = extreme * float(shrink) / -half
        error = ((part / scale).round().clamp(-half, half - 1) * scale - part).square()
        loss = (error * (importance + 1e-6)).sum(1, keepdim=True)
        best, least = torch.where(loss < least, scale, best), torch.minimum(loss, least)
    return best[:, 0]
