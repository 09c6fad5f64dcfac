"""Files that are there whole or not at all, whatever happens meanwhile."""

import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000


def write_flac(path: Path, samples: NDArray[np.int16]) -> int:
    """Write (n,) samples at 16 kHz, durably; return the file's bytes. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            soundfile.write(file, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        temporary.rename(path)
        sync_folder(path.parent)
    except soundfile.SoundFileError as error:
        raise OSError(f"can't write audio ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)
    return size


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
