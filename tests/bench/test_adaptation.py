"""The benchmark of adaptation: who is measured, how it is summed up, and a run from end to end on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer
from typer.testing import CliRunner

from myna.bench.adaptation import adaptation, pooled, read_subjects, relative, summary
from myna.bench.manifest import ManifestError
from tests.server.speech import voice
from tests.support import TINY

WORDS = ("ba bi bu", "bi ba", "bu bu ba", "ba", "bi bi", "bu ba bi", "ba bu")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = []
    for speaker in range(2):
        for number, text in enumerate(WORDS):
            name = f"{speaker}-{number}.wav"
            soundfile.write(tmp_path / name, voice(1.2, 120 + 40 * speaker, seed=number), 16_000)
            role = "test" if number % 3 == 0 else "adapt"
            rows.append({"audio": name, "text": text, "speaker": f"speaker {speaker}", "accent": "made", "role": role})
    path = tmp_path / "speakers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_subjects_are_speakers_with_both_roles(manifest: Path) -> None:
    first, second = read_subjects(manifest)
    assert (first.name, second.name) == ("speaker 0", "speaker 1")
    assert (len(first.adapt), len(first.test)) == (4, 3)
    assert [one.name for one in read_subjects(manifest, ["speaker 1"])] == ["speaker 1"]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"role": None}, "role"), ({"role": "train"}, "role"), ({"speaker": ""}, "speaker"), ({"role": "adapt"}, "test")],
)
def test_a_manifest_that_will_not_do_is_refused(manifest: Path, change: dict[str, str | None], said: str) -> None:
    rows = [json.loads(line) | change for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ManifestError, match=said):
        list(read_subjects(manifest))


def test_accents_are_learnt_from_some_and_tested_on_others(manifest: Path) -> None:
    (one, _) = read_subjects(manifest)
    several = [type(one)(f"s{i}", "made", "all", one.adapt[i : i + 1], one.test[:1]) for i in range(4)]
    (accent,) = pooled(several)
    assert accent.adapt == (one.adapt[0], one.adapt[2])
    assert len(accent.test) == 2
    assert pooled(several[:3]) == []


def row(speaker: str, base: float, adapted: float, **more: Any) -> dict[str, Any]:
    learnt = {
        "adapted_wer": adapted, "adapted_cer": adapted, "published": adapted != base, "significantly_better": False,
        "significantly_worse": adapted > 1.5 * base, "cpu_s": 1.0, "peak_mb": 100, "why": "",
    }  # fmt: skip
    about = {"speaker": speaker, "accent": "", "corpus": "made", "adapt_utterances": 10, "test_utterances": 9}
    return about | {"base_wer": base, "base_cer": base, "amounts": {"10": learnt}} | learnt | more


def test_means_are_over_speakers_and_relative() -> None:
    found = summary([row("a", 0.4, 0.2), row("b", 0.1, 0.1), row("c", 0.2, 0.4), row("d", 0.0, 0.0)])
    assert found["all"]["wer_reduction"] == pytest.approx((0.5 + 0 - 1 + 0) / 4)
    assert found["all"]["published"] == 2
    assert (found["all"]["worse_than_5_percent"], found["all"]["significantly_worse"]) == (1, 1)
    assert found["curve"]["10"]["speakers"] == 4
    low, high = found["all"]["wer_reduction_interval"]
    assert low <= found["all"]["wer_reduction"] <= high
    assert found["pseudo"] is None


def test_no_errors_cannot_be_reduced() -> None:
    assert relative(row("a", 0.0, 0.0)) == 0
    assert relative(row("a", 0.0, 0.1)) < 0


def test_runs_and_goes_on(manifest: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("passes = [1]\nmin_utterances = 2\nspeeds = [1.0]\nfolds = 2\n")
    app = typer.Typer()
    app.command()(adaptation)
    asked = [
        "--manifest", str(manifest), "--model", str(TINY), "--config", str(config), "--amounts", "2,4", "--pseudo",
        "--work", str(tmp_path / "work"), "--plot", str(tmp_path / "curve.png"), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    measured = json.loads(done.stdout)
    assert [one["speaker"] for one in measured["speakers"]] == ["speaker 0", "speaker 1"]
    for one in measured["speakers"]:
        assert set(one["amounts"]) == {"2", "4"}
        assert one["published"] or one["adapted_wer"] == one["base_wer"]
        assert {"speaker", "accent", "adapt_utterances", "test_utterances", "base_cer", "adapted_cer"} <= set(one)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    again = CliRunner().invoke(app, asked)
    assert json.loads(again.stdout)["speakers"] == measured["speakers"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()} == kept
