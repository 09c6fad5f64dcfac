"""`myna synthesise`: synthetic speech for training, from texts; what is there already is left as it is."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from rich.console import Console
from rich.progress import Progress

from myna.adapt.data import DataError, clean
from myna.adapt.decode import RATE_HZ

MANIFEST = "synthetic.jsonl"
DIGITS = ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = "BCDEFGHIJKLMNOPQRSTUVWXYZ"  # a lone A is read as the article
WORDS = (1, 25)  # of a line that is read


def synthesise(
    texts: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Text, a sentence a line.")],
    out: Annotated[Path, typer.Option(help=f"Folder of the audio and its manifest, {MANIFEST}.")],
    hours: Annotated[float, typer.Option(min=0.001, help="How much speech to make.")] = 1.0,
    kokoro: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Kokoro's ONNX model; else Hibari reads.")
    ] = None,
    styles: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Kokoro's styles: a folder of *.bin.")
    ] = None,
    spelled: Annotated[float, typer.Option(min=0, max=1, help="Share of digits and letters made up instead.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of every choice; give each of several runs its own.")] = 0,
) -> None:
    """Read texts aloud in many voices, as speech to train on beside real speech.

    Interrupted, it goes on where it was. Needs the package hibari-tts; lines with digits are left out.
    """
    from myna.adapt.voices import Hibari, Kokoro

    if (kokoro is None) != (styles is None):
        raise typer.BadParameter("--kokoro and --styles belong together")
    lines = _lines(texts)
    voices = Kokoro(kokoro, styles) if kokoro and styles else Hibari()
    out.mkdir(parents=True, exist_ok=True)
    done, seconds = _done(out / MANIFEST, seed)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("reading aloud", total=hours * 3600, completed=int(seconds))
        for number, line in _chosen(lines, spelled, seed, done):
            if seconds >= hours * 3600:
                break
            try:
                wave, speaker = voices.say(line, np.random.default_rng([seed, number]))
            except ValueError:
                continue
            row = {"audio": f"{seed}-{number:06}.opus", "text": clean(line), "speaker": speaker, "corpus": "synthetic"}
            soundfile.write(out / row["audio"], wave, RATE_HZ, format="OGG", subtype="OPUS")
            with (out / MANIFEST).open("a", encoding="utf-8") as manifest:
                manifest.write(json.dumps(row | {"seconds": round(len(wave) / RATE_HZ, 2)}) + "\n")
            seconds += len(wave) / RATE_HZ
            progress.update(bar, completed=seconds)
    typer.echo(f"{out / MANIFEST}: {seconds / 3600:.2f} h of speech")


def _lines(texts: list[Path]) -> list[str]:
    """Read the lines of fitting length whose numbers, if any, are words. Raises DataError where there are none."""
    found = [line.strip() for path in texts for line in path.read_text(encoding="utf-8").splitlines()]
    low, high = WORDS
    lines = [x for x in found if low <= len(clean(x).split()) <= high and not any(c.isdigit() for c in x)]
    if not lines:
        raise DataError(f"texts: no line of {low} to {high} words, without digits, is among {len(found)}")
    return lines


def _chosen(lines: list[str], spelled: float, seed: int, start: int) -> Iterator[tuple[int, str]]:
    """Yield numbers from `start` on, and what is to be read for each, without end."""
    number = start
    while True:
        rng = np.random.default_rng([seed, number, 1])
        yield number, spell(rng) if rng.random() < spelled else lines[rng.integers(len(lines))]
        number += 1


def spell(rng: np.random.Generator) -> str:
    """Make up digits or letters, one to seven, as they are said one by one."""
    of = DIGITS if rng.random() < 0.7 else list(LETTERS)
    return " ".join(rng.choice(of, rng.integers(1, 8)))


def _done(manifest: Path, seed: int) -> tuple[int, float]:
    """Return the number that comes next with this seed, and the seconds there are; drop a line that was cut off."""
    if not manifest.is_file():
        return 0, 0.0
    whole, _, cut_off = manifest.read_text(encoding="utf-8").rpartition("\n")
    if cut_off:
        manifest.write_text(whole + "\n" if whole else "", encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines()]
    mine = [row["audio"] for row in rows if row["audio"].startswith(f"{seed}-")]
    following = 1 + int(mine[-1].removeprefix(f"{seed}-").removesuffix(".opus")) if mine else 0
    return following, sum(row["seconds"] for row in rows)
