import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from myna.models.bundle import read_bundle, resolve_bundle
from myna.models.errors import BundleError
from myna.models.generic import GENERIC, Clip, generic_bytes, read_clips, read_generic
from tests.server.speech import voice


def test_what_is_written_is_read_nearly_as_it_was(tmp_path: Path) -> None:
    clips = [Clip(voice(1.0, seed=1), "one two"), Clip(voice(0.5, seed=2), "grün 老")]
    (tmp_path / GENERIC).write_bytes(generic_bytes(clips))
    read = read_generic(tmp_path / GENERIC)
    assert [clip.text for clip in read] == ["one two", "grün 老"]
    for before, after in zip(clips, read, strict=True):
        assert len(after.samples) == len(before.samples)
        likeness = np.corrcoef(before.samples, after.samples)[0, 1]
        assert likeness > 0.5


def test_a_damaged_set_is_refused(tmp_path: Path) -> None:
    content = generic_bytes([Clip(voice(0.5), "one")])
    for broken in (content[: len(content) // 2], b"", b"PK" + content[2:200]):
        (tmp_path / GENERIC).write_bytes(broken)
        with pytest.raises(BundleError, match="damaged"):
            read_generic(tmp_path / GENERIC)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / GENERIC, clips=np.array([{}], object), ends=np.zeros(1, int), texts=np.array(["a"]))
    with pytest.raises(BundleError):
        read_generic(tmp_path / GENERIC)


def test_clips_of_a_manifest_are_spread_evenly_and_resampled(tmp_path: Path) -> None:
    lines = []
    for number in range(10):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(800, np.int16), 8000)
        lines.append(json.dumps({"audio": f"{number}.wav", "text": f"text {number}"}))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    clips = read_clips(tmp_path / "m.jsonl", 4)
    assert [clip.text for clip in clips] == ["text 0", "text 3", "text 6", "text 9"]
    assert {len(clip.samples) for clip in clips} == {1600}


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"audio": "none.wav", "text": "a"}\n')
    with pytest.raises(BundleError, match="line 1"):
        read_clips(tmp_path / "m.jsonl", 4)


def test_the_default_model_has_one() -> None:
    bundle = read_bundle(resolve_bundle(), verify=False)
    clips = read_generic(bundle.path / GENERIC)
    assert len(clips) == 60
    assert 180 < sum(len(clip.samples) for clip in clips) / 16_000 < 300
