"""Voices that read text aloud, for training: Kokoro's styles mixed, and Hibari's one voice bent to many.

Both take their phonemes from the package hibari-tts (Apache-2.0), which holds Hibari's model; Kokoro's (Apache-2.0) and
its styles come as files. All of it is clean studio speech: train on it beside real speech alone.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from myna.adapt.data import DataError
from myna.adapt.decode import RATE_HZ

VOICE_HZ = 24_000  # of both
MAX_PHONEMES = 400
TIMBRE = 128  # numbers of a style; the rest is prosody
SHARE = (0.3, 0.7)  # of the first of two styles that are mixed
SPEEDS = (0.8, 1.25)
PITCHES, FORMANTS = (0.55, 1.45), (0.85, 1.2)  # of Hibari's voice, a woman's: deep men to children

Wave = NDArray[np.float32]


class Voices(Protocol):
    """Many voices, one of them by chance."""

    def say(self, text: str, rng: np.random.Generator) -> tuple[Wave, str]:
        """Read a text: samples (n,) at 16 kHz within -1 to 1, and who was heard. Raises ValueError if it can't."""
        ...


class Hibari:
    """One voice whose pitch, formants and pace are moved at random."""

    def __init__(self) -> None:
        tts = _hibari()
        self._synth, self._model = tts.dsp.synth, tts.Hibari()

    def say(self, text: str, rng: np.random.Generator) -> tuple[Wave, str]:
        """Read a text."""
        pitch, formant, speed = (float(np.exp(rng.uniform(*np.log(r)))) for r in (PITCHES, FORMANTS, SPEEDS))
        inputs = {"ids": _ids(self._model, text), "speed": np.array([speed], np.float32)}
        *spectra, f0 = (part[0] for part in self._model.sess.run(None, inputs))
        bins = np.arange(len(spectra[0]), dtype=np.float32) / np.float32(formant)
        moved = [_bent(spectrum, bins) for spectrum in spectra]
        return _at_rate(self._synth(*moved, f0 * np.float32(pitch), rng)), "hibari"


class Kokoro:
    """All voices of a folder of styles, and mixtures of two: the accent of one, the melody of another.

    model: ONNX, tokens (1, L) int64, style (1, 256), speed (1) -> samples. styles: `*.bin`, float32 (510, 1, 256) each.
    """

    def __init__(self, model: Path, styles: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._styles = {p.stem: np.fromfile(p, np.float32).reshape(-1, 256) for p in sorted(styles.glob("*.bin"))}
        if not self._styles:
            raise DataError(f"{styles}: holds no styles (*.bin)")
        self._model = _hibari().Hibari()

    def say(self, text: str, rng: np.random.Generator) -> tuple[Wave, str]:
        """Read a text, half of the times in a voice as it is."""
        ids = _ids(self._model, text)
        one, other = rng.choice(sorted(self._styles), 2)
        if rng.random() < 0.5:
            other = one
        style = self._styles[one][ids.shape[1] - 3].copy()
        second = self._styles[other][ids.shape[1] - 3]
        style[:TIMBRE] += np.float32(rng.uniform(*SHARE)) * (second - style)[:TIMBRE]
        style[TIMBRE:] += np.float32(rng.uniform(*SHARE)) * (second - style)[TIMBRE:]
        speed = np.array([rng.uniform(*SPEEDS)], np.float32)
        (wave, *_) = self._session.run(None, {"tokens": ids, "style": style[None], "speed": speed})
        return _at_rate(np.asarray(wave, np.float32).ravel()), f"kokoro {one} {other}"


def _hibari() -> Any:
    try:
        from hibari import tts
    except ImportError:
        raise DataError("synthetic speech needs phonemes: pip install --no-deps hibari-tts==0.2.1") from None
    return tts


def _ids(model: Any, text: str) -> NDArray[np.int64]:
    """Return the phonemes of a text (1, L), zeros at both ends."""
    phonemes: str = model.g2p(text)
    ids = np.array([model.ids(phonemes)], np.int64)
    if not 3 <= ids.shape[1] <= MAX_PHONEMES:
        raise ValueError(f"{ids.shape[1] - 2} phonemes")
    return ids


def _bent(spectrum: NDArray[np.float32], bins: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move a spectrum (bins, F): row i comes from row `bins[i]`, or the last."""
    low = np.minimum(bins.astype(np.int64), len(spectrum) - 2)
    share = np.clip(bins - low, 0, 1)[:, None]
    bent: NDArray[np.float32] = (1 - share) * spectrum[low] + share * spectrum[low + 1]
    return bent


def _at_rate(wave: Wave) -> Wave:
    resampled: Wave = soxr.resample(wave, VOICE_HZ, RATE_HZ)
    return np.clip(resampled, -1, 1)
