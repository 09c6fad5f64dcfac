"""Chunk sizes: the arithmetic of waiting, and the report."""

import json
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from myna.bench.chunks import waiting_ms
from myna.bench.cli import app
from myna.models.bundle import read_bundle
from tests.server.speech import talk
from tests.support import TINY


@pytest.mark.parametrize(("frames", "mean_ms", "max_ms"), [(1, 95, 125), (8, 305, 545), (16, 545, 1025)])
def test_waiting_is_half_a_chunk_and_the_look_ahead(frames: int, mean_ms: float, max_ms: float) -> None:
    found = waiting_ms(read_bundle(TINY).spec, frames)
    assert found == {"look_ahead_ms": 65, "wait_mean_ms": mean_ms, "wait_max_ms": max_ms}


def test_reports_each_size(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", talk(("voice", 1.5)), 16_000)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio": "a.wav", "text": "ba"}\n', encoding="utf-8")
    args = ["chunks", str(manifest), "--model", str(TINY)]
    done = CliRunner().invoke(app, [*args, "--frames", "5", "--frames", "16", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(row["chunk_ms"], row["left_ms"]) for row in found["chunks"]] == [(300, 3600), (960, 3840)]
    assert all(row["wer"] >= 0 and row["step_ms"] > 0 for row in found["chunks"])
    assert found["environment"]["cores"]
    table = CliRunner().invoke(app, args, env={"COLUMNS": "160"})
    assert table.exit_code == 0
    assert all(size in table.stdout for size in ("300", "480", "720", "960"))
