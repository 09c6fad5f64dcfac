"""`myna bench calibration` on the tiny bundle: halves without a common speaker, thresholds, what is written."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner

from myna.bench.calibration import halves, is_for_fitting, kept, report
from myna.bench.cli import app
from myna.bench.judged import Utterance
from myna.bench.manifest import ManifestError
from myna.models.bundle import MANIFEST, read_bundle
from myna.models.confidence import Calibration, Platt
from myna.models.errors import BundleError
from tests.server.speech import talk
from tests.support import TINY

SAME = Platt(slope=1, intercept=0)


def utterance(confidence: float, right: int, wrong: int, missing: int = 0, speaker: str = "a") -> Utterance:
    marks = (True,) * right + (False,) * wrong
    return Utterance(speaker, confidence, (confidence,) * len(marks), marks, right + wrong + missing, missing)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Clips of which the tiny bundle understands the first word."""
    rows = []
    for i in range(8):
        soundfile.write(tmp_path / f"{i}.wav", talk(("silence", 0.2), ("voice", 0.4 + 0.2 * i)), 16_000)
        rows.append({"audio": f"{i}.wav", "text": "kdpd" if i > 2 else "kd", "speaker": f"s{i}"})
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def measured(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["calibration", *map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_found_is_written_and_measured_again_alike(manifest: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(TINY, tmp_path / "tiny")
    found = measured(manifest, "--model", bundle)
    assert (bundle / MANIFEST).read_bytes() == (TINY / MANIFEST).read_bytes()
    assert measured(manifest, "--model", bundle, "--write")["confidence"] == found["confidence"]
    before, after = read_bundle(TINY).manifest, read_bundle(bundle).manifest
    assert after == before.model_copy(update={"confidence": Calibration.model_validate(found["confidence"])})
    again = measured(manifest, "--model", bundle)  # of raw confidence, though finals are calibrated by now
    assert {name: again[name] for name in found if name != "environment"} == {
        name: found[name] for name in found if name != "environment"
    }
    assert found["model"] == "tiny 1 fp32"
    assert sum(found[half]["speakers"] for half in ("fitted_on", "shown_on")) == 8
    assert found["thresholds"][0]["utterances"] == 1


def test_people_get_a_table_and_a_picture(manifest: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `adapt`")
    arguments = ["calibration", str(manifest), "--model", str(TINY), "--plot", str(tmp_path / "d.png")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "words: calibration error" in done.stdout
    assert "WER %" in done.stdout
    assert (tmp_path / "d.png").is_file()


def test_a_zip_is_not_written_to(manifest: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
        archive.write(TINY / MANIFEST, MANIFEST)
    arguments = ["calibration", str(manifest), "--model", str(tmp_path / "tiny.zip"), "--write"]
    with pytest.raises(BundleError, match=r"tiny\.zip: --write needs a folder"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_halves_share_no_speaker_and_stay_as_they_are() -> None:
    many = [utterance(0.5, 1, 1, speaker=f"s{i % 20}") for i in range(60)]
    to_fit, to_show = halves(many)
    assert len(to_fit) + len(to_show) == 60
    assert not {u.speaker for u in to_fit} & {u.speaker for u in to_show}
    assert [is_for_fitting(name) for name in ("s0", "s1", "s2", "s3")] == [True, True, False, False]
    with pytest.raises(ManifestError, match="more speakers"):
        halves(many[:1])


def test_a_threshold_by_hand() -> None:
    some = [utterance(0.9, 9, 1), utterance(0.8, 3, 0, 1), utterance(0.2, 0, 2)]
    assert kept(some, SAME, 0.0) == {
        "confidence": 0.0, "utterances": 1, "words": 1, "expected": pytest.approx(0.2125), "wer": 0.25,
    }  # fmt: skip
    assert kept(some, SAME, 0.75) == {
        "confidence": 0.75, "utterances": 0.6667, "words": 0.875, "expected": 0.1286, "wer": 0.1429,
    }  # fmt: skip
    assert kept(some, SAME, 0.95) is None


def test_what_is_too_sure_of_itself_is_mended() -> None:
    half = [name for name in map(str, range(40)) if is_for_fitting(name)][:5]
    other = [name for name in map(str, range(40)) if not is_for_fitting(name)][:5]
    said = [(0.95, 8, 2), (0.8, 6, 4), (0.6, 4, 6)]
    found = report([utterance(*counts, speaker=name) for name in (*half, *other) for counts in said])
    for kind in ("words", "utterances"):
        assert found[kind]["before"]["ece"] > 0.15
        assert found[kind]["after"]["ece"] < 0.03
    assert found["fitted_on"] == found["shown_on"] == {"utterances": 15, "words": 150, "speakers": 5}
