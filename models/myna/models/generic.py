"""A bundle's generic set: a few minutes of other people's speech, by which adaptation sees what it would forget.

`generic.npz` holds `clips` (bytes uint8: Ogg Opus files one behind the other), `ends` (n,) int64 where each ends, and
`texts` (n,) unicode.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from myna.models.errors import BundleError

GENERIC = "generic.npz"
RATE_HZ = 16_000
COMPRESSION = 0.95  # of libsndfile's Opus, from 0 to 1: about 17 kbit/s


@dataclass(frozen=True, slots=True)
class Clip:
    """An utterance and its text."""

    samples: NDArray[np.int16]  # (n,) at 16 kHz
    text: str


def read_clips(manifest: Path, count: int) -> list[Clip]:
    """Read clips of JSON lines with `audio` and `text`, spread evenly over them. Raises BundleError."""
    lines = manifest.read_text(encoding="utf-8").splitlines()
    chosen = np.linspace(0, len(lines) - 1, min(count, len(lines))).round().astype(int).tolist()
    clips = list[Clip]()
    for number in chosen:
        try:
            row = json.loads(lines[number])
            wave, rate_hz = soundfile.read(manifest.parent / row["audio"], dtype="float32", always_2d=True)
            mono = soxr.resample(wave.mean(1), rate_hz, RATE_HZ)
            clips.append(Clip(np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16), str(row["text"])))
        except (ValueError, KeyError, TypeError, soundfile.SoundFileError) as error:
            raise BundleError(f"{manifest}: line {number + 1}: can't be read ({error})") from None
    return clips


def generic_bytes(clips: Sequence[Clip]) -> bytes:
    """Write a generic set."""
    files = [_opus(clip.samples) for clip in clips]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        clips=np.frombuffer(b"".join(files), np.uint8),
        ends=np.cumsum([len(file) for file in files], dtype=np.int64),
        texts=np.array([clip.text for clip in clips]),
    )
    return buffer.getvalue()


def read_generic(path: Path) -> list[Clip]:
    """Read what `generic_bytes` wrote. Raises BundleError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as held:
            content, ends, texts = held["clips"].tobytes(), held["ends"].tolist(), held["texts"].tolist()
        files = [content[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        return [
            Clip(soundfile.read(io.BytesIO(file), dtype="int16")[0], str(text))
            for file, text in zip(files, texts, strict=True)
        ]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, soundfile.SoundFileError) as error:
        raise BundleError(f"{GENERIC}: is damaged ({error})") from None


def _opus(samples: NDArray[np.int16]) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    return buffer.getvalue()
