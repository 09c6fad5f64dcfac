"""Noises and recorded impulse responses: read once, cut at random, mixed at a level below the speech."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myna.adapt.data import AUDIO_SUFFIXES, DataError
from myna.adapt.decode import decode, decode_all

RESPONSE = "rir"  # the label of impulse responses
HUSH = 1.0  # power below which nothing is mixed in or taken for speech: samples are whole numbers

Samples = NDArray[np.int16]
Wave = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Noises:
    """Recordings (n,) int16 of noise and of rooms' responses to a click."""

    noises: tuple[Samples, ...] = ()
    responses: tuple[Samples, ...] = ()


def read_noises(path: Path, cache: Path | None = None) -> Noises:
    """Read a folder of audio, or JSON lines `{audio, label?}`; with a cache folder they stay on disk.

    Impulse responses are labelled `rir`, or lie in a folder's files or folders whose names begin so. Raises DataError.
    """
    found = list(_folder(path) if path.is_dir() else _lines(path))
    if not found:
        raise DataError(f"noise: {path}: names no audio; give a folder of audio or JSON lines")
    paths = [audio for audio, _ in found]
    waves = decode_all(paths, cache) if cache else [decode(str(audio)) for audio in paths]
    noises: dict[bool, list[Samples]] = {False: [], True: []}
    for (audio, response), wave in zip(found, waves, strict=True):
        if wave is None or not wave.any():
            raise DataError(f"noise: {path}: {audio}: is {'silent' if wave is not None else 'unreadable'}; take it out")
        noises[response].append(wave)
    return Noises(tuple(noises[False]), tuple(noises[True]))


def _folder(path: Path) -> Iterator[tuple[Path, bool]]:
    for audio in sorted(path.rglob("*")):
        if audio.suffix.lower() in AUDIO_SUFFIXES:
            names = audio.relative_to(path).parts
            yield audio, any(name.lower().startswith(RESPONSE) for name in names)


def _lines(path: Path) -> Iterator[tuple[Path, bool]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"noise: {path}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield path.parent / row["audio"], row.get("label") == RESPONSE
        except (ValueError, KeyError, TypeError):
            raise DataError(f'{path}: line {number}: audio: must be an object with a path, {{"audio": …}}') from None


def cut(noise: Samples, count: int, rng: np.random.Generator) -> Wave:
    """Cut (count,) float32 from anywhere in a recording, which goes round where it is too short."""
    start = int(rng.integers(len(noise)))
    first = noise[start : start + count]
    if len(first) == count:
        return first.astype(np.float32)
    return np.resize(np.roll(noise, -start), count).astype(np.float32)


def mix(wave: Wave, noise: Wave, snr_db: float) -> Wave:
    """Add noise (n,) to speech (n,), scaled to lie so far below; silence on either side leaves the speech as it is."""
    speech_power, noise_power = (float(np.mean(np.square(x))) if len(x) else 0.0 for x in (wave, noise))
    if speech_power < HUSH or noise_power < 1e-6:
        return wave
    scale = np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))
    return wave + noise * scale
