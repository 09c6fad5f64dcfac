"""Recordings handed in: any format and rate, each line kept once or refused with its field and the reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from myna.adapt.data import DataError
from myna.adapt.recordings import Tally, hand_in, keep, read_lines
from myna.adapt.store import AlreadyKept, Store
from tests.server.speech import silence, voice

FORMATS = [
    ("a.wav", 8_000, 1),
    ("b.flac", 44_100, 2),
    ("c.ogg", 22_050, 1),
    ("d.opus", 48_000, 2),
    ("e.mp3", 16_000, 1),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def write(path: Path, seconds: float = 1.0, rate_hz: int = 16_000, channels: int = 1) -> None:
    wave = soxr.resample(voice(seconds).astype(np.float32) / 32768, 16_000, rate_hz)
    kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, np.stack([wave] * channels, 1), rate_hz, **kind)


def enrolled(store: Store, folder: Path, *rows: Any, speaker: str = "anna", named: str | None = None) -> Tally:
    manifest = folder / "m.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return hand_in(store, speaker, manifest, named or speaker, read_lines(manifest))


def test_any_format_and_rate(store: Store, tmp_path: Path) -> None:
    for name, rate_hz, channels in FORMATS:
        write(tmp_path / name, 1.0, rate_hz, channels)
    rows = [{"audio": name, "text": f"Text, {name}!", "seconds": "ignored"} for name, *_ in FORMATS]
    rows[1]["audio"] = str(tmp_path / "b.flac")
    tally = enrolled(store, tmp_path, *rows, "")
    assert tally.refused == []
    kept = store.utterances("anna")
    assert [one.text for one in kept] == [row["text"] for row in rows] == [row["text"] for row in tally.kept]
    for one, row in zip(kept, tally.kept, strict=True):
        assert (one.source, one.consent, one.heard, one.model, one.adapter) == ("enrolled", "enrolled", "", "", None)
        assert one.id == row["id"]
        assert one.seconds == pytest.approx(1.0, abs=0.06)
        samples = one.samples().astype(np.float64)
        assert len(samples) == one.seconds * 16_000
        assert 0.7 < samples.std() / voice(1.0).std() < 1.3


def test_a_second_run_keeps_nothing_twice(store: Store, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, 1.0 if name == "a.wav" else 0.5)
    rows = [{"audio": "a.wav", "text": "one"}, {"audio": "b.wav", "text": "one"}, {"audio": "a.wav", "text": " one "}]
    first = enrolled(store, tmp_path, *rows)
    assert (len(first.kept), first.already) == (2, 1)
    second = enrolled(store, tmp_path, *rows, {"audio": "a.wav", "text": "two"})
    assert (len(second.kept), second.already) == (1, 3)
    assert len(list((tmp_path / "data").rglob("*.flac"))) == len(store.utterances("anna")) == 3
    assert len(enrolled(store, tmp_path, *rows, speaker="ben").kept) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("[1, 2]", "must be a JSON object"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ({"text": "x"}, "audio: must be a string"),
        ({"audio": "a.wav"}, "text: must be a string"),
        ({"audio": 5, "text": "x"}, "audio: must be a string"),
        ({"audio": "a.wav", "text": None}, "text: must be a string"),
        ({"audio": "a.wav", "text": " ... "}, "text: holds no word"),
        ({"audio": "a.wav", "text": "\ud800"}, "text: holds no word"),
        ({"audio": "a.wav", "text": "x", "speaker": ["anna"]}, "speaker: must be a string"),
        ({"audio": "absent.wav", "text": "x"}, "audio: there is no file"),
        ({"audio": "", "text": "x"}, "audio: there is no file"),
        ({"audio": "a\0b", "text": "x"}, "audio: there is no file"),
        ({"audio": "\ud800", "text": "x"}, "audio: there is no file"),
        ({"audio": "m.jsonl", "text": "x"}, "can't be read"),
        ({"audio": "headless.raw", "text": "x"}, "can't be read"),
        ({"audio": "cut.flac", "text": "x"}, "can't be read"),
        ({"audio": "empty.wav", "text": "x"}, "audio: is 0.00 s long, under 0.1 s"),
        ({"audio": "short.wav", "text": "x"}, "audio: is 0.09 s long, under 0.1 s"),
        ({"audio": "ten-minutes.flac", "text": "x"}, "audio: is 600 s long, over 60 s"),
        ({"audio": "silent.wav", "text": "x"}, "audio: is silent"),
        ({"audio": "broken.wav", "text": "x"}, "can't be read"),
    ],
)
def test_a_bad_line_is_refused_and_the_others_kept(store: Store, tmp_path: Path, row: Any, said: str) -> None:
    write(tmp_path / "a.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.int16), 16_000)
    write(tmp_path / "short.wav", 0.09)
    write(tmp_path / "cut.flac")
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:30])
    (tmp_path / "headless.raw").write_bytes(voice(1.0).tobytes())
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.int16), 16_000)
    soundfile.write(tmp_path / "broken.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    if isinstance(row, dict) and row.get("audio") == "ten-minutes.flac":
        soundfile.write(tmp_path / "ten-minutes.flac", silence(600.0), 16_000)
    good = {"audio": "a.wav", "text": "good"}
    tally = enrolled(store, tmp_path, good, "", row, good | {"text": "better"})
    assert [one["text"] for one in tally.kept] == ["good", "better"]
    ((line, reason),) = [(one["line"], one["reason"]) for one in tally.refused]
    assert line == 3
    assert said in reason
    assert reason.isprintable()
    assert len(store.utterances("anna")) == 2


def test_lines_of_other_speakers_are_left(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    speakers = ["anna", "ben", None, "", 7, "Anna"]
    rows = [{"audio": "a.wav", "text": f"text {i}", "speaker": who} for i, who in enumerate(speakers)]
    tally = enrolled(store, tmp_path, *rows)
    assert [one["text"] for one in tally.kept] == ["text 0", "text 2", "text 3"]
    assert tally.others == {"ben": 1, "7": 1, "Anna": 1}
    assert [one["text"] for one in enrolled(store, tmp_path, rows[4], rows[0], named="7").kept] == ["text 4"]


@pytest.mark.parametrize(("content", "said"), [(b"RIFF\xff\xfe", "is not UTF-8"), (None, "No such file")])
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content:
        (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_lines(tmp_path / "m.jsonl")


def test_keep(store: Store) -> None:
    row = keep(store, "anna", "Ba di.", voice(0.5))
    assert row == {"id": store.utterances("anna")[0].id, "text": "Ba di.", "seconds": 0.5}
    with pytest.raises(AlreadyKept):
        keep(store, "anna", "Ba di.", voice(0.5))
