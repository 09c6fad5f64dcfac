"""Audio files as streams of packets: WAV, FLAC, MP3, Ogg, Opus, at any rate, in memory that does not grow."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from myna.client.errors import BadFile

RATE_HZ = 16_000
BLOCK_S = 0.2


def duration_s(path: Path) -> float:
    """Tell how long a file is. Raises BadFile."""
    with _open(path) as file:
        return float(file.frames / file.samplerate)


def packets(path: Path, seconds: float = BLOCK_S) -> Iterator[bytes]:
    """Read a file as 16-bit mono at 16 kHz, in packets of so many seconds, the last one shorter. Raises BadFile."""
    size = round(seconds * RATE_HZ)
    rest = np.zeros(0, np.int16)
    with _open(path) as file:
        resampler = soxr.ResampleStream(file.samplerate, RATE_HZ, 1, dtype="float32")
        block_samples = max(1, round(seconds * file.samplerate))
        last = False
        while not last:
            try:
                block = file.read(block_samples, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise BadFile(f"{path}: {error.error_string}") from None
            last = len(block) < block_samples
            wave = resampler.resample_chunk(block.mean(axis=1) if len(block) else np.zeros(0, np.float32), last=last)
            samples = np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)
            rest = np.concatenate([rest, samples])
            while len(rest) >= size:
                yield rest[:size].tobytes()
                rest = rest[size:]
    if len(rest):
        yield rest.tobytes()


def _open(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise BadFile(f"{path}: there is no such file")
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        raise BadFile(f"{path}: is no audio that can be read (WAV, FLAC, MP3, Ogg and Opus can)") from None
