"""Audio on the wire to 16 kHz mono samples, streaming: PCM, float, mu-law, A-law, Ogg Opus; 8 to 48 kHz.

Whatever the packets, the same samples come out: bytes of a broken sample wait for the rest, and soxr's streams give the
same result for any cut. Resampling holds back 20 ms of the sound in the mean (from 8 kHz 65 ms, at most 120): flush
where what was sent must be heard.
"""

from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from myna.server.errors import AudioError
from myna.server.opus import OggOpusDecoder
from myna.server.protocol import AudioFormat

RATE_HZ = 16_000
LOUDEST_FLOAT = 16.0  # full scale is 1; what is far beyond was scaled otherwise, and would be noise


class AudioDecoder(Protocol):
    """One stream's way from bytes to samples."""

    def decode(self, data: bytes) -> NDArray[np.int16]:
        """Take bytes, in packets of any size; return the samples (n,) that are ready. Raises AudioError."""
        ...

    def flush(self) -> NDArray[np.int16]:
        """Return the samples (n,) that were held back for the sake of what follows; more may follow all the same."""
        ...

    @property
    def leftover_bytes(self) -> int:
        """Bytes at the end that make no whole sample."""
        ...


def _expanded_mulaw() -> NDArray[np.float32]:
    """ITU-T G.711 mu-law, table 2a, scaled to int16."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    expanded: NDArray[np.float32] = np.where(code & 0x80, -magnitude, magnitude).astype(np.float32)
    return expanded


def _expanded_alaw() -> NDArray[np.float32]:
    """ITU-T G.711 A-law, table 1a, scaled to int16."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code & 0x70) >> 4).astype(np.int32)
    mantissa = ((code & 0x0F).astype(np.int32) << 4) + 8
    magnitude = np.where(exponent, (mantissa + 0x100) << np.maximum(exponent - 1, 0), mantissa)
    expanded: NDArray[np.float32] = np.where(code & 0x80, magnitude, -magnitude).astype(np.float32)
    return expanded


_TABLES = {"mulaw": _expanded_mulaw(), "alaw": _expanded_alaw()}
_SAMPLE_TYPES = {"pcm_s16le": "<i2", "pcm_f32le": "<f4", "mulaw": "u1", "alaw": "u1"}


class SampleDecoder:
    """Encodings with so many bytes a sample."""

    def __init__(self, audio: AudioFormat) -> None:
        self._encoding = audio.encoding
        self._channels = audio.channels
        self._type = np.dtype(_SAMPLE_TYPES[audio.encoding])
        self._held = b""
        self._resampler = (
            soxr.ResampleStream(audio.sample_rate, RATE_HZ, 1, dtype="float32")
            if audio.sample_rate != RATE_HZ
            else None
        )

    @property
    def leftover_bytes(self) -> int:
        """Bytes at the end that make no whole sample."""
        return len(self._held)

    def decode(self, data: bytes) -> NDArray[np.int16]:
        """Take bytes; return samples (n,). Raises AudioError for floats that are not finite."""
        data = self._held + data
        size = self._type.itemsize * self._channels
        whole = len(data) // size * size
        self._held = data[whole:]
        samples = np.frombuffer(data[:whole], self._type)
        if self._channels == 1 and self._encoding == "pcm_s16le" and self._resampler is None:
            return samples.astype(np.int16, copy=False)
        return self._converted(self._scaled(samples).reshape(-1, self._channels).mean(axis=1), last=False)

    def flush(self) -> NDArray[np.int16]:
        """Return what the resampler held back; it begins anew with what follows."""
        rest = self._converted(np.zeros(0, np.float32), last=True)
        if self._resampler is not None:
            self._resampler.clear()
        return rest

    def _scaled(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Samples as float32 in the range of int16."""
        if self._encoding == "pcm_f32le" and not (np.abs(samples) <= LOUDEST_FLOAT).all():  # nor is NaN
            raise AudioError("audio: pcm_f32le holds a value that is no sample; send numbers from -1 to 1")
        scaled: NDArray[np.float32]
        match self._encoding:
            case "pcm_f32le":
                scaled = np.clip(samples, -1, 1) * np.float32(32768)
            case "pcm_s16le":
                scaled = samples.astype(np.float32)
            case companded:
                scaled = _TABLES[companded][samples]
        return scaled

    def _converted(self, samples: NDArray[np.float32], last: bool) -> NDArray[np.int16]:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples.astype(np.float32), last=last)
        return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def open_decoder(audio: AudioFormat) -> AudioDecoder:
    """Choose by the announced encoding."""
    return OggOpusDecoder() if audio.encoding == "ogg_opus" else SampleDecoder(audio)
