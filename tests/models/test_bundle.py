"""A model on disk: whole and verified, or an error that names what is wrong; written wholly or not at all."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from myna.models import bundle as module
from myna.models.bundle import (
    CARD,
    MANIFEST,
    STEP,
    TOKENS,
    open_bundle,
    read_bundle,
    resolve_bundle,
    unpack,
    write_bundle,
    write_manifest,
)
from myna.models.confidence import Calibration, Platt
from myna.models.errors import BundleError
from tests.support import TINY


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A bundle to damage."""
    return shutil.copytree(TINY, tmp_path / "copy")


def rewrite(folder: Path, **changes: Any) -> None:
    """Change fields of a manifest; `spec` is merged."""
    manifest = json.loads((folder / MANIFEST).read_text())
    changes["spec"] = manifest["spec"] | changes.get("spec", {})
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def zipped(folder: Path, archive: Path, prefix: str = "tiny-1/") -> Path:
    with zipfile.ZipFile(archive, "w") as out:
        for file in folder.iterdir():
            out.write(file, prefix + file.name)
    return archive


def test_a_bundle_is_read() -> None:
    bundle = read_bundle(TINY)
    assert (bundle.manifest.name, bundle.manifest.precision) == ("tiny", "fp32")
    assert len(bundle.tokens.units) == bundle.spec.vocabulary
    assert bundle.step_path.is_file()


@pytest.mark.parametrize("name", [STEP, TOKENS, CARD])
def test_a_changed_file_is_named(copy: Path, name: str) -> None:
    with open(copy / name, "r+b") as file:
        file.seek(10)
        file.write(b"\xff\x00")
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [STEP, TOKENS, CARD])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"precision": "fp8"}, "precision"),
        ({"format": 2}, "format"),
        ({"name": "../tiny"}, "name"),
        ({"spec": {"subsampling": 5}}, r"spec\.subsampling"),
        ({"spec": {"colour": "red"}}, r"spec\.colour"),
        ({"spec": {"vocabulary": 40}}, "has 39 units, bundle.json says 40"),
        ({"confidence": 0.9}, "confidence"),
        ({"confidence": {"word": {"slope": 1, "intercept": 0}}}, r"confidence\.utterance"),
        ({"confidence": {"word": {"slope": -1, "intercept": 0}}}, r"confidence\.word\.slope: .*greater than 0"),
        ({"sha256": {}}, "sha256 lacks step.onnx"),
        ({"sha256": {STEP: "0", TOKENS: "0", "../outside": "0"}}, "is missing|is damaged"),
    ],
)
def test_a_wrong_manifest_is_named(copy: Path, changes: dict[str, Any], says: str) -> None:
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=says):
        read_bundle(copy)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"name": 1}'])
def test_a_manifest_that_is_none_is_refused(copy: Path, content: str) -> None:
    (copy / MANIFEST).write_text(content)
    with pytest.raises(BundleError, match=MANIFEST):
        read_bundle(copy)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        read_bundle(tmp_path)


def test_a_zip_is_opened_like_its_folder(tmp_path: Path) -> None:
    for prefix in ("tiny-1/", ""):
        with open_bundle(zipped(TINY, tmp_path / "tiny.zip", prefix)) as bundle:
            assert bundle.manifest == read_bundle(TINY).manifest
            kept = bundle.path
        assert not kept.exists()


def test_a_zip_writes_into_its_own_folder_only(tmp_path: Path) -> None:
    archive, folder = tmp_path / "evil.zip", tmp_path / "inside"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("../../escaped", "x")
    unpack(archive, folder)
    assert [file.name for file in tmp_path.rglob("escaped")] == ["escaped"]
    assert (folder / "escaped").is_file()
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr("elsewhere/file", "x")
    with pytest.raises(BundleError, match="files of one folder"):
        unpack(archive, folder)


def test_a_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"not a zip")
    with pytest.raises(BundleError, match=r"model\.zip: is neither"), open_bundle(tmp_path / "model.zip"):
        pass


def files_of(folder: Path) -> dict[str, bytes | Path]:
    return {name: folder / name for name in (STEP, TOKENS, CARD)}


def test_a_bundle_is_written_and_replaced(tmp_path: Path) -> None:
    target, manifest = tmp_path / "new/tiny", read_bundle(TINY).manifest
    write_bundle(target, manifest, files_of(TINY))
    assert read_bundle(target).manifest == manifest
    write_bundle(target, manifest.model_copy(update={"version": "2"}), files_of(TINY) | {CARD: b"# Second\n"})
    assert read_bundle(target).manifest.version == "2"
    assert (target / CARD).read_bytes() == b"# Second\n"
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]


def test_a_calibration_is_written_and_read_and_taken_out(tmp_path: Path) -> None:
    target, manifest = tmp_path / "tiny", read_bundle(TINY).manifest
    assert manifest.confidence is None
    fitted = Calibration(word=Platt(slope=0.9, intercept=-0.4), utterance=Platt(slope=1.1, intercept=0.25))
    write_bundle(target, manifest.model_copy(update={"confidence": fitted}), files_of(TINY))
    assert read_bundle(target).manifest == manifest.model_copy(update={"confidence": fitted})
    write_manifest(target, manifest)
    assert read_bundle(target).manifest == manifest
    assert "confidence" not in json.loads((target / MANIFEST).read_text())  # as versions before it wrote and read it
    assert {path.name for path in target.iterdir()} == {MANIFEST, STEP, TOKENS, CARD}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target, manifest = tmp_path / "tiny", read_bundle(TINY).manifest
    with pytest.raises(FileNotFoundError):
        write_bundle(target, manifest, files_of(TINY) | {CARD: tmp_path / "absent"})
    assert list(tmp_path.iterdir()) == []
    write_bundle(target, manifest, files_of(TINY))
    with pytest.raises(FileNotFoundError):
        write_bundle(target, manifest, {CARD: tmp_path / "absent"})
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert read_bundle(target).manifest == manifest


def test_names_paths_and_the_default_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRETRAINED", tmp_path)
    with pytest.raises(BundleError, match="no bundle english; give a folder or zip"):
        resolve_bundle()
    shutil.copytree(TINY, tmp_path / "english")
    shutil.copytree(TINY, tmp_path / "other")
    assert resolve_bundle() == tmp_path / "english"
    assert resolve_bundle("other") == tmp_path / "other"
    assert resolve_bundle(TINY) == TINY
    assert resolve_bundle(str(TINY)) == TINY
    for absent in ("third", "nowhere/english", str(tmp_path / "nowhere"), ""):
        with pytest.raises(BundleError, match="embedded: english, other"):
            resolve_bundle(absent)
