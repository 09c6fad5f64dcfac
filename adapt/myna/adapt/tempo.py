"""Time and pitch: played faster, stretched at its pitch (WSOLA: Verhelst and Roelands 1993), moved in pitch."""

import numpy as np
import soxr
from numpy.typing import NDArray

from myna.adapt.decode import RATE_HZ

Wave = NDArray[np.float32]

WINDOW = 640  # samples of a grain, 40 ms; grains overlap by half
SEARCH = 160  # samples by which a grain may be moved to fit: a period of 100 Hz


def speed(wave: Wave, factor: float) -> Wave:
    """Play a wave (n,) faster by a factor: its length is divided by it, its pitch multiplied."""
    if not len(wave):
        return wave
    return np.asarray(soxr.resample(wave, RATE_HZ * factor, RATE_HZ, quality="MQ"), np.float32)


def tempo(wave: Wave, factor: float) -> Wave:
    """Speak a wave (n,) faster by a factor: its length is divided by it (rounded), its pitch stays."""
    count = round(len(wave) / factor)
    hop = WINDOW // 2
    grains = -(-count // hop) + 1
    padded = np.pad(wave, (hop + SEARCH, 2 * WINDOW + 2 * SEARCH + int(hop * factor)))
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # halves that overlap sum to 1
    starts = np.empty(grains, np.int64)
    at = SEARCH
    for grain in range(grains):
        wanted = SEARCH + int(grain * hop * factor)
        if grain:
            # The grain that goes on best from the last one, near to where it should be.
            goes_on = padded[at + hop : at + WINDOW]
            around = padded[wanted - SEARCH : wanted + SEARCH + hop]
            at = wanted - SEARCH + _best(around, goes_on)
        starts[grain] = at
    pieces = padded[starts[:, None] + np.arange(WINDOW)] * window
    out = np.zeros((grains + 1, hop), np.float32)
    out[:-1] += pieces[:, :hop]
    out[1:] += pieces[:, hop:]
    return out.reshape(-1)[hop : hop + count]


def _best(around: Wave, goes_on: Wave) -> int:
    """Find where a piece (n,) lies best in a longer one (m,): the highest normalised correlation."""
    fits = np.correlate(around, goes_on, "valid")
    sums = np.concatenate([[0.0], np.cumsum(np.square(around, dtype=np.float64))])
    energies = sums[len(goes_on) :] - sums[: -len(goes_on)]
    return int(np.argmax(fits / np.sqrt(np.maximum(energies, 1.0))))


def pitch(wave: Wave, semitones: float) -> Wave:
    """Move a wave's (n,) pitch and formants; as many samples come out."""
    factor = 2 ** (semitones / 12)
    moved = tempo(speed(wave, factor), 1 / factor)
    return np.pad(moved[: len(wave)], (0, max(0, len(wave) - len(moved))))
