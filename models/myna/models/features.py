"""Streaming filterbanks: samples in, whole frames out; keeps the samples that the next frame needs.

Each frame is computed by itself, in C++ by kaldi-native-fbank or here by numpy: so they are the same to the bit however
the samples are cut into packets.
"""

from typing import Protocol

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from myna.models.spec import FeatureSpec

FULL_SCALE = 32768
POWER_FLOOR = 1e-10  # of full scale, before the logarithm
LINEAR_HZ = 200 / 3  # a mel of Slaney's scale below BREAK_HZ; above it grows by a factor
BREAK_HZ = 1000
LOG_STEP = np.log(6.4) / 27


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

    Frame t is complete with sample 160 t + 400 (snip_edges). Memory does not grow with the stream. Of the flavour
    `mfcc` the frames are Kaldi's cepstra: a cosine transform of the same bands, liftered, with C0.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self.reset()

    def reset(self) -> None:
        """Begin a new utterance."""
        if self._spec.flavour == "mfcc":
            self._frames = knf.OnlineMfcc(_mfcc_options(self._spec))
        else:
            self._frames = knf.OnlineFbank(_fbank_options(self._spec))
        self._taken = 0

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Hear samples (n,) int16; return the frames (k, mels) float32 that are complete now."""
        if len(samples):
            self._frames.accept_waveform(self._spec.sample_rate_hz, samples.tolist())
        ready = self._frames.num_frames_ready
        frames = np.empty((ready - self._taken, self._spec.mels), np.float32)
        for row, index in enumerate(range(self._taken, ready)):
            frames[row] = self._frames.get_frame(index)
        self._frames.pop(ready - self._taken)
        self._taken = ready
        return frames


def _fbank_options(spec: FeatureSpec) -> knf.FbankOptions:
    options = knf.FbankOptions()
    _set_common(options, spec)
    return options


def _mfcc_options(spec: FeatureSpec) -> knf.MfccOptions:
    options = knf.MfccOptions()
    _set_common(options, spec)
    options.num_ceps = spec.mels
    return options


def _set_common(options: knf.FbankOptions | knf.MfccOptions, spec: FeatureSpec) -> None:
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


class PowerFrames:
    """The logarithm of power, by frequency (`spectrogram`) or in mel bands (`log_mel`); frames lie as Kaldi's do."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._window = hann(spec)
        self._bands = slaney_bands(spec) if spec.flavour == "log_mel" else None
        self._power = np.empty(spec.fft_samples // 2 + 1)
        self.reset()

    def reset(self) -> None:
        """Begin a new utterance."""
        self._held = np.zeros(0, np.int16)
        self._next = 0  # where the next frame begins in what is held; behind its end if frames lie apart

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Hear samples (n,) int16; return the frames (k, mels) float32 that are complete now."""
        length, shift = self._spec.frame_length_samples, self._spec.frame_shift_samples
        self._held = np.concatenate([self._held, samples])
        ready = max(0, (len(self._held) - self._next - length) // shift + 1)
        frames = np.empty((ready, self._spec.mels), np.float32)
        for row in frames:
            row[:] = self._frame(self._held[self._next : self._next + length])
            self._next += shift
        dropped = min(self._next, len(self._held))
        self._held, self._next = self._held[dropped:].copy(), self._next - dropped
        return frames

    def _frame(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(samples * self._window, self._spec.fft_samples)
        # The same memory for each frame: a product may round otherwise where its operands lie otherwise.
        np.add(np.square(spectrum.real), np.square(spectrum.imag), out=self._power)
        power = self._power if self._bands is None else self._power @ self._bands
        return np.asarray(np.log(np.maximum(power, POWER_FLOOR)))


def hann(spec: FeatureSpec) -> NDArray[np.float64]:
    """Make the periodic Hann window (length,) that also brings int16 to full scale 1."""
    length = spec.frame_length_samples
    return np.asarray((0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)) / FULL_SCALE)


def slaney_bands(spec: FeatureSpec) -> NDArray[np.float64]:
    """Make the weights (fft_samples / 2 + 1, mels) of Slaney's mel bands, from 0 to Nyquist, each of area 1."""
    nyquist_hz = spec.sample_rate_hz / 2
    hz = np.linspace(0, nyquist_hz, spec.fft_samples // 2 + 1)[:, None]
    top = BREAK_HZ / LINEAR_HZ
    most = top + np.log(nyquist_hz / BREAK_HZ) / LOG_STEP if nyquist_hz > BREAK_HZ else nyquist_hz / LINEAR_HZ
    mel = np.linspace(0, most, spec.mels + 2)
    edges = np.where(mel < top, mel * LINEAR_HZ, BREAK_HZ * np.exp(LOG_STEP * (mel - top)))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bands = np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre))
    return np.asarray(np.maximum(bands, 0) * 2 / (right - left))


def filterbank(spec: FeatureSpec) -> Filterbank:
    """Choose by the flavour of the features."""
    match spec.flavour:
        case "kaldi" | "mfcc":
            return KaldiFilterbank(spec)
        case "log_mel" | "spectrogram":
            return PowerFrames(spec)
