"""`myna bench calibration`: what confidence is worth, measured on half of the speakers, shown on the others."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from myna.bench.environment import environment
from myna.bench.judged import Utterance, hear
from myna.bench.manifest import ManifestError, read_manifest
from myna.bench.reliability import Claims, bins, calibration_error, diagram, fit
from myna.models.bundle import open_bundle, resolve_bundle, write_manifest
from myna.models.confidence import Calibration, Platt
from myna.models.errors import BundleError

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


def is_for_fitting(speaker: str) -> bool:
    """Tell the half that a speaker belongs to, the same everywhere."""
    return hashlib.sha256(speaker.encode()).digest()[0] % 2 == 0


def words_of(utterances: Sequence[Utterance]) -> Claims:
    """Claim of each word that it is right."""
    return Claims.of([(c, r, 1) for u in utterances for c, r in zip(u.words, u.right, strict=True)])


def wholes_of(utterances: Sequence[Utterance]) -> Claims:
    """Claim of each utterance how much of it is right."""
    return Claims.of([(u.confidence, sum(u.right) / u.compared, u.compared) for u in utterances])


def halves(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Part the utterances so that the halves share no speaker. Raises ManifestError where one is empty."""
    to_fit = [u for u in utterances if is_for_fitting(u.speaker)]
    to_show = [u for u in utterances if not is_for_fitting(u.speaker)]
    if not (to_fit and to_show):
        raise ManifestError("all that was understood is of one half; give clips of more speakers")
    return to_fit, to_show


def report(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Fit on one half and show on the other; return what `--json` prints of it, shares as fractions."""
    to_fit, to_show = halves(utterances)
    found = Calibration(word=fit(words_of(to_fit)), utterance=fit(wholes_of(to_fit)))
    return {
        "confidence": found.model_dump(),
        "fitted_on": _size(to_fit),
        "shown_on": _size(to_show),
        "words": _compare(words_of(to_show), found.word),
        "utterances": _compare(wholes_of(to_show), found.utterance),
        "thresholds": [row for at in THRESHOLDS if (row := kept(to_show, found.utterance, at))],
    }


def kept(utterances: Sequence[Utterance], platt: Platt, threshold: float) -> dict[str, float] | None:
    """Tell what a threshold keeps, and how good that is said to be and is; None where nothing is kept."""
    chosen = [(u, sure) for u in utterances if (sure := platt(u.confidence)) >= threshold]
    if not chosen:
        return None
    said, compared = sum(u.said for u, _ in chosen), sum(u.compared for u, _ in chosen)
    return {
        "confidence": threshold,
        "utterances": round(len(chosen) / len(utterances), 4),
        "words": round(said / sum(u.said for u in utterances), 4),
        "expected": round(1 - sum(sure * u.compared for u, sure in chosen) / compared, 4),
        "wer": round(sum(u.errors for u, _ in chosen) / max(1, said), 4),
    }


def _size(utterances: Sequence[Utterance]) -> dict[str, int]:
    said = sum(u.said for u in utterances)
    return {"utterances": len(utterances), "words": said, "speakers": len({u.speaker for u in utterances})}


def _compare(raw: Claims, platt: Platt) -> dict[str, Any]:
    found = {"before": bins(raw), "after": bins(raw.calibrated(platt))}
    return {when: {"ece": calibration_error(rows), "bins": rows} for when, rows in found.items()}


def calibration(
    manifest: Annotated[Path, typer.Argument(help="JSON lines with audio, text, and optionally speaker.")],
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="Draw a reliability diagram here, as PNG (extra `adapt`).")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write what was found into the bundle's manifest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; rates are fractions.")] = False,
) -> None:
    """Measure what a model's confidence is worth, and calibrate it.

    The half of the speakers that a hash chooses says how posteriors become confidence; the other half shows how far
    confidence is from what was right (ECE), before and after, and how good the utterances above a threshold are.
    """
    path = resolve_bundle(model)
    if write and not (path.is_dir() and os.access(path, os.W_OK)):
        raise BundleError(f"{path.name}: --write needs a folder that can be written; `myna model unpack` makes one")
    if plot is not None:
        import matplotlib.figure  # noqa: F401  (where it is missing, say so now, not when all was heard)
    where = environment()  # before the bundle is written to, which may lie in the checkout
    with open_bundle(path) as bundle:
        clips = read_manifest(manifest)
        found = report(list(hear(clips, bundle, threads, sys.stderr.isatty())))
        own = bundle.manifest
        if write:
            fitted = Calibration.model_validate(found["confidence"])
            write_manifest(path, own.model_copy(update={"confidence": fitted}))
    if plot is not None:
        diagram(plot, {kind: found[kind] for kind in ("words", "utterances")})
    if as_json:
        head = {"model": f"{own.name} {own.version} {own.precision}", "manifest": manifest.name}
        typer.echo(json.dumps(head | found | {"environment": where}, indent=1))
        return
    show(found)


def show(found: dict[str, Any]) -> None:
    """Lay out a report for reading; rates in percent."""
    console = Console(highlight=False)
    for kind, fitted in (("words", "word"), ("utterances", "utterance")):
        errors = (f"{100 * found[kind][when]['ece']:.1f}" for when in ("before", "after"))
        platt = found["confidence"][fitted]
        console.print(
            f"{kind}: calibration error {' % before, '.join(errors)} % after "
            f"(slope {platt['slope']:.3f}, intercept {platt['intercept']:.3f})"
        )
    table = Table("confidence", "utterances kept %", "words kept %", "expected wrong %", "WER %")
    for row in found["thresholds"]:
        shares = (f"{100 * row[key]:.1f}" for key in ("utterances", "words", "expected", "wer"))
        table.add_row(f"{row['confidence']:g}", *shares)
    console.print(table)
