"""`myna enroll`: a speaker teaches Myna their voice, by reading prompts aloud or by handing in recordings."""

import asyncio
import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from myna.adapt.keyboard import ENTER, QUIT, keyboard
from myna.adapt.prompts import PROMPTS, choose, plain, read_prompts
from myna.adapt.reading import Reader
from myna.adapt.recordings import Tally, hand_in, read_lines
from myna.adapt.speakers import HOME, Data, Name
from myna.adapt.store import Quotas, Store, check_speaker
from myna.client import mic

UNBOUNDED = Quotas(sys.maxsize, sys.maxsize, inf)  # quotas are the server's: it holds its own when it keeps something
HOW = """Read each sentence aloud as you usually speak. A recording ends when you fall silent, or with Enter.
While it runs, r begins it again, b goes back to the sentence before, s skips one, q quits."""
DEMO, DEMO_SPEAKER = Path(__file__).parent / "demo" / "speaker.jsonl", "so_1228"
MOST_PRINTED = 10  # refusals, and names of others
INTERRUPTED = 130


def enroll(
    speaker: Name,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Recordings instead: JSON lines {audio, text}, audio relative to the file; others ignored."),
    ] = None,
    manifest_speaker: Annotated[
        str | None,
        typer.Option(help="Whose lines to take, where the manifest's field `speaker` holds another name."),
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts of your own, one a line.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Ten recordings of a man who is in the package instead.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, help="How many prompts; those not read before come first.")] = 20,
    silence_s: Annotated[float, typer.Option(min=0.3, max=10, help="Silence that ends a recording.")] = 1.2,
    device: Annotated[str | None, typer.Option(help="The microphone's number or a part of its name.")] = None,
    data_dir: Data = HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was kept as one JSON object.")] = False,
) -> None:
    """Teach Myna a voice: read prompts aloud, or hand in recordings.

    What is read is kept with its text in the data directory, on this machine alone, to learn from it; enrolling is the
    consent to that. `myna speaker show` and `export` tell what is kept, `myna speaker forget` removes it for good.
    Write numbers as they are spoken. Leave with q or Ctrl-C at any time: what was kept stays, and the same command goes
    on from there.
    """
    check_speaker(speaker)
    folder = data_dir.expanduser()
    code = 0
    if manifest or demo:
        if prompts or device or (manifest and demo):
            raise typer.BadParameter("--manifest or --demo hands in recordings; leave --prompts and --device out")
        lines = read_lines(manifest or DEMO)
        if demo:  # the others are for judging what was learnt
            lines = [line for line in lines if json.loads(line)["role"] == "adapt"]
        named = DEMO_SPEAKER if demo else manifest_speaker or speaker
        tally, stopped = _hand_in(speaker, manifest or DEMO, lines, named, folder)
        done = {"kept": tally.kept, "already": tally.already, "others": tally.others.total(), "refused": tally.refused}
        code = INTERRUPTED if stopped else 0 if tally.kept or tally.already else 1
    elif manifest_speaker:
        raise typer.BadParameter("--manifest-speaker belongs to --manifest")
    else:
        mine, chosen = read_prompts(prompts or PROMPTS), mic.choose(device)
        done = {"kept": asyncio.run(_read_aloud(speaker, mine, count, silence_s, chosen, folder))}
    if as_json:
        typer.echo(json.dumps({"speaker": speaker} | done, ensure_ascii=False))
    if code:
        raise typer.Exit(code)


async def _read_aloud(
    speaker: str, prompts: list[str], count: int, silence_s: float, device: mic.Device, folder: Path
) -> list[dict[str, Any]]:
    """Ask for consent, and record; return what was kept."""
    console = _console()
    kept: list[dict[str, Any]] = []
    with keyboard() as keys:
        console.print(f"{HOW}\n\n{_terms(speaker, folder)}\nEnter I agree   q leave")
        while (key := await keys.get()) not in (ENTER, QUIT):
            pass
        if key == ENTER:
            store = Store(folder, UNBOUNDED)
            read = [one.text for one in store.utterances(speaker) if one.source == "enrolled"]
            reader = Reader(store, speaker, device, keys, console, silence_s)
            kept = await reader.read(choose(prompts, read, count))
    console.print(f"\n{len(kept)} kept. {_following(speaker) if kept else ''}")
    return kept


def _hand_in(speaker: str, manifest: Path, lines: list[str], named: str, folder: Path) -> tuple[Tally, bool]:
    """Keep the recordings of a manifest and say what became of its lines; tell whether that was broken off."""
    console = _console()
    console.print(_terms(speaker, folder))
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    with _until_interrupted() as going, progress:
        while_going = takewhile(lambda _: going(), progress.track(lines, description="keeping"))
        tally = hand_in(Store(folder, UNBOUNDED), speaker, manifest, named, while_going)
        stopped = not going()
    for one in tally.refused[:MOST_PRINTED]:
        console.print(f"{manifest}: line {one['line']}: {one['reason']}", soft_wrap=True)
    if len(tally.refused) > MOST_PRINTED:
        console.print(f"and {len(tally.refused) - MOST_PRINTED} more, which --json lists")
    console.print(
        f"{len(tally.kept)} kept, {tally.already} kept before, {len(tally.refused)} refused, "
        f"{tally.others.total()} of other speakers."
    )
    if stopped:
        console.print("Stopped: the same command goes on from here.")
    elif tally.kept or tally.already:
        console.print(_following(speaker))
    elif tally.others:
        names = ", ".join(plain(name) for name, _ in tally.others.most_common(MOST_PRINTED))
        console.print(f"No line is of {named}. --manifest-speaker takes those of one of: {names}")
    return tally, stopped


def _console() -> Console:
    return Console(stderr=True, highlight=False, markup=False)


def _terms(speaker: str, folder: Path) -> str:
    return (
        f"What you enrol is kept as sound and text in {folder}, on this machine alone, to learn your voice from; "
        f"`myna speaker forget {shlex.quote(speaker)}` removes it for good."
    )


def _following(speaker: str) -> str:
    return f"Next: `myna adapt {shlex.quote(speaker)} --now` learns from what is kept."


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end what is under way at its next step; a second one breaks off."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: not stopped.is_set()
    finally:
        signal.signal(signal.SIGINT, before)
