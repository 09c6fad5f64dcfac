"""What happens to an utterance before it is learnt from; all chance comes from the generator that is passed in."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myna.adapt import rooms, tempo
from myna.adapt.codec import transmit
from myna.adapt.decode import RATE_HZ
from myna.adapt.noises import Noises, Samples, Wave, cut, mix, read_noises
from myna.adapt.settings import AugmentSettings
from myna.adapt.speech import Speech

QUIET = 3.0  # standard deviation of near-silence, in the scale of int16: a quiet room


class Augmenter:
    """Changes utterances as the settings say. `speech` lends voices to babble and says how much quiet goes around.

    The same settings, speech and state of the generator give the same result to the bit. Raises DataError where the
    noises can't be read.
    """

    def __init__(self, settings: AugmentSettings, speech: Speech | None = None) -> None:
        self._settings = settings
        self._speech = speech
        self._noises = Noises()
        if settings.noise is not None:
            self._noises = read_noises(settings.noise, speech.cache if speech is not None else None)

    def wave(self, samples: Samples, rng: np.random.Generator) -> Wave:
        """Change samples (n,) int16; return (m,) float32 in the scale of int16, within its range."""
        wave = self._timed(samples.astype(np.float32), rng)
        wave = self._surrounded(wave, rng)
        if rng.random() < self._settings.rooms_share:
            wave = rooms.place(wave, self._room(rng))
        wave = wave * np.float32(10 ** (rng.uniform(*self._settings.gain_db) / 20))
        wave = self._noisy(wave, rng)
        if rng.random() < self._settings.codec_share:
            wave = transmit(wave, self._settings.codecs[rng.integers(len(self._settings.codecs))], rng)
        return np.clip(wave, -32768, 32767)

    def _timed(self, wave: Wave, rng: np.random.Generator) -> Wave:
        settings = self._settings
        if rng.random() < settings.speed_share:
            wave = tempo.speed(wave, settings.speeds[rng.integers(len(settings.speeds))])
        if rng.random() < settings.tempo_share:
            wave = tempo.tempo(wave, settings.tempos[rng.integers(len(settings.tempos))])
        if rng.random() < settings.pitch_share:
            wave = tempo.pitch(wave, rng.uniform(*settings.pitch_semitones))
        return wave

    def _surrounded(self, wave: Wave, rng: np.random.Generator) -> Wave:
        low_s, high_s = self._speech.settings.quiet_s if self._speech is not None else (0.0, 0.0)
        if not high_s:
            return wave
        before, after = (int(x * RATE_HZ) for x in rng.uniform(low_s, high_s, 2))
        quiet = rng.standard_normal(before + after, np.float32) * np.float32(QUIET)
        return np.concatenate([quiet[:before], wave, quiet[before:]])

    def _room(self, rng: np.random.Generator) -> Wave | Samples:
        recorded = self._noises.responses
        if recorded and rng.random() < self._settings.rooms_recorded_share:
            return recorded[rng.integers(len(recorded))]
        return rooms.response(rng.uniform(*self._settings.rooms_rt60_s), rng)

    def _noisy(self, wave: Wave, rng: np.random.Generator) -> Wave:
        settings, noises = self._settings, self._noises.noises
        if noises and rng.random() < settings.noise_share:
            noise = cut(noises[rng.integers(len(noises))], len(wave), rng)
            wave = mix(wave, noise, rng.uniform(*settings.snr_db))
        if self._speech is not None and len(self._speech) and rng.random() < settings.babble_share:
            wave = mix(wave, self._babble(self._speech, len(wave), rng), rng.uniform(*settings.snr_db))
        return wave

    def _babble(self, speech: Speech, count: int, rng: np.random.Generator) -> Wave:
        low, high = self._settings.babble_voices
        voices = rng.integers(len(speech), size=rng.integers(low, high + 1))
        return np.asarray(sum(cut(speech.samples(int(voice)), count, rng) for voice in voices), np.float32)

    def hide(self, feats: Tensor, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Put the mean of its row over bands of bins and stripes of frames at random (SpecAugment: Park et al. 2019).

        feats: (B, M, mels); frames: (B,) of them valid. Returns a new tensor of that shape.
        """
        settings = self._settings
        counts = frames.cpu().numpy().astype(np.int64)
        rows, longest, bins = feats.shape
        bands = _stripes(np.full(rows, settings.spec_bands), np.full(rows, bins), bins, settings.spec_band_bins, rng)
        # A stripe is half as wide as the widest on average.
        number = np.rint(counts * settings.spec_share / ((1 + settings.spec_stripe_frames) / 2)).astype(np.int64)
        stripes = _stripes(number, counts, longest, settings.spec_stripe_frames, rng)
        hidden = bands[:, None, :] | stripes[:, :, None]
        valid = torch.arange(longest, device=feats.device) < frames.to(feats.device)[:, None]
        sums = (feats * valid[..., None]).sum((1, 2))
        means = sums / (valid.sum(1) * bins).clamp_min(1)
        mask = torch.from_numpy(hidden).to(feats.device) & valid[..., None]
        return torch.where(mask, means[:, None, None].to(feats.dtype), feats)


def _stripes(
    number: NDArray[np.int64], lengths: NDArray[np.int64], size: int, widest: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mark (B, size): in row b so many stripes of 1 to `widest`, each within the row's length."""
    most = int(number.max(initial=0))
    if not widest or not most:
        return np.zeros((len(number), size), bool)
    widths = np.minimum(rng.integers(1, widest + 1, (len(number), most)), lengths[:, None])
    starts = (rng.random(widths.shape) * (lengths[:, None] - widths + 1)).astype(np.int64)
    widths = np.where(np.arange(most) < number[:, None], widths, 0)
    at = np.arange(size)
    marked = (at >= starts[..., None]) & (at < (starts + widths)[..., None])
    return np.asarray(marked.any(1))
