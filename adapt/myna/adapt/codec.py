"""What lines and codecs leave of speech."""

import io
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from myna.adapt.decode import RATE_HZ

Wave = NDArray[np.float32]
Codec = Literal["telephone", "mu_law", "opus"]

TELEPHONE_HZ = 8_000
FULL_SCALE = 32_768.0
MU = 255.0
OPUS_LEVELS = (0.9, 0.99)  # libsndfile's compression levels: bit rates from about 31 down to 8 kbit/s for mono


def transmit(wave: Wave, codec: Codec, rng: np.random.Generator) -> Wave:
    """Send a wave (n,) in the scale of int16 through a codec; as many samples come out."""
    match codec:
        case "telephone":
            narrow = mu_law(np.asarray(soxr.resample(wave, RATE_HZ, TELEPHONE_HZ), np.float32))
            return _fit(np.asarray(soxr.resample(narrow, TELEPHONE_HZ, RATE_HZ), np.float32), len(wave))
        case "mu_law":
            return mu_law(wave)
        case "opus":
            return opus(wave, float(rng.uniform(*OPUS_LEVELS)))


def mu_law(wave: Wave) -> Wave:
    """Round to the 255 steps of the mu law."""
    x = np.clip(wave / FULL_SCALE, -1, 1)
    steps = np.rint(np.log1p(MU * np.abs(x)) * (127 / np.log1p(MU)))
    rounded = np.sign(x) * np.expm1(steps * (np.log1p(MU) / 127)) * (FULL_SCALE / MU)
    return np.asarray(rounded, np.float32)


def opus(wave: Wave, level: float) -> Wave:
    """Encode as Opus and decode again; level is libsndfile's, from 0 (best) to 1."""
    if not len(wave):
        return wave
    file = io.BytesIO()
    samples = np.clip(wave / FULL_SCALE, -1, 1)
    soundfile.write(file, samples, RATE_HZ, format="OGG", subtype="OPUS", compression_level=level)
    file.seek(0)
    heard, _ = soundfile.read(file, dtype="float32")
    return _fit(heard * np.float32(FULL_SCALE), len(wave))


def _fit(wave: Wave, count: int) -> Wave:
    return np.pad(wave[:count], (0, max(0, count - len(wave))))
