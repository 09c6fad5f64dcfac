"""`myna bench adaptation`: what learning a speaker is worth, speaker by speaker and by how much they said."""

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from myna.adapt.enroll import DEMO
from myna.bench.environment import environment
from myna.bench.manifest import Clip, ManifestError, read_manifest
from myna.bench.speaker import Subject

if TYPE_CHECKING:
    from myna.bench.speaker import Laboratory

RESAMPLES = 2000
WORSE = 0.05  # relative, that one in twenty may be
POOLED_FROM = 4  # speakers of an accent

_laboratory: "Laboratory"


def adaptation(
    manifest: Annotated[
        Path,
        typer.Option(
            help="JSON lines with audio, text, speaker, role (`adapt` or `test`), accent?, corpus?.",
            show_default="the speaker inside the package",
        ),
    ] = DEMO,
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings, as of `myna adapt`.")] = None,
    amounts: Annotated[str, typer.Option(help="Also learn from so many utterances alone; empty: all alone.")] = "",
    pseudo: Annotated[bool, typer.Option("--pseudo", help="Also learn from what is heard, without the texts.")] = False,
    accents: Annotated[
        bool, typer.Option("--accents", help="Also learn from half of an accent's speakers, for the others.")
    ] = False,
    others: Annotated[
        Path | None, typer.Option(help="A manifest of other people's speech, heard with each published adapter.")
    ] = None,
    others_clips: Annotated[int, typer.Option(min=1, help="At most so many of each corpus of it.")] = 10,
    only: Annotated[str, typer.Option(help="Speakers, with commas between; else all.")] = "",
    processes: Annotated[int, typer.Option(min=1, help="Speakers at a time, each on one thread.")] = 1,
    work: Annotated[
        Path | None, typer.Option(help="Folder for what is done already: a run that was broken off goes on from it.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves as a PNG here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; rates are fractions.")] = False,
) -> None:
    """Learn each speaker from their `adapt` lines, through the gate, and hear their `test` lines before and after.

    Learning is that of `myna adapt`; hearing is that of the server, weights of the speaker as inputs of the one graph.
    """
    subjects = list(read_subjects(manifest, [name for name in only.split(",") if name]))
    if accents:
        subjects += pooled(subjects)
    wanted = tuple(sorted({int(n) for n in amounts.split(",") if n}))
    heard_by_all = tuple(read_manifest(others, others_clips)) if others else ()
    with tempfile.TemporaryDirectory() as scratch:
        rows = run(subjects, model, config, wanted, pseudo, heard_by_all, processes, work or Path(scratch))
    measured = {**summary(rows), "manifest": manifest.name, "model": _name(model), "environment": environment("torch")}
    if plot:
        from myna.bench.curves import draw

        draw(plot, measured)
    if as_json:
        typer.echo(json.dumps(measured, ensure_ascii=False))
    else:
        show(measured)


def read_subjects(manifest: Path, only: Sequence[str] = ()) -> Iterator[Subject]:
    """Group a manifest by speaker. Raises ManifestError where a role is another, or a speaker has none of one."""
    clips: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: {"adapt": [], "test": []})
    for clip in read_manifest(manifest):
        if clip.role not in ("adapt", "test") or not clip.speaker:
            raise ManifestError(f"{manifest}: each line needs a speaker, and role `adapt` or `test`")
        clips[clip.speaker][clip.role].append(clip)
    for speaker, by in clips.items():
        if not by["test"] or not by["adapt"]:
            raise ManifestError(f"{manifest}: {speaker}: has no line of role {'test' if by['adapt'] else 'adapt'}")
        if not only or speaker in only:
            first = by["test"][0]
            yield Subject(speaker, first.accent, first.corpus, tuple(by["adapt"]), tuple(by["test"]))


def pooled(subjects: Sequence[Subject]) -> list[Subject]:
    """Make a subject of each accent that enough speakers have: learnt from every other one, tested on the rest."""
    by_accent = defaultdict[str, list[Subject]](list)
    for subject in subjects:
        if subject.accent:
            by_accent[subject.accent].append(subject)
    return [
        Subject(
            f"accent: {accent}", accent, "pooled",
            tuple(clip for one in those[::2] for clip in one.adapt),
            tuple(clip for one in those[1::2] for clip in one.test),
        )
        for accent, those in by_accent.items()
        if len(those) >= POOLED_FROM
    ]  # fmt: skip


def run(
    subjects: Sequence[Subject],
    model: str | None,
    config: Path | None,
    amounts: tuple[int, ...],
    pseudo: bool,
    others: tuple[Clip, ...],
    processes: int,
    work: Path,
) -> list[dict[str, Any]]:
    """Measure every subject that `work` has no result of; return all, in order."""
    work.mkdir(parents=True, exist_ok=True)
    files = {subject.name: work / f"{index:04}.json" for index, subject in enumerate(subjects)}
    waiting = [subject for subject in subjects if not _done(files[subject.name], subject)]
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (model, config))
    console = Console(stderr=True)
    with pool, Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        asked = {pool.submit(_measure, one, amounts, pseudo, others): one for one in waiting}
        for future in bar.track(as_completed(asked), len(asked), description="learning"):
            row = future.result()
            temporary = files[row["speaker"]].with_suffix(".part")
            temporary.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
            temporary.rename(files[row["speaker"]])
            change = f"{100 * row['base_wer']:.1f} -> {100 * row['adapted_wer']:.1f} %"
            console.print(f"{row['speaker']}: {change} ({row['why']})", highlight=False)
    return [json.loads(files[subject.name].read_text(encoding="utf-8")) for subject in subjects]


