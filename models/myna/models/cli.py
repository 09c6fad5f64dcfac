"""Look at, check, import and shrink models: list, show, verify, unpack, import-wenet, shrink, quantize, generic."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track
from rich.table import Table

from myna.models.bundle import (
    CARD,
    STEP,
    TOKENS,
    Bundle,
    Manifest,
    Precision,
    embedded_bundles,
    open_bundle,
    resolve_bundle,
    tokens_text,
    unpack,
    write_bundle,
)
from myna.models.bundle import read_bundle as read_folder
from myna.models.errors import BundleError
from myna.models.generic import GENERIC, generic_bytes, read_clips

if TYPE_CHECKING:
    from myna.models.nn.quantize import Method

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Name = Annotated[str | None, typer.Argument(help="An embedded bundle's name, or a folder or zip; else the default.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Target = Annotated[Path, typer.Argument(help="Folder of the new bundle; must not exist.")]
Chosen = Annotated[Precision, typer.Option(help="fp32 as it is; int8 and int4 are smaller and faster.")]


@app.command("list")
def list_bundles(as_json: Json = False) -> None:
    """List the bundles inside the package."""
    rows = [_summary(read_folder(resolve_bundle(name), verify=False)) for name in embedded_bundles()]
    if as_json:
        typer.echo(json.dumps({"bundles": rows}))
        return
    columns = ("name", "version", "language", "precision", "megabytes", "chunk_ms", "licence")
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table if rows else "This installation holds no bundle; give --model a folder or zip.")


@app.command()
def show(bundle: Name = None, as_json: Json = False) -> None:
    """Show what a bundle is: its sizes, chunks, precision, terms. Verifies it first."""
    with open_bundle(resolve_bundle(bundle)) as opened:
        summary, spec = _summary(opened), opened.spec.model_dump(mode="json")
        card = (opened.path / CARD).read_text(encoding="utf-8") if (opened.path / CARD).is_file() else ""
    if as_json:
        typer.echo(json.dumps(summary | {"spec": spec}))
        return
    table = Table(show_header=False, box=None)
    for key, value in (summary | spec).items():
        table.add_row(key, json.dumps(value) if isinstance(value, list | dict) else str(value))
    console = Console()
    console.print(table)
    console.print(card, markup=False, highlight=False)


@app.command()
def verify(bundle: Name = None, as_json: Json = False) -> None:
    """Check every file of a bundle against its hash, and that ONNX Runtime takes the graph; exit code 1 if not."""
    from myna.models.runtime import Runtime

    with open_bundle(resolve_bundle(bundle)) as opened:
        Runtime(opened)
        report = {"name": opened.manifest.name, "version": opened.manifest.version, "files": opened.manifest.sha256}
    if as_json:
        typer.echo(json.dumps(report))
    else:
        typer.echo(f"{report['name']} {report['version']}: {len(opened.manifest.sha256)} files, all as they should be")


@app.command("unpack")
def unpack_zip(archive: Annotated[Path, typer.Argument(help="Zip of a bundle.")], out: Target) -> None:
    """Unpack a zipped bundle to a folder, so that it need not be unpacked at each start."""
    _must_not_exist(out)
    with tempfile.TemporaryDirectory() as scratch:
        unpack(archive, Path(scratch))
        read = read_folder(Path(scratch))
        write_bundle(out, read.manifest, {name: read.path / name for name in read.manifest.sha256})
    typer.echo(f"{out}: {read.manifest.name} {read.manifest.version}")


@app.command("import-wenet")
def import_wenet(
    folder: Annotated[Path, typer.Argument(help="Holds train.yaml, final.pt, units.txt, and perhaps global_cmvn.")],
    out: Target,
    name: Annotated[str, typer.Option(help="Name of the bundle: a-z, 0-9, - and _.")] = "imported",
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1",
    language: Annotated[str, typer.Option(help="BCP 47, such as en or zh.")] = "en",
    licence: Annotated[str, typer.Option(help="Terms of the weights, in one line.")] = "unknown",
    card: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Markdown that becomes MODEL_CARD.md.")
    ] = None,
    chunk_frames: Annotated[int, typer.Option(min=1, help="Default chunk, in encoder frames.")] = 16,
    chunk_choices: Annotated[
        str, typer.Option(help="Chunks that streams may ask for, in encoder frames.")
    ] = "4,8,16,24",
    left_frames: Annotated[int, typer.Option(min=1, help="Encoder frames of left context.")] = 64,
    norm_eps: Annotated[float | None, typer.Option(help="LayerNorm's; 1e-12 for models of WeNet 1.x.")] = None,
    conv_history: Annotated[
        Literal["gate", "zeros"], typer.Option(help="What the convolution hears before an utterance; gate is WeNet's.")
    ] = "gate",
    precision: Chosen = "fp32",
) -> None:
    """Make a bundle of a WeNet checkpoint (U2 or U2++, conformer, causal): its encoder and CTC head.

    Needs the extra `adapt` (torch). A checkpoint does not say which LayerNorm eps it was trained with: give --norm-eps
    1e-12 where it is older than WeNet 2.0 and exactness matters.
    """
    from myna.models.nn.export import export_step
    from myna.models.nn.wenet import read_wenet

    _must_not_exist(out)
    choices = tuple(sorted({chunk_frames, *_frames(chunk_choices)}))
    model, tokens = read_wenet(folder, chunk_frames, choices, left_frames, norm_eps, conv_history)
    try:
        manifest = Manifest(
            name=name, version=version, language=language, precision="fp32", licence=licence, spec=model.spec, sha256={}
        )
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise typer.BadParameter(f"--{wrong['loc'][0]}: {wrong['msg']}") from None
    text = card.read_bytes() if card else f"# {name}\n\nImported from the WeNet checkpoint `{folder.name}`.\n".encode()
    with tempfile.TemporaryDirectory() as scratch:
        step = Path(scratch) / STEP
        export_step(model, step)
        _write(out, manifest, {STEP: step, TOKENS: tokens_text(tokens), CARD: text}, precision)


@app.command("shrink")
def shrink_bundle(
    bundle: Annotated[str, typer.Argument(help="A bundle: folder or zip.")],
    out: Target,
    speech: Annotated[Path, typer.Option(exists=True, dir_okay=False, help='What to measure on: lines with "audio".')],
    blocks: Annotated[int, typer.Option(min=1, help="How many blocks stay.")] = 8,
    feed_forward: Annotated[int, typer.Option(min=1, help="How many neurons of each feed-forward part stay.")] = 1024,
    front_channels: Annotated[int, typer.Option(min=1, help="How many channels of the subsampling stay.")] = 256,
    clips: Annotated[int, typer.Option(min=1, help="How many clips of it to hear.")] = 100,
    name: Annotated[str, typer.Option(help="Name of the bundle: a-z, 0-9, - and _.")] = "small",
) -> None:
    """Leave out what matters least to a model, measured on speech. What comes out wants training, by its elder say.

    Needs the extra `adapt` (torch). `myna finetune` trains it; its `loss.teacher` names the elder.
    """
    from myna.models.nn.calibrate import features_of
    from myna.models.nn.export import export_step, read_step
    from myna.models.nn.shrink import importance, shrink

    _must_not_exist(out)
    with open_bundle(resolve_bundle(bundle)) as opened, tempfile.TemporaryDirectory() as scratch:
        heard = features_of(speech, opened.spec.features, clips)
        shown = track(heard, "hearing speech", clips, console=Console(stderr=True), transient=True)
        elder = read_step(opened.step_path, opened.spec)
        small = shrink(elder, importance(elder, shown), blocks, feed_forward, front_channels)
        step = Path(scratch) / STEP
        export_step(small, step)
        update = {"name": name, "precision": "fp32", "spec": small.spec, "adapter_blocks": (), "confidence": None}
        files: dict[str, bytes | Path] = {n: opened.path / n for n in opened.manifest.sha256}
        _write(out, opened.manifest.model_copy(update=update), files | {STEP: step}, "fp32")


@app.command()
def quantize(
    bundle: Annotated[str, typer.Argument(help="A fp32 bundle: folder or zip.")],
    out: Target,
    precision: Annotated[
        Literal["int8", "int4"], typer.Option(help="How small; the card should say how good.")
    ] = "int8",
    calibrate: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help='Speech to round by: JSON lines with "audio".')
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="How many clips of it to hear.")] = 200,
    card: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Markdown in the place of its MODEL_CARD.md.")
    ] = None,
) -> None:
    """Make a smaller, faster bundle of a fp32 one. Needs the extra `adapt` (torch, onnx).

    With --calibrate, errors of rounding to 4 bits are made up for where this speech would hear them.
    """
    _must_not_exist(out)
    if calibrate and precision != "int4":
        raise typer.BadParameter("--calibrate is for int4; 8 bits need none")
    with open_bundle(resolve_bundle(bundle)) as opened:
        if opened.manifest.precision != "fp32":
            raise BundleError(f"{bundle}: is {opened.manifest.precision} already; quantize the fp32 bundle")
        files: dict[str, bytes | Path] = {name: opened.path / name for name in opened.manifest.sha256}
        files |= {CARD: card} if card else {}
        _write(out, opened.manifest, files, precision, _calibrated(opened, calibrate, clips) if calibrate else None)


@app.command()
def generic(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder; it is written anew.")],
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help='JSON lines with "audio" and "text".')],
    clips: Annotated[int, typer.Option(min=1, help="At most so many, spread evenly over the manifest.")] = 60,
) -> None:
    """Give a bundle its generic set: other people's speech, by which adaptation sees what it would forget."""
    folder = resolve_bundle(bundle)
    opened = read_folder(folder)
    files: dict[str, bytes | Path] = {name: opened.path / name for name in opened.manifest.sha256}
    content = generic_bytes(read_clips(manifest, clips))
    write_bundle(folder, opened.manifest, files | {GENERIC: content})
    typer.echo(f"{folder}: {GENERIC}, {len(content) / 1e6:.1f} MB")


