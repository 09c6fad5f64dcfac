"""Files that are there whole or not at all, whatever happens meanwhile."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000


def write_flac(path: Path, samples: NDArray[np.int16]) -> int:
    """Write (n,) samples at 16 kHz; return the file's bytes. Raises OSError."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    return write_file(path, buffer.getvalue())


def write_file(path: Path, content: bytes) -> int:
    """Write a file, durably; return its bytes. Raises OSError, and then there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return len(content)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
