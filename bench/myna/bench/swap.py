"""`myna bench swap`: speakers' weights change a thousand times under live streams: what of it do they notice?

Every stream names a speaker of its own and talks in real time, with pauses. Meanwhile this process publishes versions
in the server's store and rolls them back, as an adaptation process and its user would: each speaker's weights change
every few seconds, one time to a version that is new, the next time back to the one before. Stretches with changes take
turns with stretches without, so that whatever else the machine does falls upon both.

A stream takes other weights at an utterance's beginning. So a change is seen (`adaptation`) unless the next one comes
before the speaker's next utterance, and the time until it is seen is mostly the rest of the utterance under way. How
long the server itself takes shows in utterances that begin with weights already replaced.
"""

import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from myna.adapt.store import Heard, Store, Versions
from myna.bench.environment import environment
from myna.bench.load import PACKET_MS, RATE_HZ, process_metrics, spoken
from myna.bench.manifest import ManifestError
from myna.bench.witness import Change, Kind, Stretch, Witness, report
from myna.client.launch import server
from myna.client.run import Service, converse, in_time
from myna.models.adapter import layout_of
from myna.models.adapter_file import Adapter, adapter_bytes
from myna.models.bundle import STEP, Bundle, open_bundle, resolve_bundle
from myna.server.protocol import Start

PAUSE_S = 1.2  # behind each clip; longer than the silence that ends an utterance
WARM_FINALS = 3  # of each stream, before anything is measured: the server grows to its size
STAGGER_S = 4.0  # streams begin spread over so long
ROUND = 100  # changes of a stretch; memory is read behind each
RANK = 1
SCALE = 0.02  # of a random adapter's numbers: heard in the confidences, not in the words
PACKET_BYTES = 2 * RATE_HZ * PACKET_MS // 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """How often weights change."""

    swaps: int
    every_s: float  # of one speaker


@dataclass(frozen=True, slots=True)
class Part:
    """A clip and a pause, and what is to be heard of it."""

    audio: bytes
    finals: int
    words: int


class Speakers:
    """Those whose weights change, in a store."""

    def __init__(self, folder: Path, bundle: Bundle, count: int) -> None:
        self.names = [f"speaker {number}" for number in range(count)]
        self.changes: list[list[Change]] = [[] for _ in self.names]  # of each of them
        self.published = self.rolled_back = self.adapter_bytes = 0
        self.store = Store(folder)
        self._bundle, self._versions = bundle, Versions(self.store)
        for name in self.names:  # a store knows those who shared something
            self.store.keep(name, Heard(np.zeros(RATE_HZ, np.int16), "", 0.0, name, "0", bundle.manifest.name))
            self._publish(name)

    def change(self, number: int) -> None:
        """Make one change: publish what is new, or roll it back."""
        turn, speaker = divmod(number, len(self.names))
        name = self.names[speaker]
        if turn % 2 == 0:
            version: str | None = self._publish(name)
        else:
            version = self._versions.roll_back(name)
            self.rolled_back += 1
        self.changes[speaker].append(Change(time.perf_counter(), version))

    def _publish(self, name: str) -> str:
        content, manifest = random_adapter(self._bundle, seed=self.published), self._bundle.manifest
        self.published += 1
        self.adapter_bytes = len(content)
        return self._versions.publish(name, content, f"{manifest.name} {manifest.version}", {})


def random_adapter(bundle: Bundle, seed: int) -> bytes:
    """Make an adapter of all maps and norms of all blocks, as a file."""
    rng, layout, parts = np.random.default_rng(seed), layout_of(bundle.spec), dict[str, NDArray[np.float16]]()
    for block in range(bundle.spec.blocks):
        shapes: dict[str, tuple[int, ...]] = {}
        for slot in layout.maps:
            shapes[f"{slot.name}.{block}.down"] = (slot.inputs.stop - slot.inputs.start, RANK)
            shapes[f"{slot.name}.{block}.up"] = (RANK, slot.outputs.stop - slot.outputs.start)
        for norm in layout.norms:
            shapes[f"{norm}.{block}.gain"] = shapes[f"{norm}.{block}.shift"] = (layout.width,)
        parts |= {name: (SCALE * rng.standard_normal(shape)).astype(np.float16) for name, shape in shapes.items()}
    return adapter_bytes(Adapter(bundle.manifest.sha256[STEP], parts))


def measure(
    clips: list[NDArray[np.int16]], model: str | None, streams: int, plan: Plan, progress: bool
) -> dict[str, Any]:
    """Let streams talk to a server while weights change; return what `--json` prints. Raises ManifestError."""
    with tempfile.TemporaryDirectory() as data, open_bundle(resolve_bundle(model)) as bundle:
        speakers = Speakers(Path(data), bundle, streams)
        bar = Progress(console=Console(stderr=True), transient=True, disable=not progress)
        with closing(speakers.store), server(model, data_dir=Path(data)) as url, bar:
            run = Run(Service(url), speakers, plan, bar)
            asyncio.run(run.whole(clips))
        manifest, spec = bundle.manifest, bundle.spec
        told = {
            "model": f"{manifest.name} {manifest.version} {manifest.precision}",
            "streams": streams,
            "every_s": plan.every_s,
            "adapter_bytes": speakers.adapter_bytes,
        }
        found = report(speakers.changes, run.witnesses, run.stretches, spec.chunk_frames * spec.frame_ms)
        found["swaps"]["rolled_back"] = speakers.rolled_back
        return told | found | {"resident_mb": run.resident_mb}


