"""Files of any kind and rate become the same packets."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from myna.client.errors import BadFile
from myna.client.files import RATE_HZ, duration_s, packets


def tone(rate_hz: int, seconds: float = 1.3) -> NDArray[np.float64]:
    wave: NDArray[np.float64] = 0.4 * np.sin(2 * np.pi * 500 * np.arange(round(rate_hz * seconds)) / rate_hz)
    return wave


def samples(path: Path, seconds: float = 0.2) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(packets(path, seconds)), np.int16)


@pytest.mark.parametrize(
    ("name", "rate_hz", "kind"),
    [
        ("a.wav", 16_000, {}),
        ("a.wav", 8_000, {}),
        ("a.wav", 44_100, {"subtype": "PCM_24"}),
        ("a.flac", 48_000, {}),
        ("a.mp3", 44_100, {}),
        ("a.ogg", 44_100, {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    ],
)
def test_reads_every_kind(tmp_path: Path, name: str, rate_hz: int, kind: dict[str, str]) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(rate_hz), rate_hz, **kind)
    heard = samples(path).astype(float)
    assert len(heard) == pytest.approx(1.3 * RATE_HZ, rel=0.06)  # MP3 pads
    assert duration_s(path) == pytest.approx(1.3, rel=0.06)
    middle = heard[RATE_HZ // 4 : RATE_HZ // 4 + RATE_HZ // 2]
    assert np.abs(np.fft.rfft(middle)).argmax() * 2 == pytest.approx(500, abs=2)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.4 * 32768 / np.sqrt(2), rel=0.15)


def test_packets_have_their_size_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wave = np.random.default_rng(0).integers(-20_000, 20_000, 33_333).astype(np.int16)
    soundfile.write(path, wave, RATE_HZ)
    sizes = [len(packet) for packet in packets(path, 0.1)]
    assert sizes == [3200] * 20 + [2 * 1333]
    np.testing.assert_array_equal(samples(path), wave)


def test_blocks_do_not_change_what_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(44_100), 44_100)
    np.testing.assert_array_equal(samples(path, 0.01), samples(path, 5.0))


def test_channels_are_mixed(tmp_path: Path) -> None:
    wave = tone(RATE_HZ)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), RATE_HZ)
    assert np.abs(samples(tmp_path / "a.wav")).max() <= 1


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    for name, said in [("text.wav", "is no audio"), ("none.wav", "no such file"), (".", "no such file")]:
        with pytest.raises(BadFile, match=said):
            list(packets(tmp_path / name))
