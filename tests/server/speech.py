"""Sound for tests: noise bursts that the voice activity detector takes for speech, and silence."""

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000


def silence(seconds: float) -> NDArray[np.int16]:
    """Faint noise, as a quiet room has it."""
    count = round(seconds * RATE_HZ)
    return np.random.default_rng(count).integers(-3, 4, count).astype(np.int16)


def voice(seconds: float, pitch_hz: float = 140.0, seed: int = 0) -> NDArray[np.int16]:
    """A buzz with vowel-like formants, changing four times a second."""
    count = round(seconds * RATE_HZ)
    time_s = np.arange(count) / RATE_HZ
    rng = np.random.default_rng(seed)
    formants = rng.uniform(300, 2800, (count // 4000 + 1, 3)).repeat(4000, axis=0)[:count]
    wave = np.zeros(count)
    for harmonic in range(1, 26):
        frequency = harmonic * pitch_hz
        gain = np.exp(-(((frequency - formants) / 250.0) ** 2)).sum(axis=1) + 0.02
        wave += gain * np.sin(2 * np.pi * frequency * time_s)
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s)
    scaled: NDArray[np.int16] = (wave * loudness / np.abs(wave).max() * 12_000).astype(np.int16)
    return scaled


def talk(*parts: tuple[str, float]) -> NDArray[np.int16]:
    """Join parts, each ("voice" | "silence", seconds)."""
    pieces = [voice(s, seed=i) if kind == "voice" else silence(s) for i, (kind, s) in enumerate(parts)]
    return np.concatenate([np.zeros(0, np.int16), *pieces])
