"""`myna bench load`: many streams in real time against one server: how late captions are, and what it costs.

The server runs in a process of its own, on cores of its own. A delay is what a user waits for: from the moment at which
a sound was spoken (`end` of a partial: everything before it was heard) to the arrival of the caption that holds it. It
includes the encoder's look-ahead and up to one packet of the client's; it leaves out the wait for the chunk's other
sounds, which is a matter of the chunk's size.
"""

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from myna.bench.environment import environment
from myna.bench.manifest import load_samples, read_manifest
from myna.client.cli import CLIP
from myna.client.launch import server
from myna.client.run import Service, converse, in_time
from myna.client.transcriber import Event
from myna.models.bundle import DEFAULT
from myna.server.protocol import Final, Partial, Start

RATE_HZ = 16_000
PACKET_MS = 100
STAGGER_S = 2.0  # streams begin spread over so long, so that their chunks do not fall together
PERCENTILES = (50, 95, 99)


@dataclass(slots=True)
class Watch:
    """What one stream saw, on this process's clock."""

    began_s: float = 0.0  # when its first sample was spoken
    delays_ms: list[float] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)  # when each of these partials came
    queue_ms: list[float] = field(default_factory=list)
    compute_ms: list[float] = field(default_factory=list)
    words: int = 0

    def show(self, event: Event) -> None:
        """Note how late a partial is, and what the server says of a final."""
        match event:
            case Partial():
                self.arrived_s.append(time.perf_counter())
                self.delays_ms.append(1000 * (self.arrived_s[-1] - self.began_s - event.end))
            case Final():
                self.queue_ms.append(event.latency.queue_ms)
                self.compute_ms.append(event.latency.compute_ms)
                self.words += len(event.text.split())


def spoken(manifest: Path | None) -> list[NDArray[np.int16]]:
    """Read the clips that streams speak: a manifest's, or the bundled one. Raises ManifestError."""
    return [load_samples(clip.audio) for clip in read_manifest(manifest)] if manifest else [load_samples(CLIP)]


def speech(clips: list[NDArray[np.int16]], seconds: float, stream: int) -> bytes:
    """Join clips to so many seconds, beginning with another clip for each stream."""
    first = stream % len(clips)
    joined = np.concatenate([*clips[first:], *clips[:first]])
    count = round(seconds * RATE_HZ)
    return np.tile(joined, -(-count // len(joined)))[:count].tobytes()


async def speak(service: Service, start: Start, audio: bytes, wait_s: float) -> Watch:
    """Send audio in real time, after a while."""
    watch = Watch()
    size = 2 * RATE_HZ * PACKET_MS // 1000

    async def packets() -> AsyncIterator[bytes]:
        await asyncio.sleep(wait_s)
        watch.began_s = time.perf_counter()
        async for packet in in_time(audio[i : i + size] for i in range(0, len(audio), size)):
            yield packet

    await converse(service, start, packets(), watch.show)
    return watch


async def speak_all(service: Service, start: Start, voices: list[bytes]) -> list[Watch]:
    """Run a stream for each voice at the same time."""
    waits_s = np.random.default_rng(0).uniform(0, STAGGER_S, len(voices))
    return await asyncio.gather(
        *(speak(service, start, voice, float(wait_s)) for voice, wait_s in zip(voices, waits_s, strict=True))
    )


@contextmanager
def pinned(cores: int | None) -> Iterator[None]:
    """Let processes that are started in here use the first cores alone; this one uses the others, if there are some."""
    everything = sorted(os.sched_getaffinity(0))
    if cores:
        os.sched_setaffinity(0, everything[:cores])
    yield
    if cores:
        os.sched_setaffinity(0, everything[cores:] or everything)


def process_metrics(url: str) -> dict[str, float]:
    """Read the server's own figures from /metrics: `process_*` without labels."""
    address = url.replace("ws://", "http://").partition("/v1/")[0]
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    rows = [line.split() for line in lines if line.startswith("process_")]
    return {name: float(value) for name, value in rows}


def measure(
    voices: list[bytes], seconds: float, start: Start, model: str | None, threads: int, cores: int
) -> dict[str, Any]:
    """Start a server, load it; return the report that `--json` prints."""
    began_s = time.perf_counter()
    with pinned(cores):
        starting = server(model, threads)
        url = starting.__enter__()
    ready_s = time.perf_counter() - began_s
    try:
        before = process_metrics(url)
        watches = asyncio.run(speak_all(Service(url), start, voices))
        after = process_metrics(url)
    finally:
        starting.__exit__(None, None, None)
    cpu_s = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    return {
        "model": model or DEFAULT,
        "streams": len(voices),
        "seconds": seconds,
        "ready_s": round(ready_s, 2),
        "delay_ms": percentiles([delay for watch in watches for delay in watch.delays_ms]),
        "queue_ms": percentiles([delay for watch in watches for delay in watch.queue_ms]),
        "compute_ms": percentiles([delay for watch in watches for delay in watch.compute_ms]),
        "captions": sum(len(watch.delays_ms) for watch in watches),
        "words": sum(watch.words for watch in watches),
        "resident_mb": round(after["process_resident_memory_bytes"] / 1e6),
        "cores_used": round(cpu_s / (seconds + STAGGER_S), 2),
        "threads": threads,
        "cores": cores,
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Sum up delays; empty without any."""
    if not values:
        return {}
    found = np.percentile(values, PERCENTILES)
    return {f"p{name}": round(float(value), 1) for name, value in zip(PERCENTILES, found, strict=True)}


def load(
    manifest: Annotated[
        Path | None, typer.Argument(help="Clips to speak; else the bundled one, again and again.")
    ] = None,
    streams: Annotated[int, typer.Option(min=1, help="Streams at a time.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each.")] = 60.0,
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    chunk_ms: Annotated[int | None, typer.Option(help="Chunk size; one of the model's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    cores: Annotated[int, typer.Option(min=0, help="Cores that the server may use; 0: all (Linux).")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure delays, memory and processor time of a server under streams in real time."""
    clips = spoken(manifest)
    voices = [speech(clips, seconds, i) for i in range(streams)]
    found = measure(voices, seconds, Start(words=False, chunk_ms=chunk_ms), model, threads, cores)
    if as_json:
        typer.echo(json.dumps(found | {"environment": environment()}, indent=1))
        return
    console = Console()
    for name in ("delay_ms", "queue_ms", "compute_ms"):
        row = ", ".join(f"{percentile} {value:g}" for percentile, value in found[name].items())
        console.print(f"{name:<12}{row}", highlight=False)
    rest = ("ready_s", "resident_mb", "cores_used", "captions", "words")
    console.print(", ".join(f"{name} {found[name]:g}" for name in rest), highlight=False)
