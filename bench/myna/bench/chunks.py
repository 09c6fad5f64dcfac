"""`myna bench chunks`: what a chunk size costs in words, in waiting and in work."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from myna.bench.environment import environment
from myna.bench.evaluate import run
from myna.bench.manifest import read_manifest
from myna.models.bundle import open_bundle, resolve_bundle
from myna.models.runtime import Runtime
from myna.models.spec import ModelSpec
from myna.server.segmenter import ChunkPlan

REPEATS = 15


def waiting_ms(spec: ModelSpec, chunk_frames: int) -> dict[str, float]:
    """Tell how long a sound waits for its chunk to be complete, the encoder's look-ahead included.

    frames          |  0  |  1  |  2  |  3  |           chunk of 4
    audio needed    |-----------------------|--look-ahead--|
    wait of a sound at the beginning: all of it; at the end: the look-ahead alone
    """
    rate_hz = spec.features.sample_rate_hz
    look_ahead_ms = 1000 * (spec.samples_needed(1) - spec.frame_samples) / rate_hz
    chunk_ms = chunk_frames * spec.frame_ms
    return {
        "look_ahead_ms": look_ahead_ms,
        "wait_mean_ms": chunk_ms / 2 + look_ahead_ms,
        "wait_max_ms": chunk_ms + look_ahead_ms,
    }


def step_ms(runtime: Runtime, plan: ChunkPlan) -> float:
    """Time one step of one stream with full left context; the median of some."""
    spec, frames = runtime.spec, plan.chunk_frames
    feats = np.random.default_rng(0).normal(10, 3, (1, spec.features_needed(frames), spec.features.mels))
    cache = (1, spec.blocks, spec.heads, plan.left_frames, spec.attention_cache_width)
    inputs = (
        feats.astype(np.float32),
        np.array([frames]),
        np.array([plan.left_frames]),
        np.array([plan.left_frames]),
        np.zeros(cache, np.float32),
        np.zeros((1, spec.blocks, spec.kernel - 1, spec.width), np.float32),
    )
    times_s = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        runtime.step(*inputs)
        times_s.append(time.perf_counter() - began_s)
    return round(1000 * float(np.median(times_s)), 1)


def measure(
    manifest: Path, model: str | None, sizes_frames: list[int] | None, limit: int | None, threads: int
) -> dict[str, Any]:
    """Evaluate each chunk size; return the report that `--json` prints."""
    clips = read_manifest(manifest, limit)
    progress = sys.stderr.isatty()
    rows = [row | run(clips, model, row["chunk_ms"], threads, progress=progress) for row in costs(model, sizes_frames)]
    return {"manifest": manifest.name, "chunks": rows, "environment": environment()}


def costs(model: str | None, sizes_frames: list[int] | None) -> list[dict[str, Any]]:
    """Tell what each chunk size costs in waiting and in work; all sizes of the model unless named."""
    with open_bundle(resolve_bundle(model)) as bundle:
        spec, runtime = bundle.spec, Runtime(bundle, 1)
        plans = [ChunkPlan.of(spec, size, 0) for size in sizes_frames or spec.chunk_choices_frames]
        return [
            {
                "chunk_frames": plan.chunk_frames,
                "chunk_ms": plan.chunk_frames * spec.frame_ms,
                "left_ms": plan.left_frames * spec.frame_ms,
                "step_ms": step_ms(runtime, plan),
                **waiting_ms(spec, plan.chunk_frames),
            }
            for plan in plans
        ]


def chunks(
    manifest: Annotated[Path, typer.Argument(help="JSON lines with audio, text, and optionally corpus.")],
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    frames: Annotated[list[int] | None, typer.Option(help="Chunk in encoder frames; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips of each corpus.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; rates are fractions.")] = False,
) -> None:
    """Measure error rates, waiting and work at each chunk size of a model."""
    measured = measure(manifest, model, frames, limit, threads)
    if as_json:
        typer.echo(json.dumps(measured, indent=1))
        return
    table = Table("chunk ms", "left ms", "WER %", "95 %", "CER %", "mean wait ms", "step ms", "% of a core")
    for row in measured["chunks"]:
        sizes = (row["chunk_ms"], row["left_ms"])
        low, high = (f"{100 * value:.1f}" for value in row["wer_interval"])
        errors = (f"{100 * row['wer']:.1f}", f"{low} to {high}", f"{100 * row['cer']:.1f}")
        work = (f"{row['wait_mean_ms']:.0f}", row["step_ms"], f"{100 * row['step_ms'] / row['chunk_ms']:.1f}")
        table.add_row(*(str(cell) for cell in (*sizes, *errors, *work)))
    Console().print(table)
