"""Speech or not: webrtcvad on short frames, with hysteresis and pre-roll. Counts samples, knows no clock."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import webrtcvad
from numpy.typing import NDArray

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class VadSettings:
    """How eagerly sound is taken for speech. Lost words are worse than some noise let through."""

    aggressiveness: int = 1  # webrtcvad's mode: 0 lets most through, 3 least
    frame_ms: int = 20  # 10, 20 or 30
    trigger_frames: int = 3  # speech frames among the last `trigger_window_frames` begin speech
    trigger_window_frames: int = 6
    hangover_ms: int = 200  # no speech frame for so long ends speech
    pre_roll_ms: int = 300  # heard before the first speech frame
    floor_dbfs: float = -75.0  # what is fainter is never speech; webrtcvad begins by taking faint noise for it


class VoiceActivity:
    """One stream's detector; `push` takes exactly one frame."""

    def __init__(self, settings: VadSettings) -> None:
        self._settings = settings
        self._floor = (32768 * 10 ** (settings.floor_dbfs / 20)) ** 2 * settings.frame_ms * RATE_HZ // 1000
        self._vad = webrtcvad.Vad(settings.aggressiveness)
        self.frame_samples = settings.frame_ms * RATE_HZ // 1000
        window = settings.trigger_window_frames * self.frame_samples
        self.reach_samples = settings.pre_roll_ms * RATE_HZ // 1000 + window
        self.reset(0)

    def reset(self, sample: int) -> None:
        """Begin anew at this sample of the stream."""
        self.active = False
        self.start_sample = sample  # where the speech under way begins, pre-roll included
        self.quiet_samples = 0  # since the last speech frame
        self._samples = sample
        self._recent: deque[bool] = deque(maxlen=self._settings.trigger_window_frames)

    def push(self, frame: NDArray[np.int16]) -> None:
        """Hear one frame (frame_samples,) int16."""
        wave = frame.astype(np.float32)
        speech = float(wave @ wave) > self._floor and self._vad.is_speech(frame.tobytes(), RATE_HZ)
        self._samples += len(frame)
        self._recent.append(speech)
        self.quiet_samples = 0 if speech else self.quiet_samples + len(frame)
        if self.active:
            self.active = self.quiet_samples < self._settings.hangover_ms * RATE_HZ // 1000
            if not self.active:
                self._recent.clear()
        elif sum(self._recent) >= self._settings.trigger_frames:
            self.active = True
            back = (len(self._recent) - self._recent.index(True)) * self.frame_samples
            self.start_sample = max(0, self._samples - back - self._settings.pre_roll_ms * RATE_HZ // 1000)