class Run:
    """Streams that talk, and what is done to them."""

    def __init__(self, service: Service, speakers: Speakers, plan: Plan, bar: Progress) -> None:
        self.service, self.speakers, self.plan = service, speakers, plan
        self.witnesses = [Witness() for _ in speakers.names]
        self.stretches: list[Stretch] = []
        self.resident_mb: list[float] = []
        self._bar = bar
        self._over = False

    async def whole(self, clips: list[NDArray[np.int16]]) -> None:
        """Hear each clip once with the base; then let all talk while weights change, up to the end of a clip.

        Raises ManifestError where nobody speaks.
        """
        pause = np.zeros(round(PAUSE_S * RATE_HZ), np.int16)
        parts = [await self._heard(np.concatenate([clip, pause]).tobytes()) for clip in clips]
        if not any(part.finals for part in parts):
            raise ManifestError("there is no speech in what is to be spoken")
        waits_s = np.random.default_rng(0).uniform(0, STAGGER_S, len(self.witnesses))
        talking = [
            self._talk(number, [*parts[number % len(parts) :], *parts[: number % len(parts)]], float(wait_s))
            for number, wait_s in enumerate(waits_s)
        ]
        await asyncio.gather(self._change(), *talking)

    async def _heard(self, audio: bytes) -> Part:
        async def at_once() -> AsyncIterator[bytes]:
            yield audio

        witness = Witness()
        await converse(self.service, Start(words=False, partials=False), at_once(), witness.show)
        return Part(audio, len(witness.finals), witness.words)

    async def _talk(self, number: int, parts: list[Part], wait_s: float) -> None:
        witness = self.witnesses[number]

        def packets() -> Iterator[bytes]:
            for part in itertools.cycle(parts):
                if self._over:
                    return
                yield from (part.audio[at : at + PACKET_BYTES] for at in range(0, len(part.audio), PACKET_BYTES))
                witness.due_finals += part.finals
                witness.due_words += part.words

        async def audio() -> AsyncIterator[bytes]:
            await asyncio.sleep(wait_s)
            witness.began_s = time.perf_counter()
            async for packet in in_time(packets()):
                yield packet

        start = Start(speaker=self.speakers.names[number], words=False)
        await converse(self.service, start, audio(), witness.show)

    async def _change(self) -> None:
        """Let stretches without changes take turns with stretches of them."""
        while any(len(witness.finals) < WARM_FINALS for witness in self.witnesses):
            await asyncio.sleep(0.1)
        task = self._bar.add_task("swapping", total=self.plan.swaps)
        step_s = self.plan.every_s / len(self.witnesses)
        await self._read_memory()
        for first in range(0, self.plan.swaps, ROUND):
            numbers = range(first, min(first + ROUND, self.plan.swaps))
            await self._stretch("quiet", numbers, step_s)
            await self._stretch("swapping", numbers, step_s)
            await self._read_memory()
            self._bar.update(task, completed=numbers.stop)
        self._over = True

    async def _stretch(self, kind: Kind, numbers: range, step_s: float) -> None:
        before, began_s = await self._metrics(), time.perf_counter()
        for due, number in enumerate(numbers, 1):
            await asyncio.sleep(began_s + due * step_s - time.perf_counter())
            if kind == "swapping":
                await asyncio.to_thread(self.speakers.change, number)
        after, ended_s = await self._metrics(), time.perf_counter()
        cpu_s = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
        self.stretches.append(Stretch(kind, began_s, ended_s, cpu_s))

    async def _metrics(self) -> dict[str, float]:
        return await asyncio.to_thread(process_metrics, self.service.url)

    async def _read_memory(self) -> None:
        self.resident_mb.append(round((await self._metrics())["process_resident_memory_bytes"] / 1e6, 1))


def swap(
    manifest: Annotated[
        Path | None, typer.Argument(help="Clips to speak, one after another, again and again; else the bundled one.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    streams: Annotated[int, typer.Option(min=1, max=32, help="Streams at a time, each of a speaker of its own.")] = 8,
    swaps: Annotated[int, typer.Option(min=1, help="Changes of weights in all.")] = 1000,
    every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two changes of one speaker's.")] = 4.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Change speakers' weights under live streams: what is seen of it, and what is late, lost or left in memory.

    Takes 2 x swaps x every-s / streams seconds: every 100 changes follow a stretch of the same length without. A change
    that another one follows before its speaker's next utterance is never seen: it is counted as overtaken.
    """
    found = measure(spoken(manifest), model, streams, Plan(swaps, every_s), sys.stderr.isatty())
    if as_json:
        typer.echo(json.dumps(found | {"environment": environment()}, indent=1))
        return
    console = Console()
    for name, row in found.items():
        if isinstance(row, dict):
            cells = (f"{key} {json.dumps(value).replace(chr(34), '')}" for key, value in row.items())
            console.print(f"{name:<14}{', '.join(cells)}", highlight=False, soft_wrap=True)
        else:
            console.print(f"{name:<14}{row}", highlight=False)
