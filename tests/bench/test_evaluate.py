"""`myna evaluate` on the tiny bundle: the JSON that others rely on, and clear errors."""

import json
from pathlib import Path

import pytest
import soundfile
import typer
from typer.testing import CliRunner

from myna.bench.evaluate import evaluate, run, transcript
from myna.bench.manifest import read_manifest
from myna.models.errors import MynaError
from myna.server.protocol import Error
from tests.server.speech import talk
from tests.support import TINY

APP = typer.Typer()
APP.command()(evaluate)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = []
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", talk(("silence", 0.2), ("voice", 0.6 + 0.3 * i)), 16_000)
        rows.append({"audio": f"{i}.wav", "text": "ba ba", "corpus": "one" if i % 2 else "two"})
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_json_holds_rates_for_each_corpus(manifest: Path, tmp_path: Path) -> None:
    heard = tmp_path / "heard.jsonl"
    args = [str(manifest), "--model", str(TINY), "--chunk-ms", "300", "--json", "--output", str(heard)]
    done = CliRunner().invoke(APP, args)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {name: row["utterances"] for name, row in found["corpora"].items()} == {"one": 2, "two": 3}
    assert found["utterances"] == 5
    for row in (found, *found["corpora"].values()):
        assert row["wer_interval"][0] <= row["wer"] <= row["wer_interval"][1]
        assert row["cer"] >= 0
    assert found["rtf"] > 0
    assert (found["chunk_ms"], found["model"]) == (300, "tiny 1 fp32")
    assert found["audio_seconds"] == pytest.approx(5 * 0.8 + 0.3 * 10, abs=0.11)
    rows = [json.loads(line) for line in heard.read_text(encoding="utf-8").splitlines()]
    assert [Path(row["audio"]).name for row in rows] == [f"{i}.wav" for i in range(5)]


def test_the_table_is_for_people(manifest: Path) -> None:
    done = CliRunner().invoke(APP, [str(manifest), "--model", str(TINY), "--limit", "1"])
    assert done.exit_code == 0
    assert "WER %" in done.stdout
    assert "all" in done.stdout
    assert "480 ms" in done.stdout


def test_repeats_exactly(manifest: Path) -> None:
    clips = read_manifest(manifest)
    first, second = (run(clips, str(TINY), 480, threads=1) for _ in range(2))
    assert first | {"rtf": 0} == second | {"rtf": 0}


def test_an_unknown_chunk_is_an_error_not_a_rate(manifest: Path) -> None:
    with pytest.raises(MynaError, match=r"chunk_ms: must be one of 300, 480"):
        run(read_manifest(manifest), str(TINY), 310)


def test_transcript_raises_what_the_session_said() -> None:
    with pytest.raises(MynaError, match="inference_failed: broken"):
        transcript([Error(code="inference_failed", message="broken", fatal=True)])
