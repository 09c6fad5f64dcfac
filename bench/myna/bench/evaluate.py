"""`myna evaluate`: a manifest through session and engine, faster than real time; error rates for each corpus."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from myna.bench.environment import environment
from myna.bench.local import context_of, recognise
from myna.bench.manifest import Clip, load_samples, read_manifest, report, write_heard
from myna.models.bundle import open_bundle, resolve_bundle
from myna.models.errors import MynaError
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings
from myna.server.outputs import Message
from myna.server.protocol import Done, Error, Final, Start
from myna.server.vad import VadSettings

LANES = 16


def finals(messages: list[Message]) -> list[Final]:
    """Choose the finals that hold words. Raises MynaError where the session ended with an error."""
    for message in messages:
        if isinstance(message, Error):
            raise MynaError(f"{message.code}: {message.message}")
    return [m for m in messages if isinstance(m, Final) and m.text]


def transcript(messages: list[Message]) -> str:
    """Join the finals. Raises MynaError where the session ended with an error."""
    return " ".join(final.text for final in finals(messages))


def run(
    clips: list[Clip],
    bundle_name: str | None = None,
    chunk_ms: int | None = None,
    threads: int = 2,
    vad: VadSettings | None = None,
    output: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate; return the report that `--json` prints, `output` takes what was understood. Raises MynaError."""
    start = Start(partials=False, words=False, chunk_ms=chunk_ms)
    heard: dict[Clip, str] = {}
    heard_s, began_s = 0.0, time.perf_counter()
    with open_bundle(resolve_bundle(bundle_name)) as bundle:
        engine = Engine(Runtime(bundle, threads), EngineSettings(max_streams=LANES))
        try:
            said = recognise(
                clips, lambda clip: load_samples(clip.audio), engine, context_of(bundle, vad), start, LANES
            )
            with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
                for clip, messages in bar.track(said, len(clips), description="evaluating"):
                    heard[clip] = transcript(messages)
                    heard_s += sum(m.audio_seconds for m in messages if isinstance(m, Done))
        finally:
            engine.stop()
        manifest, spec = bundle.manifest, bundle.spec
        size_bytes = sum(file.stat().st_size for file in bundle.path.iterdir())
    took_s = time.perf_counter() - began_s
    in_order = [(clip, heard[clip]) for clip in clips]
    if output is not None:
        write_heard(output, in_order)
    return report(in_order) | {
        "rtf": round(took_s / heard_s, 4),
        "audio_seconds": round(heard_s, 1),
        "model": f"{manifest.name} {manifest.version} {manifest.precision}",
        "megabytes": round(size_bytes / 1e6, 1),
        "chunk_ms": chunk_ms or spec.chunk_frames * spec.frame_ms,
        "threads": threads,
    }


def evaluate(
    manifest: Annotated[
        Path, typer.Argument(help="JSON lines with audio, text, and optionally speaker, corpus and accent.")
    ],
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    chunk_ms: Annotated[int | None, typer.Option(help="Chunk size; one of the model's.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips of each corpus.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    output: Annotated[Path | None, typer.Option(help="Write what was understood here, as JSON lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; rates are fractions.")] = False,
) -> None:
    """Measure word and character error rates over a manifest of clips and their texts.

    Every clip is streamed through a session as a live client would send it, only faster. Text is compared in lower
    case without punctuation; the intervals are 95 %, by bootstrap over utterances.
    """
    measured = run(
        read_manifest(manifest, limit), model, chunk_ms, threads, output=output, progress=sys.stderr.isatty()
    )
    if as_json:
        typer.echo(json.dumps(measured | {"manifest": manifest.name, "environment": environment()}))
        return
    console = Console()
    console.print(table_of(measured))
    console.print(f"real-time factor {measured['rtf']} with {threads} threads, loading included")


def table_of(measured: dict[str, Any]) -> Table:
    """Lay out a report for reading; rates in percent."""
    title = f"{measured['model']}, {measured['chunk_ms']} ms chunks"
    table = Table("corpus or accent", "clips", "WER %", "95 %", "CER %", title=title)
    rows = [*measured["corpora"].items(), ("all", measured), *measured.get("accents", {}).items()]
    for name, row in rows:
        low, high = (f"{100 * value:.1f}" for value in row["wer_interval"])
        rates = (f"{100 * row['wer']:.1f}", f"{low} to {high}", f"{100 * row['cer']:.1f}")
        table.add_row(name, str(row["utterances"]), *rates)
    return table
