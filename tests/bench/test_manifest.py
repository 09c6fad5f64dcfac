"""Manifests: what is read, and errors that name the line and the field."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from myna.bench.manifest import Clip, ManifestError, load_samples, read_manifest, report, write_heard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.int16), 16_000)
    return tmp_path


def manifest(folder: Path, *lines: str) -> Path:
    path = folder / "m.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_reads_clips_relative_to_the_manifest(folder: Path) -> None:
    path = manifest(
        folder,
        '{"audio": "a.wav", "text": "one", "corpus": "x", "speaker": "s", "accent": "scots", "seconds": 3}',
        "",
        '{"audio": "a.wav", "text": "two", "corpus": null}',
    )
    audio = folder / "a.wav"
    assert read_manifest(path) == [Clip(audio, "one", "x", "s", "scots"), Clip(audio, "two", "all", "")]


def test_limit_is_for_each_corpus(folder: Path) -> None:
    rows = [json.dumps({"audio": "a.wav", "text": f"t{i}", "corpus": "xyy"[i % 3]}) for i in range(9)]
    assert [clip.text for clip in read_manifest(manifest(folder, *rows), limit=2)] == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", "line 2: must be a JSON object"),
        ('{"text": "x"}', "line 2: audio: must be a string"),
        ('{"audio": "a.wav", "text": 3}', "line 2: text: must be a string"),
        ('{"audio": "a.wav", "text": "x", "corpus": 1}', "line 2: corpus: must be a string"),
        ('{"audio": "b.wav", "text": "x"}', "line 2: audio: there is no file"),
        ('{"audio": "a.wav", "text": " ... "}', "line 2: text: holds no word"),
    ],
)
def test_a_bad_line_is_named(folder: Path, line: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read_manifest(manifest(folder, '{"audio": "a.wav", "text": "fine"}', line))


def test_a_bad_file_is_named(folder: Path) -> None:
    with pytest.raises(ManifestError, match="names no clip"):
        read_manifest(manifest(folder))
    with pytest.raises(ManifestError, match="No such file"):
        read_manifest(folder / "none.jsonl")
    (folder / "latin.jsonl").write_bytes(b'{"text": "\xe9"}')
    with pytest.raises(ManifestError, match="is not UTF-8"):
        read_manifest(folder / "latin.jsonl")
    (folder / "noise.wav").write_bytes(b"no audio at all")
    with pytest.raises(ManifestError, match=r"noise\.wav"):
        load_samples(folder / "noise.wav")


def test_audio_is_mixed_down_and_resampled(folder: Path) -> None:
    time_s = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(folder / "s.flac", np.stack([tone, np.zeros_like(tone)], axis=1), 44_100)
    samples = load_samples(folder / "s.flac")
    assert samples.dtype == np.int16
    assert len(samples) == 16_000
    spectrum = np.abs(np.fft.rfft(samples.astype(float)))
    assert int(spectrum.argmax()) == 440
    assert abs(int(samples.max()) - 8192) < 100


def test_report_groups_by_corpus_and_what_was_heard_is_written(tmp_path: Path) -> None:
    heard = [(Clip(Path("1"), "a b", "x"), "a b"), (Clip(Path("2"), "c é", "y"), "c")]
    found = report(heard)
    assert (found["wer"], found["utterances"]) == (0.25, 2)
    assert {name: row["wer"] for name, row in found["corpora"].items()} == {"x": 0.0, "y": 0.5}
    assert "accents" not in found
    write_heard(tmp_path / "out.jsonl", heard)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[1] == {"audio": "2", "corpus": "y", "reference": "c é", "hypothesis": "c"}


def test_scores_by_accent_where_it_is_known(folder: Path) -> None:
    clips = [Clip(folder / "a.wav", "one two", accent=accent) for accent in ("scots", "scots", "")]
    found = report(zip(clips, ["one", "one two", "no"], strict=True))
    assert {name: (row["wer"], row["utterances"]) for name, row in found["accents"].items()} == {"scots": (0.25, 2)}
