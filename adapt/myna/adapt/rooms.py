"""Rooms: a simulated answer to a click, and what speech sounds like there."""

import numpy as np
from numpy.typing import NDArray

from myna.adapt.decode import RATE_HZ

Wave = NDArray[np.float32]

SPEED_M_S = 343.0
SMALLEST_M, LARGEST_M = (2.5, 2.5, 2.2), (9.0, 7.0, 3.5)
NEAREST_M = 0.3  # from mouth to microphone, and from either to a wall
FARTHEST_M = 2.5  # from mouth to microphone
EARLY_ORDER = 2  # reflections off walls that are placed one by one; the rest is decaying noise
DECAY = 3 * np.log(10)  # of amplitude over the reverberation time: 60 dB


def response(rt60_s: float, rng: np.random.Generator) -> Wave:
    """Simulate a box of random size, mouth and microphone somewhere in it: its response (n,) to a click, direct first.

    Early reflections by the image method, each wall's absorption from Sabine's formula; behind them noise that
    decays by 60 dB in rt60_s, as loud as the images say.
    """
    size = rng.uniform(SMALLEST_M, LARGEST_M)
    mouth = rng.uniform(NEAREST_M, size - NEAREST_M)
    away = rng.standard_normal(3)
    away *= rng.uniform(NEAREST_M, FARTHEST_M) / np.linalg.norm(away)
    ear = np.clip(mouth + away, NEAREST_M, size - NEAREST_M)
    distances_m, bounces = _images(size, mouth, ear)
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    absorption = min(0.95, 0.161 * float(np.prod(size)) / (surface * rt60_s))
    gains = np.sqrt(1 - absorption) ** bounces / np.maximum(distances_m, NEAREST_M)
    direct_m = max(NEAREST_M, float(np.linalg.norm(mouth - ear)))
    late = np.rint((distances_m - distances_m.min()) / SPEED_M_S * RATE_HZ).astype(np.int64)
    count = max(int(rt60_s * RATE_HZ), int(late.max()) + 1)
    wave = np.zeros(count)
    np.add.at(wave, late, gains * direct_m)
    wave = np.minimum(wave, 1)  # two walls may answer at once: not louder than the mouth
    wave += _tail(count, rt60_s, direct_m, absorption * surface, rng)
    return wave.astype(np.float32)


def _images(
    size: NDArray[np.float64], mouth: NDArray[np.float64], ear: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mirror the mouth in the walls: distances (k,) in metres from the ear, and how many walls each path met."""
    orders = np.arange(-EARLY_ORDER, EARLY_ORDER + 1)
    # Along one axis the image of order n lies at n L + s, or at (n + 1) L - s where n is odd.
    along = np.where(orders[:, None] % 2, (orders[:, None] + 1) * size - mouth, orders[:, None] * size + mouth)
    grid = np.stack(np.meshgrid(orders, orders, orders, indexing="ij"), -1).reshape(-1, 3)
    bounces = np.abs(grid).sum(1)
    grid, bounces = grid[bounces <= EARLY_ORDER], bounces[bounces <= EARLY_ORDER]
    places = np.stack([along[grid[:, axis] + EARLY_ORDER, axis] for axis in range(3)], 1)
    return np.linalg.norm(places - ear, axis=1), bounces


def _tail(
    count: int, rt60_s: float, direct_m: float, absorbing_m2: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Make diffuse noise (count,): its energy over the direct sound's is 16 pi d² / A, as in a reverberant field."""
    time_s = np.arange(count) / RATE_HZ
    noise = rng.standard_normal(count) * np.exp(-DECAY * time_s / rt60_s) * np.minimum(1, time_s / 0.02)
    energy = 16 * np.pi * direct_m**2 / absorbing_m2
    return np.asarray(noise * np.sqrt(energy / max(float(np.square(noise).sum()), 1e-12)))


def place(wave: Wave, answer: NDArray[np.floating] | NDArray[np.int16]) -> Wave:
    """Let a wave (n,) sound where the answer to a click is such; same length, same power, direct sound not delayed."""
    loudness = np.abs(answer.astype(np.float32))
    answer = answer[int(np.argmax(loudness >= loudness.max() / 2)) :].astype(np.float32)
    size = _round_size(len(wave) + len(answer) - 1)
    wet = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(answer, size), size)[: len(wave)]
    powers = [float(np.mean(np.square(x))) if len(x) else 0.0 for x in (wave, wet)]
    scale = np.sqrt(powers[0] / powers[1]) if powers[1] > 0 else 0.0
    return (wet * scale).astype(np.float32)


def _round_size(count: int) -> int:
    """Find a size from count on that has a fast transform: a power of two times 1, 3 or 5."""
    return min(factor << max(0, (-(-count // factor) - 1).bit_length()) for factor in (1, 3, 5))