def _calibrated(bundle: Bundle, manifest: Path, clips: int) -> "Method":
    """Listen to the clips; return the rounding that makes up for its errors, where it errs."""
    from myna.models.nn.calibrate import features_of, input_moments, round_with_feedback
    from myna.models.nn.export import read_step
    from myna.models.nn.quantize import Rounded, Rounding, round_to_nearest, rounding_of

    def method(name: str, weight: NDArray[np.float32], rounding: Rounding) -> Rounded:
        if name in moments:
            return round_with_feedback(weight, moments[name], rounding)
        return round_to_nearest(name, weight, rounding)

    heard = features_of(manifest, bundle.spec.features, clips)
    shown = track(heard, "hearing speech", clips, console=Console(stderr=True), transient=True)
    model = read_step(bundle.step_path, bundle.spec)
    moments = input_moments(model, shown, lambda name: rounding_of("int4", name).bits == 4)
    return method


def _write(
    out: Path,
    manifest: Manifest,
    files: dict[str, bytes | Path],
    precision: Precision,
    method: "Method | None" = None,
) -> None:
    """Write the bundle in the precision that is asked for, from the files of the fp32 one."""
    with tempfile.TemporaryDirectory() as scratch:
        if precision != "fp32":
            from myna.models.nn.quantize import quantize_step, round_to_nearest

            small, full = Path(scratch) / STEP, files[STEP]
            assert isinstance(full, Path)
            with Console(stderr=True).status("rounding"):
                quantize_step(full, small, precision, method or round_to_nearest)
            files, manifest = files | {STEP: small}, manifest.model_copy(update={"precision": precision})
        write_bundle(out, manifest, files)
    typer.echo(f"{out}: {manifest.name} {manifest.version} {precision}, {_megabytes(out)} MB")


def _summary(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "language": manifest.language,
        "precision": manifest.precision,
        "megabytes": _megabytes(bundle.path),
        "chunk_ms": manifest.spec.chunk_frames * manifest.spec.frame_ms,
        "confidence": "calibrated" if manifest.confidence else "raw",
        "licence": manifest.licence,
        "path": str(bundle.path),
    }


def _megabytes(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 1)


def _frames(text: str) -> tuple[int, ...]:
    try:
        frames = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter("must be whole numbers with commas between them, such as 4,8,16") from None
    if min(frames) < 1:
        raise typer.BadParameter("must be 1 or more")
    return frames


def _must_not_exist(out: Path) -> None:
    if out.exists():
        raise BundleError(f"{out}: exists; name another folder, or remove it first")
