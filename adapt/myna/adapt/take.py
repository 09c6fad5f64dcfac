"""One reading of a prompt, as the microphone hears it: where speech is, when it has ended, what is wrong with it.

Counts samples, knows no clock.
"""

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from myna.client.mic import LOWEST_DBFS, level_dbfs

RATE_HZ = 16_000
FRAME_SAMPLES = 320  # 20 ms
FRAMES_PER_S = RATE_HZ // FRAME_SAMPLES
AGGRESSIVENESS = 1  # webrtcvad's mode, as the server's default: what it would not hear need not be learnt
FLOOR_DBFS = -55.0  # what is fainter is never speech
# What is so much fainter than the loudest speech is none: without this, webrtcvad takes a third of backgrounds for
# speech that never ends.
REACH_DB = 25.0
BEGUN_FRAMES = 6  # of speech, within the silence that ends it
STRAY_FRAMES = 3  # taken for speech, that silence may hold
MARGIN_FRAMES = 15  # kept before and behind speech, as the server's pre-roll
LONGEST_S = 60.0
FAINT_DBFS = -45.0
CLIPPED = 32_440  # 1 % below full scale
CLIPPED_SHARE = 0.0005
BRIEFEST_S = 0.025  # of speech for a letter; nobody speaks faster


class Take:
    """A recording under way, which ends after so much silence behind speech."""

    def __init__(self, silence_s: float) -> None:
        self._vad = webrtcvad.Vad(AGGRESSIVENESS)
        self._silence_frames = round(silence_s * FRAMES_PER_S)
        self._pcm = bytearray()
        self._levels_dbfs: list[float] = []  # by frame; where webrtcvad hears no speech: none at all
        self._loudest_dbfs = self._before_dbfs = FLOOR_DBFS
        self._loudest_frame = 0
        self.begun = self.ended = False

    def hear(self, block: bytes) -> None:
        """Hear some 16-bit samples at 16 kHz; those behind the end are not listened to."""
        self._pcm += block
        size = 2 * FRAME_SAMPLES
        for start in range(len(self._levels_dbfs) * size, len(self._pcm) - size + 1, size):
            if not self.ended:
                self._push(bytes(self._pcm[start : start + size]))

    def _push(self, frame: bytes) -> None:
        level = level_dbfs(frame)
        voiced = self._vad.is_speech(frame, RATE_HZ)
        lasting = min(level, self._before_dbfs)  # a click is shorter than two frames
        if voiced and lasting > self._loudest_dbfs:
            self._loudest_dbfs, self._loudest_frame = lasting, len(self._levels_dbfs)
        self._before_dbfs = level
        self._levels_dbfs.append(level if voiced else LOWEST_DBFS)
        recent = self._speech(self._silence_frames)
        self.begun = self.begun or int(recent.sum()) >= BEGUN_FRAMES
        # What came before the loudest may have been taken for speech and be none beside it: silence is behind that.
        # And where nothing was louder than what counts as too quiet, the speaker may not have begun: Enter ends that.
        behind = len(self._levels_dbfs) - self._loudest_frame > self._silence_frames
        spoken = self.begun and behind and self._loudest_dbfs > FAINT_DBFS
        self.ended = self.too_long or (spoken and int(recent.sum()) <= STRAY_FRAMES)

    def _speech(self, frames: int) -> NDArray[np.bool_]:
        """Tell for the last frames whether they are speech, beside the loudest that is known by now."""
        return np.array(self._levels_dbfs[-frames:]) > max(FLOOR_DBFS, self._loudest_dbfs - REACH_DB)

    @property
    def too_long(self) -> bool:
        """Tell whether it is as long as it may be."""
        return len(self._levels_dbfs) >= LONGEST_S * FRAMES_PER_S

    def samples(self) -> NDArray[np.int16]:
        """Return the speech (n,), from a little before to a little behind; where there is none, all."""
        every = np.frombuffer(bytes(self._pcm[: len(self._pcm) // 2 * 2]), np.int16)
        spoken = np.flatnonzero(self._speech(len(self._levels_dbfs)))
        if not self.begun:
            return every
        # What is alone before the beginning is no part of it.
        alone = spoken[BEGUN_FRAMES - 1 :] - spoken[: 1 - BEGUN_FRAMES] >= self._silence_frames
        first, last = spoken[int(np.argmin(alone)) if len(alone) else 0], spoken[-1]
        start, end = max(0, first - MARGIN_FRAMES), last + 1 + MARGIN_FRAMES
        return every[start * FRAME_SAMPLES : end * FRAME_SAMPLES]

    def faults(self, text: str) -> list[str]:
        """Say what is wrong with it as a reading of the text, and what to do."""
        if not self.begun:
            return ["no speech was heard: is the microphone muted, or far away?"]
        spoken = np.repeat(self._speech(len(self._levels_dbfs)), FRAME_SAMPLES)
        heard = np.frombuffer(bytes(self._pcm[: 2 * len(spoken)]), np.int16)
        speech_s = spoken.sum() / RATE_HZ
        found = {
            "too long: it never became silent; press Enter when you are done": self.too_long,
            "too loud: speak further from the microphone, or turn it down": (
                np.mean(np.abs(heard.astype(np.int32)) >= CLIPPED) > CLIPPED_SHARE
            ),
            "too quiet: speak closer to the microphone, or turn it up": (
                level_dbfs(heard[spoken].tobytes()) < FAINT_DBFS
            ),
            "too short: was all of it read?": speech_s < BRIEFEST_S * sum(c.isalnum() for c in text),
        }
        return [said for said, wrong in found.items() if wrong]
