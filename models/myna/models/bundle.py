"""A model on disk: a folder, or a zip of it, with a manifest that names and hashes every file.

bundle.json      the manifest: name, version, precision, licence, ModelSpec, calibration, sha256 of every other file
step.onnx        the one-chunk step; the only copy of the weights
tokens.txt       `unit id` lines
generic.npz      other people's speech, by which adaptation sees what it would forget; not in every bundle
MODEL_CARD.md    where the weights come from, what they are good and bad at
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from myna.models.confidence import Calibration
from myna.models.errors import BundleError
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable, read_units

MANIFEST = "bundle.json"
STEP = "step.onnx"
TOKENS = "tokens.txt"
CARD = "MODEL_CARD.md"
DEFAULT = "english"
PRETRAINED = Path(__file__).parent / "pretrained"

Precision = Literal["fp32", "int8", "int4"]


class Manifest(BaseModel):
    """`bundle.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^[0-9a-z][0-9a-z.-]{0,31}$")
    language: str = Field("en", description="BCP 47")
    precision: Precision
    licence: str = Field(description="terms of the weights, in one line; the card says more")
    spec: ModelSpec
    adapter_blocks: tuple[int, ...] = Field(
        (), description="blocks whose adapter slots are in use; empty: measured later"
    )
    confidence: Calibration | None = Field(None, description="what posteriors are worth; none: not measured")
    sha256: dict[str, str] = Field(description="of every other file")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read and verified."""

    path: Path
    manifest: Manifest
    tokens: TokenTable

    @property
    def spec(self) -> ModelSpec:
        """The model's arithmetic."""
        return self.manifest.spec

    @property
    def step_path(self) -> Path:
        """The graph."""
        return self.path / STEP


def resolve_bundle(name: str | Path | None = None) -> Path:
    """Find a bundle: None is the default, else the name of an embedded one, or a folder or zip. Raises BundleError."""
    wanted = DEFAULT if name is None else str(name)
    if wanted in embedded_bundles():
        return PRETRAINED / wanted
    if name is not None and wanted and Path(wanted).exists():
        return Path(wanted)
    known = ", ".join(embedded_bundles()) or "none"
    raise BundleError(f"model: no bundle {wanted}; give a folder or zip, or one of the embedded: {known}")


def embedded_bundles() -> list[str]:
    """Name the bundles inside the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{MANIFEST}"))


def read_bundle(path: Path, verify: bool = True) -> Bundle:
    """Read a bundle from its folder; `verify` hashes every file. Raises BundleError, which names what is wrong."""
    if path.is_file():
        raise BundleError(f"{path.name}: is a file; unpack it first with `myna model unpack`")
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path}: is no bundle ({MANIFEST} is missing)") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BundleError(f"{MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for name in (STEP, TOKENS):
        if name not in manifest.sha256:
            raise BundleError(f"{MANIFEST}: sha256 lacks {name}")
    for name, expected in manifest.sha256.items():
        if Path(name).name != name or not (path / name).is_file():
            raise BundleError(f"{path}: {name} is missing")
        if verify and _sha256(path / name) != expected:
            raise BundleError(f"{path}: {name} is damaged (its sha256 differs from {MANIFEST})")
    tokens = TokenTable(read_units(path / TOKENS), manifest.spec.blank_id)
    if len(tokens.units) != manifest.spec.vocabulary:
        raise BundleError(f"{TOKENS}: has {len(tokens.units)} units, {MANIFEST} says {manifest.spec.vocabulary}")
    return Bundle(path, manifest, tokens)


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Read a folder, or a zip by way of a temporary folder that goes afterwards."""
    if path.is_dir():
        yield read_bundle(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(path, Path(folder))
        yield read_bundle(Path(folder))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip of a bundle's files, none of which may lie in another folder. Raises BundleError."""
    try:
        with zipfile.ZipFile(archive) as source:
            members = [m for m in source.infolist() if not m.is_dir()]
            if len({Path(m.filename).parent for m in members}) != 1:
                raise BundleError(f"{archive.name}: must hold the files of one folder")
            for member in members:
                with source.open(member) as data, open(folder / Path(member.filename).name, "wb") as out:
                    shutil.copyfileobj(data, out)
    except zipfile.BadZipFile:
        raise BundleError(f"{archive.name}: is neither a bundle's folder nor a zip of one") from None


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> None:
    """Write a bundle atomically: all of it under `path`, or nothing. The manifest's hashes are made here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, temporary / name)
            else:
                (temporary / name).write_bytes(content)
        hashes = {name: _sha256(temporary / name) for name in sorted(files)}
        write_manifest(temporary, manifest.model_copy(update={"sha256": hashes}))
        for file in [*temporary.iterdir(), temporary]:
            _sync(file)
        temporary.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            path.rename(old / path.name)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a folder's manifest atomically; its other files stay as they are."""
    text = json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=1)
    temporary = folder / f".{MANIFEST}.new"
    temporary.write_text(text + "\n", encoding="utf-8")
    _sync(temporary)
    os.replace(temporary, folder / MANIFEST)
    _sync(folder)


def tokens_text(tokens: TokenTable) -> bytes:
    """Write `tokens.txt`."""
    return "".join(f"{unit} {i}\n" for i, unit in enumerate(tokens.units)).encode()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
