"""Swaps under live streams, on a real server with the tiny bundle."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from myna.adapt.store import Versions
from myna.bench.cli import app
from myna.bench.load import RATE_HZ
from myna.bench.manifest import ManifestError
from myna.bench.swap import Plan, Speakers, measure, random_adapter
from myna.models.adapter_file import read_adapter
from myna.models.bundle import STEP, read_bundle
from tests.server.speech import talk
from tests.support import TINY

BUNDLE = read_bundle(TINY)


def test_a_random_adapter_fits_and_bends_everything() -> None:
    first, second = (random_adapter(BUNDLE, seed) for seed in (0, 1))
    assert first != second
    packed = read_adapter(first, BUNDLE.spec, BUNDLE.manifest.sha256[STEP]).packed(BUNDLE.spec)
    for array in (packed.down, packed.up, packed.shift):
        assert (array != 0).mean() > 0.9


def test_every_change_is_another_version(tmp_path: Path) -> None:
    speakers = Speakers(tmp_path, BUNDLE, 2)
    versions = Versions(speakers.store)
    first = [versions.in_use(name) for name in speakers.names]
    for number in range(8):
        speakers.change(number)
    for before, changes in zip(first, speakers.changes, strict=True):
        assert before is not None
        used: list[str | None] = [before.version, *(change.version for change in changes)]
        assert len(set(used)) == 3
        assert used[2] == used[0]
        assert all(a != b for a, b in itertools.pairwise(used))
    assert speakers.rolled_back == 4
    assert len({version for changes in speakers.changes for version in changes}) == 8
    speakers.store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the server's memory from /proc")
def test_streams_see_changes_and_lose_nothing(tmp_path: Path) -> None:
    lines = []
    for seconds in (0.6, 0.9):
        soundfile.write(tmp_path / f"{seconds}.wav", talk(("silence", 0.3), ("voice", seconds)), RATE_HZ)
        lines.append(json.dumps({"audio": f"{seconds}.wav", "text": "ba"}))
    (tmp_path / "clips.jsonl").write_text("\n".join(lines))
    args = [str(tmp_path / "clips.jsonl"), "--model", str(TINY), "--streams", "2", "--swaps", "8", "--every-s", "1"]
    done = CliRunner().invoke(app, ["swap", *args, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["swaps"]["made"], found["swaps"]["rolled_back"]) == (8, 4)
    assert 0 < found["swaps"]["seen"] <= 8
    assert found["swaps"]["refused"] == 0
    assert found["finals"]["heard"] == found["finals"]["expected"] > 6
    assert found["quiet"]["captions"] > 0
    assert found["swapping"]["captions"] > 0
    assert found["notice_ms"]["max"] > 0
    assert len(found["resident_mb"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads the server's memory from /proc")
def test_without_speech_there_is_nothing_to_measure() -> None:
    with pytest.raises(ManifestError, match="no speech"):
        measure([np.zeros(RATE_HZ, np.int16)], str(TINY), 1, Plan(1, 1.0), progress=False)
