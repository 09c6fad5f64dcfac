"""Decoding once: any format, what changed is decoded anew, an interrupted run leaves nothing half."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from myna.adapt import decode as module
from myna.adapt.decode import decode, decode_all
from tests.adapt.made import write
from tests.server.speech import voice


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (8_000, 1), (44_100, 2)])
def test_any_format_rate_and_channels(tmp_path: Path, suffix: str, rate_hz: int, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    soundfile.write(path, np.tile(tone[:, None], channels), rate_hz)
    found = decode(str(path))
    assert found is not None
    assert found.dtype == np.int16
    assert abs(len(found) - 16_000) < 3000  # mp3 pads
    middle = found[4000:12000].astype(np.float64)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 * 32768 / np.sqrt(2), rel=0.05)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 220


def test_what_has_the_rate_is_kept_to_the_bit(tmp_path: Path) -> None:
    samples = write(tmp_path / "a.wav", 0.5)
    found = decode(str(tmp_path / "a.wav"))
    assert found is not None
    np.testing.assert_array_equal(found, samples)


def test_unreadable_files_are_none_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    good = write(tmp_path / "good.wav", 0.5)
    paths = [tmp_path / "bad.wav", tmp_path / "good.wav", tmp_path / "absent.wav"]
    found = decode_all(paths, tmp_path / "cache")
    assert [wave is None for wave in found] == [True, False, True]
    write(tmp_path / "absent.wav", 0.4)
    assert [wave is None for wave in decode_all(paths, tmp_path / "cache")] == [True, False, False]
    assert found[1] is not None
    np.testing.assert_array_equal(found[1], good)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the names of files that are decoded."""
    names: list[str] = []

    def listening(path: str) -> NDArray[np.int16] | None:
        names.append(Path(path).name)
        return decode(path)

    monkeypatch.setattr(module, "decode", listening)
    return names


def test_only_what_is_new_or_changed_is_decoded(tmp_path: Path, decoded: list[str]) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    for i, path in enumerate(paths):
        write(path, 0.3 + i / 10, i)
    cache = tmp_path / "cache"
    decode_all(paths[:3], cache)
    assert decoded == ["0.wav", "1.wav", "2.wav"]
    decode_all(paths[1:], cache)
    assert decoded[3:] == ["3.wav"]
    changed = write(paths[1], 0.9, 9)
    found = decode_all(paths + paths, cache)
    assert decoded[4:] == ["1.wav"]
    assert found[1] is not None
    np.testing.assert_array_equal(found[1], changed)
    for i in (0, 2, 3):
        np.testing.assert_array_equal(found[i], voice(0.3 + i / 10, seed=i))
        np.testing.assert_array_equal(found[i], found[i + 4])


def test_an_interrupted_run_leaves_whole_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(5)]
    for i, path in enumerate(paths):
        write(path, 0.3, i)
    monkeypatch.setattr(module, "PIECE", 2)
    cache, said = tmp_path / "cache", list[tuple[int, int]]()

    def interrupt(done: int, total: int) -> None:
        said.append((done, total))
        paths[3].write_bytes(b"")  # noticed when it is decoded
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_all(paths, cache, interrupt)
    assert said == [(2, 5), (4, 5)]
    assert not list(cache.glob(".*"))
    write(paths[3], 0.3, 3)
    found = decode_all(paths, cache)
    assert decoded == ["0.wav", "1.wav", "2.wav", "3.wav", "3.wav", "4.wav"]
    for i, wave in enumerate(found):
        np.testing.assert_array_equal(wave, voice(0.3, seed=i))


def test_nothing_half_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> NDArray[np.int16] | None:
        raise KeyboardInterrupt

    write(tmp_path / "a.wav", 0.3)
    with monkeypatch.context() as patch:
        patch.setattr(module, "decode", fail)
        with pytest.raises(KeyboardInterrupt):
            decode_all([tmp_path / "a.wav"], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_map_is_made_anew(tmp_path: Path) -> None:
    samples = write(tmp_path / "a.wav", 0.3)
    decode_all([tmp_path / "a.wav"], tmp_path / "cache")
    (audio,) = (tmp_path / "cache").glob("*.i16")
    audio.write_bytes(audio.read_bytes()[:-2])
    (found,) = decode_all([tmp_path / "a.wav"], tmp_path / "cache")
    np.testing.assert_array_equal(found, samples)


def test_workers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    for i, path in enumerate(paths):
        write(path, 0.3, i)
    monkeypatch.setattr(module, "ALONE", 1)
    for i, wave in enumerate(decode_all(paths, tmp_path / "cache")):
        np.testing.assert_array_equal(wave, voice(0.3, seed=i))
