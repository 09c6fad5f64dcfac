"""Files that are there whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from myna.adapt.store.files import write_flac


def test_flac_holds_every_sample(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 32767, -32768] * 100, np.int16)
    size = write_flac(tmp_path / "a/b.flac", samples)
    assert size == (tmp_path / "a/b.flac").stat().st_size
    read, rate_hz = soundfile.read(tmp_path / "a/b.flac", dtype="int16")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(read, samples)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.flac").mkdir()
    with pytest.raises(OSError):
        write_flac(tmp_path / "b.flac", np.zeros(10, np.int16))
    assert [path.name for path in tmp_path.iterdir()] == ["b.flac"]
