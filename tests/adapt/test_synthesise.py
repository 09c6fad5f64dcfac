"""`myna synthesise`: a manifest that training reads; goes on where it was; says what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

pytest.importorskip("hibari", reason="needs hibari-tts")

from myna.adapt.data import DataError, read_source
from myna.adapt.settings import Source
from myna.adapt.synthesise import DIGITS, LETTERS, MANIFEST, spell, synthesise

app = typer.Typer()
app.command()(synthesise)
TEXT = "Turn the light on.\nWhat's the weather like?\nWake me at 7.\n" + "far too long " * 20 + "\n"


def run(folder: Path, *arguments: object) -> list[dict[str, object]]:
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    words = [folder / "text.txt", "--out", folder / "made", *arguments]
    result = CliRunner().invoke(app, [str(a) for a in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in (folder / "made" / MANIFEST).read_text(encoding="utf-8").splitlines()]


def test_makes_speech_that_training_reads(tmp_path: Path) -> None:
    rows = run(tmp_path, "--hours", 0.002, "--spelled", 0)
    assert sum(float(str(row["seconds"])) for row in rows) >= 7.2
    assert {row["text"] for row in rows} == {"turn the light on", "what's the weather like"}
    for row in rows:
        wave, rate_hz = soundfile.read(tmp_path / "made" / str(row["audio"]))
        assert (rate_hz, wave.ndim) == (16_000, 1)
        assert len(wave) / rate_hz == pytest.approx(float(str(row["seconds"])), abs=0.02)
    (found, *_) = read_source(Source(kind="manifest", path=tmp_path / "made" / MANIFEST))
    assert (found.corpus, found.speaker, found.audio.is_file()) == ("synthetic", "hibari", True)


def test_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = run(tmp_path, "--hours", 0.003)
    manifest = tmp_path / "made" / MANIFEST
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    manifest.write_text("".join(lines[:2]) + lines[2][:20], encoding="utf-8")  # as a power cut leaves it
    assert run(tmp_path, "--hours", 0.003) == whole
    assert run(tmp_path, "--hours", 0.001) == whole
    other = run(tmp_path, "--hours", 0.004, "--seed", 7)
    assert other[: len(whole)] == whole
    assert all(str(row["audio"]).startswith("7-") for row in other[len(whole) :])


def test_digits_and_letters_come_one_by_one() -> None:
    for seed in range(50):
        words = spell(np.random.default_rng(seed)).split()
        assert 1 <= len(words) <= 7
        assert set(words) <= set(DIGITS) or set(words) <= set(LETTERS)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("At 7.\n")
    with pytest.raises(DataError, match="no line of 1 to 25 words"):
        CliRunner().invoke(app, [str(tmp_path / "text.txt"), "--out", str(tmp_path / "made")], catch_exceptions=False)
    result = CliRunner().invoke(
        app, [str(tmp_path / "text.txt"), "--out", str(tmp_path / "made"), "--styles", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "belong together" in result.output
