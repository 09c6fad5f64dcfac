"""`myna bench long`: what is lost when speech goes on: long streams against the same clips one by one.

Clips are joined without a pause and heard twice: as served (`long`: the pauses within clips end utterances), and as one
utterance (`unbroken`: the encoder's state and its positions go on from end to end).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from myna.bench.environment import environment
from myna.bench.evaluate import LANES, transcript
from myna.bench.local import context_of, recognise
from myna.bench.manifest import Clip, load_samples, read_manifest
from myna.bench.score import compare, rates
from myna.models.bundle import open_bundle, resolve_bundle
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings
from myna.server.protocol import Endpointing, Start

RATE_HZ = 16_000
# No pause ends an utterance; the text is still cut, the encoder's state is not.
UNBROKEN = Endpointing(silence_ms=10_000, max_utterance_ms=20_000, blank_ms=60_000)

Stream = tuple[Clip, ...]


def joined(clips: list[Clip], seconds: float) -> Iterator[Stream]:
    """Gather clips, in their order, to streams of at least so many seconds; what is left over at the end is dropped."""
    stream: list[Clip] = []
    length_s = 0.0
    for clip in clips:
        stream.append(clip)
        length_s += len(load_samples(clip.audio)) / RATE_HZ
        if length_s >= seconds:
            yield tuple(stream)
            stream, length_s = [], 0.0


def audio_of(stream: Stream) -> NDArray[np.int16]:
    """Join the clips' samples (n,) without a pause."""
    return np.concatenate([load_samples(clip.audio) for clip in stream])


def measure(
    clips: list[Clip], model: str | None, minutes: float, chunk_ms: int | None, threads: int, progress: bool
) -> dict[str, Any]:
    """Hear the clips joined and one by one; return the report that `--json` prints."""
    streams = list(joined(clips, 60 * minutes))
    if not streams:
        raise typer.BadParameter(f"the clips make no stream of {minutes:g} minutes")
    singles: list[Stream] = [(clip,) for stream in streams for clip in stream]
    start = Start(partials=False, words=False, chunk_ms=chunk_ms)
    unbroken = start.model_copy(update={"endpointing": UNBROKEN})
    ways = (("long", streams, start), ("unbroken", streams, unbroken), ("single", singles, start))
    with open_bundle(resolve_bundle(model)) as bundle:
        engine = Engine(Runtime(bundle, threads), EngineSettings(max_streams=LANES))
        try:
            found = {}
            with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
                for name, items, how in ways:
                    said = recognise(items, audio_of, engine, context_of(bundle), how, LANES)
                    heard = bar.track(said, len(items), description=name)
                    errors = [compare(text_of(item), transcript(messages)) for item, messages in heard]
                    found[name] = rates(errors)
        finally:
            engine.stop()
        manifest = bundle.manifest
    return {
        "model": f"{manifest.name} {manifest.version} {manifest.precision}",
        "minutes": minutes,
        "chunk_ms": chunk_ms or manifest.spec.chunk_frames * manifest.spec.frame_ms,
        **found,
        "lost": {name: round(found[name]["wer"] - found["single"]["wer"], 4) for name in ("long", "unbroken")},
    }


def text_of(stream: Stream) -> str:
    """Join the clips' texts."""
    return " ".join(clip.text for clip in stream)


def long(
    manifest: Annotated[Path, typer.Argument(help="JSON lines with audio, text, and optionally corpus.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of a stream, at least.")] = 10.0,
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    chunk_ms: Annotated[int | None, typer.Option(help="Chunk size; one of the model's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; rates are fractions.")] = False,
) -> None:
    """Measure error rates on long streams without pauses, beside those of the same clips one by one."""
    found = measure(read_manifest(manifest), model, minutes, chunk_ms, threads, sys.stderr.isatty())
    if as_json:
        typer.echo(json.dumps(found | {"manifest": manifest.name, "environment": environment()}, indent=1))
        return
    console = Console()
    for name in ("long", "unbroken", "single"):
        low, high = (f"{100 * value:.1f}" for value in found[name]["wer_interval"])
        lost = f", {100 * found['lost'][name]:+.1f} points" if name in found["lost"] else ""
        console.print(f"{name:<10}WER {100 * found[name]['wer']:.1f} % ({low} to {high}){lost}", highlight=False)
