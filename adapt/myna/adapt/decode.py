"""Audio files decoded once into memory maps under a cache folder; imports little, for it runs in worker processes.

<name>.i16     int16 samples of many files, one after the other
<name>.json    for each file: path, size, time of change, where its samples begin, how many; written last

A file is known by path, size and time of change, so sets that share files share what is decoded, and a changed file is
decoded anew. Both files are written under another name and renamed, and an index goes to disk after its samples: an
interrupted run leaves whole pieces, which the next one takes up.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE_HZ = 16_000
PIECE = 2048  # files of one memory map
ALONE = 64  # so few files are decoded here: starting workers takes longer

Stamp = tuple[str, int, int]  # path, bytes, ns


def decode(path: str, rate_hz: int = RATE_HZ) -> NDArray[np.int16] | None:
    """Read a file of any format, rate and channels as mono (n,) int16 at the rate; None where it is unreadable."""
    try:
        wave, file_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        return None
    mono = wave.mean(axis=1)
    if not np.isfinite(mono).all():
        return None
    if file_rate_hz != rate_hz and len(mono):
        mono = soxr.resample(mono, file_rate_hz, rate_hz)
    samples: NDArray[np.int16] = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    return samples


def decode_all(
    paths: Sequence[Path], cache: Path, said: Callable[[int, int], None] | None = None
) -> list[NDArray[np.int16] | None]:
    """Return the samples (n,) int16 of every file, memory-mapped and read-only; None of the unreadable ones.

    said: told now and then how many of how many files have been decoded.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stamps = [_stamp(path) for path in paths]
    known = dict(_known(cache))
    new = [s for s in dict.fromkeys(stamps) if s is not None and s not in known]
    with _workers(len(new)) as run:
        for start in range(0, len(new), PIECE):
            piece = new[start : start + PIECE]
            known.update(_write(cache, piece, run([stamp[0] for stamp in piece])))
            if said:
                said(min(start + PIECE, len(new)), len(new))
    return [known.get(stamp) if stamp else None for stamp in stamps]


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _workers(count: int) -> Iterator[Callable[[list[str]], Iterable[NDArray[np.int16] | None]]]:
    if count <= ALONE:
        yield lambda paths: map(decode, paths)
        return
    # Spawned, not forked: this process may have torch's threads, which a fork would leave in any state.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda paths: pool.map(decode, paths, chunksize=16)


def _known(cache: Path) -> Iterator[tuple[Stamp, NDArray[np.int16]]]:
    for index in sorted(cache.glob("*.json")):
        yield from _read(index)


def _read(index: Path) -> Iterator[tuple[Stamp, NDArray[np.int16]]]:
    audio = index.with_suffix(".i16")
    rows = json.loads(index.read_text(encoding="utf-8"))
    if not audio.is_file() or audio.stat().st_size != 2 * sum(count for *_, count in rows):
        return  # as good as not there: decoded anew under the same name
    every: NDArray[np.int16] = np.zeros(0, np.int16)
    if audio.stat().st_size:
        every = np.memmap(audio, np.int16, mode="r")
    for path, size_bytes, changed_ns, start, count in rows:
        yield (path, size_bytes, changed_ns), every[start : start + count]


def _write(
    cache: Path, stamps: Sequence[Stamp], waves: Iterable[NDArray[np.int16] | None]
) -> Iterator[tuple[Stamp, NDArray[np.int16]]]:
    """Write one piece and yield what is in it; unreadable files are left out, so the next run tries them again."""
    name = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]
    half = cache / f".{name}-{os.getpid()}"
    rows: list[list[str | int]] = []
    start = 0
    try:
        with open(half, "wb") as out:
            for stamp, wave in zip(stamps, waves, strict=True):
                if wave is not None:
                    out.write(wave.tobytes())
                    rows.append([*stamp, start, len(wave)])
                    start += len(wave)
            out.flush()
            os.fsync(out.fileno())
        if not rows:
            return
        half.rename(cache / f"{name}.i16")
        half.write_text(json.dumps(rows), encoding="utf-8")
        half.rename(cache / f"{name}.json")
    finally:
        half.unlink(missing_ok=True)
    yield from _read(cache / f"{name}.json")
