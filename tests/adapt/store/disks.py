"""A disk so small that tests can fill it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system of its own; `fill` leaves so many bytes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        self._filler.touch()

    def fill(self, left_bytes: int) -> None:
        self.empty()
        statistics = os.statvfs(self.folder)
        self._filler.write_bytes(bytes(max(0, statistics.f_bavail * statistics.f_frsize - left_bytes)))

    def empty(self) -> None:
        self._filler.write_bytes(b"")


@contextmanager
def small_disk(folder: Path, size_bytes: int = 4 << 20) -> Iterator[SmallDisk]:
    """Mount one; skip the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can't be mounted here (needs root)")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
