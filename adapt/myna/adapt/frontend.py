"""Features of a whole batch at once in torch: what the streaming filterbank gives.

To 1e-3, but for the few bins that lie far below their neighbours: both compute in float32, which is rough there.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myna.models.features import POWER_FLOOR, hann, slaney_bands
from myna.models.spec import FeatureSpec

LOW_HZ = 20.0
PREEMPHASIS = 0.97
LIFTER = 22
FLOOR = float(np.finfo(np.float32).eps)  # Kaldi's, of a bin's energy before the logarithm


def batch_features(
    waves: Sequence[NDArray[Any]], spec: FeatureSpec, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Compute features (B, M, mels) float32 and feature frames (B,) int64 of waves (n,) in the scale of int16.

    Rows are zero behind their frames; a wave shorter than a window has none.
    """
    length, shift = spec.frame_length_samples, spec.frame_shift_samples
    frames = [max(0, (len(wave) - length) // shift + 1) for wave in waves]
    padded = np.zeros((len(waves), length + shift * (max(frames, default=1) - 1 if any(frames) else 0)), np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: min(len(wave), len(row))] = wave[: len(row)]
    feats = _features(torch.from_numpy(padded).to(device), spec)
    counts = torch.tensor(frames, device=device)
    past = torch.arange(feats.shape[1], device=device) >= counts[:, None]
    return feats.masked_fill(past[..., None], 0.0), counts


def _features(waves: Tensor, spec: FeatureSpec) -> Tensor:
    """Compute features (B, M, mels) of waves (B, n)."""
    cut = waves.unfold(-1, spec.frame_length_samples, spec.frame_shift_samples)
    window, bands, cosines = _tables(spec, waves.device)
    kaldi = spec.flavour in ("kaldi", "mfcc")
    if kaldi:
        cut = cut - cut.mean(-1, keepdim=True)
        cut = cut - PREEMPHASIS * torch.cat([cut[..., :1], cut[..., :-1]], -1)
    power = torch.fft.rfft(cut * window, spec.fft_samples).abs().square()
    feats: Tensor = power if bands is None else power @ bands
    feats = feats.clamp_min(FLOOR if kaldi else POWER_FLOOR).log()
    return feats if cosines is None else feats @ cosines


@lru_cache
def _tables(spec: FeatureSpec, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Make the window (length,), the bands' weights (bins, mels), the cepstra's cosines (mels, mels); float32."""
    if spec.flavour in ("log_mel", "spectrogram"):
        bands = torch.from_numpy(slaney_bands(spec)).float().to(device) if spec.flavour == "log_mel" else None
        return torch.from_numpy(hann(spec)).float().to(device), bands, None
    length = spec.frame_length_samples
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(length, dtype=torch.float64) / (length - 1))
    cosines = _cosines(spec.mels).to(device) if spec.flavour == "mfcc" else None
    return window.pow(0.85).float().to(device), _kaldi_bands(spec).to(device), cosines


def _kaldi_bands(spec: FeatureSpec) -> Tensor:
    """Make Kaldi's mel bands (bins, mels): triangles on the mel scale."""
    hz = torch.arange(spec.fft_samples // 2 + 1, dtype=torch.float64) * spec.sample_rate_hz / spec.fft_samples
    ends = _mel(torch.tensor([LOW_HZ, spec.sample_rate_hz / 2], dtype=torch.float64))
    edges = torch.linspace(float(ends[0]), float(ends[1]), spec.mels + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(hz)[:, None]
    return torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp_min(0).float()


def _cosines(count: int) -> Tensor:
    """Make the orthonormal cosine transform (bands, cepstra) with Kaldi's lifter in it."""
    order = torch.arange(count, dtype=torch.float64)
    cosines = torch.cos(math.pi / count * (order[:, None] + 0.5) * order) * math.sqrt(2 / count)
    cosines[:, 0] = math.sqrt(1 / count)
    return (cosines * (1 + LIFTER / 2 * torch.sin(math.pi * order / LIFTER))).float()


def _mel(hz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hz / 700)