def _done(file: Path, subject: Subject) -> bool:
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["speaker"] == subject.name


def _begin(model: str | None, config: Path | None) -> None:
    global _laboratory
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from myna.adapt.personal.settings import read_settings
    from myna.bench.speaker import Laboratory

    torch.set_num_threads(1)
    _laboratory = Laboratory(model, read_settings(config))


def _measure(subject: Subject, amounts: tuple[int, ...], pseudo: bool, others: tuple[Clip, ...]) -> dict[str, Any]:
    return _laboratory.measure(subject, amounts, pseudo, others)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up: means over speakers with 95 % intervals by bootstrap over them."""
    single = [row for row in rows if row["corpus"] != "pooled"]
    by_amount: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in single:
        for amount, learnt in row["amounts"].items():
            by_amount[amount].append(row | learnt)
    corpora = sorted({row["corpus"] for row in single})
    return {
        "speakers": single,
        "all": _mean(single),
        "corpora": {name: _mean([row for row in single if row["corpus"] == name]) for name in corpora},
        "curve": {amount: _mean(those) for amount, those in sorted(by_amount.items(), key=lambda item: int(item[0]))},
        "pseudo": _mean([row | row["pseudo"] for row in single if "pseudo" in row]),
        "accents": [row for row in rows if row["corpus"] == "pooled"],
        "others": _others(single),
    }


def relative(row: dict[str, Any], kind: str = "wer") -> float:
    """Return the relative reduction of a rate; what has no errors can't be reduced."""
    base, adapted = row[f"base_{kind}"], row[f"adapted_{kind}"]
    return float((base - adapted) / base) if base else float(-adapted)


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    gains = np.array([[relative(row, "wer"), relative(row, "cer")] for row in rows])
    drawn = np.random.default_rng(0).integers(0, len(gains), (RESAMPLES, len(gains)))
    low, high = np.percentile(gains[drawn, 0].mean(1), [2.5, 97.5])
    return {
        "speakers": len(rows),
        "published": sum(row["published"] for row in rows),
        "base_wer": round(float(np.mean([row["base_wer"] for row in rows])), 4),
        "adapted_wer": round(float(np.mean([row["adapted_wer"] for row in rows])), 4),
        "wer_reduction": round(float(gains[:, 0].mean()), 4),
        "wer_reduction_interval": [round(float(low), 4), round(float(high), 4)],
        "cer_reduction": round(float(gains[:, 1].mean()), 4),
        "significantly_better": sum(row["significantly_better"] for row in rows),
        "significantly_worse": sum(row["significantly_worse"] for row in rows),
        "worse_than_5_percent": sum(relative(row) < -WORSE for row in rows),
        "cpu_s": round(float(np.mean([row["cpu_s"] for row in rows])), 1),
        "peak_mb": max(row["peak_mb"] for row in rows),
    }


def _others(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    heard = [row["others"] for row in rows if "others" in row]
    if not heard:
        return None
    costs = [(one["adapted_wer"] - one["base_wer"]) / one["base_wer"] for one in heard]
    return {"adapters": len(costs), "mean": round(float(np.mean(costs)), 4), "most": round(max(costs), 4)}


def show(measured: dict[str, Any]) -> None:
    """Print tables."""
    console = Console()
    table = Table("speaker", "accent", "learnt from", "WER %", "after", "relative %", "")
    for row in measured["speakers"]:
        rates = (f"{100 * row[key]:.1f}" for key in ("base_wer", "adapted_wer"))
        note = "" if row["published"] else row["why"]
        table.add_row(
            row["speaker"], row["accent"], str(row["adapt_utterances"]), *rates, f"{-100 * relative(row):+.1f}", note
        )
    console.print(table)
    means = Table("over", "speakers", "published", "WER reduction % (95 %)", "CER reduction %", "worse (significantly)")
    named = {"all": measured["all"], **measured["corpora"]}
    named |= {f"{amount} utterances": mean for amount, mean in measured["curve"].items()}
    named |= {"without texts": measured["pseudo"]} if measured["pseudo"] else {}
    for name, mean in named.items():
        low, high = (f"{100 * value:.1f}" for value in mean["wer_reduction_interval"])
        means.add_row(
            name, str(mean["speakers"]), str(mean["published"]),
            f"{100 * mean['wer_reduction']:.1f} ({low} to {high})", f"{100 * mean['cer_reduction']:.1f}",
            f"{mean['worse_than_5_percent']} ({mean['significantly_worse']})",
        )  # fmt: skip
    console.print(means)


def _name(model: str | None) -> str:
    from myna.models.bundle import open_bundle, resolve_bundle

    with open_bundle(resolve_bundle(model)) as bundle:
        manifest = bundle.manifest
        return f"{manifest.name} {manifest.version} {manifest.precision}"
