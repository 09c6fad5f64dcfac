"""Streaming filterbanks: samples in, whole frames out; keeps the samples that the next frame needs.

The frames come from kaldi-native-fbank, which computes each by itself in C++: so they are the same to the bit however
the samples are cut into packets.
"""

from typing import Protocol

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from myna.models.spec import FeatureSpec


class Filterbank(Protocol):
    """One stream's features."""

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Hear samples (n,) int16; return the frames (k, mels) float32 that are complete now."""
        ...

    def reset(self) -> None:
        """Begin a new utterance."""
        ...


class KaldiFilterbank:
    """Kaldi's log mel filterbank: 25 ms povey windows each 10 ms, pre-emphasis 0.97, 20 Hz to Nyquist, no dither.

    Frame t is complete with sample 160 t + 400 (snip_edges). Memory does not grow with the stream.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._options = _kaldi_options(spec)
        self.reset()

    def reset(self) -> None:
        """Begin a new utterance."""
        self._fbank = knf.OnlineFbank(self._options)
        self._taken = 0

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Hear samples (n,) int16; return the frames (k, mels) float32 that are complete now."""
        if len(samples):
            self._fbank.accept_waveform(self._spec.sample_rate_hz, samples.tolist())
        ready = self._fbank.num_frames_ready
        frames = np.empty((ready - self._taken, self._spec.mels), np.float32)
        for row, index in enumerate(range(self._taken, ready)):
            frames[row] = self._fbank.get_frame(index)
        self._fbank.pop(ready - self._taken)
        self._taken = ready
        return frames


def _kaldi_options(spec: FeatureSpec) -> knf.FbankOptions:
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = spec.sample_rate_hz
    options.frame_opts.frame_length_ms = spec.frame_length_ms
    options.frame_opts.frame_shift_ms = spec.frame_shift_ms
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.frame_opts.window_type = "povey"
    options.mel_opts.num_bins = spec.mels
    options.mel_opts.low_freq = 20.0
    options.mel_opts.high_freq = 0.0  # Nyquist
    options.use_energy = False
    return options


def filterbank(spec: FeatureSpec) -> Filterbank:
    """Choose by the flavour of the features."""
    match spec.flavour:
        case "kaldi":
            return KaldiFilterbank(spec)
