"""`myna model`."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from myna.models.bundle import CARD, STEP, read_bundle
from myna.models.cli import app
from myna.models.errors import MynaError
from myna.models.runtime import Runtime
from tests.support import CALIBRATION, SHARED, TINY, calibrated, needs_shared


def model(*arguments: object) -> str:
    """Run a command that must succeed; return what it prints."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    """Run a command that must fail; return what it says."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code != 0
    if isinstance(result.exception, MynaError):
        return str(result.exception)
    assert isinstance(result.exception, SystemExit), result.exception  # wrong usage, no traceback
    return result.output


def test_show_and_verify_say_what_a_bundle_is() -> None:
    shown: dict[str, Any] = json.loads(model("show", TINY, "--json"))
    assert (shown["name"], shown["precision"], shown["chunk_ms"]) == ("tiny", "fp32", 480)
    assert shown["spec"]["subsampling"] == 6
    assert "Random weights for tests" in model("show", TINY)
    assert shown["confidence"] == "raw"
    assert STEP in json.loads(model("verify", TINY, "--json"))["files"]
    assert "tiny 1: 3 files" in model("verify", TINY)


def test_verify_fails_on_damage(tmp_path: Path) -> None:
    archive = tmp_path / "tiny.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in TINY.iterdir():
            out.writestr(file.name, file.read_bytes()[:-1] if file.name == STEP else file.read_bytes())
    assert "step.onnx is damaged" in refused("verify", archive)
    assert "step.onnx is damaged" in refused("unpack", archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    archive, out = tmp_path / "tiny.zip", tmp_path / "out"
    with zipfile.ZipFile(archive, "w") as target:
        for file in TINY.iterdir():
            target.write(file, f"tiny-1/{file.name}")
    model("unpack", archive, out)
    assert read_bundle(out).manifest == read_bundle(TINY).manifest
    assert "exists" in refused("unpack", archive, out)


def test_list_prints_json() -> None:
    assert isinstance(json.loads(model("list", "--json"))["bundles"], list)


def test_an_unknown_bundle_is_named() -> None:
    assert "no bundle nonesuch" in refused("show", "nonesuch")


def test_every_command_explains_itself() -> None:
    for command in ("list", "show", "verify", "unpack", "import-wenet", "quantize"):
        assert "--help" in model(command, "--help")


@needs_shared
def test_a_wenet_checkpoint_becomes_a_bundle_that_streams_as_wenet_does(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `adapt`")
    from tests.models.streams import stream

    source, out = SHARED / "golden/wenet/u2_bn", tmp_path / "out"
    said = model("import-wenet", source, out, "--name", "u2", "--licence", "made for tests", "--left-frames", 64)
    assert "u2 1 fp32" in said
    bundle, expected = read_bundle(out), np.load(source / "expected.npz")
    assert (bundle.manifest.licence, bundle.spec.left_frames) == ("made for tests", 64)
    streamed = stream(Runtime(bundle), expected["feats"], 16, 64)
    assert np.abs(streamed - expected["chunk16_left4_stream"]).max() < 1e-4
    model("verify", out)


def speech(folder: Path) -> Path:
    wave = np.random.default_rng(0).integers(-9000, 9000, 16000).astype(np.int16)
    soundfile.write(folder / "a.wav", wave, 16000)
    (folder / "speech.jsonl").write_text('{"audio": "a.wav"}\n{"audio": "a.wav"}\n')
    return folder / "speech.jsonl"


def test_a_bundle_is_shrunk(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `adapt`")
    sizes = ("--blocks", 1, "--feed-forward", 20, "--front-channels", 16)
    model("shrink", calibrated(tmp_path / "full"), tmp_path / "small", "--speech", speech(tmp_path), *sizes)
    small = read_bundle(tmp_path / "small")
    assert small.manifest.confidence is None
    assert (small.manifest.name, small.manifest.precision) == ("small", "fp32")
    assert (small.spec.blocks, small.spec.feed_forward, small.spec.front_channels) == (1, 20, 16)
    model("verify", tmp_path / "small")
    said = refused("shrink", TINY, tmp_path / "none", "--speech", tmp_path / "speech.jsonl", "--blocks", 9)
    assert "blocks: must be 1 to 2" in said


def test_a_bundle_is_quantised(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `adapt`")
    speech(tmp_path)
    (tmp_path / "card.md").write_text("# mine\n")
    full = calibrated(tmp_path / "full")
    model("quantize", full, tmp_path / "int8", "--card", tmp_path / "card.md")
    assert (tmp_path / "int8" / CARD).read_text() == "# mine\n"
    model("quantize", full, tmp_path / "int4", "--precision", "int4", "--calibrate", tmp_path / "speech.jsonl")
    for precision in ("int8", "int4"):
        manifest = read_bundle(tmp_path / precision).manifest
        assert manifest.precision == precision
        assert manifest.confidence == CALIBRATION
        assert json.loads(model("show", tmp_path / precision, "--json"))["confidence"] == "calibrated"
        model("verify", tmp_path / precision)
    sizes = [(folder / STEP).stat().st_size for folder in (tmp_path / "int4", TINY)]
    assert sizes[0] < sizes[1]
    assert "is int8 already" in refused("quantize", tmp_path / "int8", tmp_path / "again")
    (tmp_path / "speech.jsonl").write_text('{"audio": "absent.wav"}')
    calibrate = ("--precision", "int4", "--calibrate", tmp_path / "speech.jsonl")
    assert "line 1" in refused("quantize", TINY, tmp_path / "none", *calibrate)


@needs_shared
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--name", "No Name"], "--name"),
        (["--chunk-choices", "4,x"], "whole numbers"),
        (["--chunk-choices", "0,8"], "1 or more"),
        (["--precision", "fp8"], "--precision"),
        (["--card", "/nowhere.md"], "--card"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: list[str], says: str) -> None:
    pytest.importorskip("torch", reason="needs the extra `adapt`")
    assert says in refused("import-wenet", SHARED / "golden/wenet/u2_bn", tmp_path / "out", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `adapt`")
    assert "has none of train.yaml" in refused("import-wenet", tmp_path, tmp_path / "out")
