"""`myna transcribe`, `myna mic` and `myna demo`."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from myna.client import mic as microphone
from myna.client.files import duration_s
from myna.client.launch import server
from myna.client.render import Captions
from myna.client.run import Service, Transcript, converse, file_audio
from myna.client.subtitles import srt as as_srt
from myna.client.subtitles import vtt as as_vtt
from myna.models.errors import MynaError
from myna.server.protocol import Start

CLIP = Path(__file__).parent / "demo" / "clip.opus"
ACCENTED = CLIP.with_name("accented.opus")

Url = Annotated[str | None, typer.Option(help="A running server, ws://HOST:PORT/v1/stream; else one is started.")]
Token = Annotated[str | None, typer.Option(envvar="MYNA_TOKEN", help="What the server asks for.")]
Model = Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")]
ChunkMs = Annotated[int | None, typer.Option(help="Chunk size; one of the model's.")]
Speaker = Annotated[str | None, typer.Option(help="Who speaks: heard with what was learnt of their voice.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def _service(url: str | None, token: str | None, model: str | None) -> Iterator[Service]:
    """Use the server that is named, or one that lives as long as the command."""
    if url and model:
        raise typer.BadParameter("the server at --url has its own model; leave --model out")
    if url:
        yield Service(url, token)
        return
    with Console(stderr=True).status("starting a server"):
        starting = server(model)
        own = starting.__enter__()
    try:
        yield Service(own, token)
    finally:
        starting.__exit__(None, None, None)


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="WAV, FLAC, MP3, Ogg or Opus; many at once.")],
    url: Url = None,
    token: Token = None,
    model: Model = None,
    chunk_ms: ChunkMs = None,
    speaker: Speaker = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each file.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="SubRip subtitles.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="WebVTT subtitles.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write a file for each into this folder.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Files at a time.")] = 8,
) -> None:
    """Write down what is said in audio files.

    Prints the text, in the order of the files. A file that can't be read is reported, the others are done, and the exit
    code is 1.
    """
    kinds = [name for name, wanted in (("json", as_json), ("srt", srt), ("vtt", vtt)) if wanted]
    if len(kinds) > 1:
        raise typer.BadParameter("choose one of --json, --srt, --vtt")
    kind = kinds[0] if kinds else "txt"
    if kind in ("srt", "vtt") and len(files) > 1 and output is None:
        raise typer.BadParameter(f"--{kind} for several files needs --output FOLDER")
    start = Start(partials=False, words=kind != "txt", chunk_ms=chunk_ms, speaker=speaker)
    with _service(url, token, model) as service:
        found = asyncio.run(_transcribe_all(service, start, files, jobs))
    failed = 0
    for path, result in zip(files, found, strict=True):
        if isinstance(result, MynaError):
            failed += 1
            typer.echo(f"myna: {result}", err=True)
            if kind == "json" and output is None:
                typer.echo(json.dumps({"file": str(path), "error": str(result)}, ensure_ascii=False))
            continue
        written = _written(path, result, kind)
        if output:
            output.mkdir(parents=True, exist_ok=True)
            (output / f"{path.stem}.{kind}").write_text(written + "\n", encoding="utf-8")
        else:
            if kind == "txt" and len(files) > 1:
                typer.echo(f"{path}:")
            typer.echo(written)
    if failed:
        raise typer.Exit(1)


def _written(path: Path, transcript: Transcript, kind: str) -> str:
    match kind:
        case "json":
            return json.dumps({"file": str(path)} | transcript.as_json(), ensure_ascii=False)
        case "srt":
            return as_srt(transcript.finals)
        case "vtt":
            return as_vtt(transcript.finals)
        case _:
            return transcript.text


async def _transcribe_all(service: Service, start: Start, files: list[Path], jobs: int) -> list[Transcript | MynaError]:
    """Transcribe so many at a time; results in the order of the files."""
    room = asyncio.Semaphore(jobs)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:

        async def one(path: Path) -> Transcript | MynaError:
            async with room:
                try:
                    bar = bars.add_task(path.name, total=duration_s(path))
                    audio = file_audio(path, sent=lambda seconds: bars.advance(bar, seconds))
                    return await converse(service, start, audio, lambda event: None)
                except MynaError as error:
                    return error

        return await asyncio.gather(*(one(path) for path in files))


def mic(
    url: Url = None,
    token: Token = None,
    model: Model = None,
    device: Annotated[str | None, typer.Option(help="The microphone's number or a part of its name.")] = None,
    chunk_ms: ChunkMs = None,
    speaker: Speaker = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Let the server keep the speaker's utterances, to learn from.")
    ] = False,
    list_devices: Annotated[bool, typer.Option("--list", help="List the microphones and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> None:
    """Show live captions of the microphone until Ctrl-C."""
    if list_devices:
        for found in microphone.devices():
            typer.echo(f"{found.index:3} {found.name}{' (default)' if found.default else ''}")
        return
    if collect and speaker is None:
        raise typer.BadParameter("--collect needs --speaker: whose utterances they are")
    chosen = microphone.choose(device)
    with _service(url, token, model) as service:
        asyncio.run(
            _live(service, Start(words=False, chunk_ms=chunk_ms, speaker=speaker, collect=collect), chosen, as_json)
        )


async def _live(service: Service, start: Start, device: microphone.Device, as_json: bool) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    console = Console(quiet=as_json)
    console.print(f"[dim]listening to {device.name}; Ctrl-C stops[/]")
    with Captions(console) as captions:

        async def blocks() -> AsyncIterator[bytes]:
            async with microphone.listen(device) as heard:
                async for block in heard:
                    if told.is_set():
                        return
                    captions.meter(microphone.level_dbfs(block))
                    yield block

        await converse(service, start, blocks(), _printed if as_json else captions.show)


def _printed(event: object) -> None:
    typer.echo(event.model_dump_json(exclude_none=True))  # type: ignore[attr-defined]


def demo(
    model: Model = None,
    accent: Annotated[
        bool, typer.Option("--accent", help="Another clip: ten sentences of a man whose first language is Mandarin.")
    ] = False,
    speaker: Speaker = None,
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait for the clip to be spoken.")] = False,
    as_json: Json = False,
) -> None:
    """Caption a bundled clip, streamed in real time through a server of its own."""
    console, clip = Console(quiet=as_json), ACCENTED if accent else CLIP
    with _service(None, None, model) as service, Captions(console) as captions:
        console.print(f"[dim]streaming {duration_s(clip):.0f} s of speech[/]")
        audio = file_audio(clip, paced=not fast)
        transcript = asyncio.run(converse(service, Start(speaker=speaker), audio, captions.show))
    if as_json:
        typer.echo(json.dumps(transcript.as_json(), ensure_ascii=False))
    console.print("[dim]now your own: `myna transcribe FILE`, `myna mic`, `myna serve`[/]")
    if not transcript.text:
        raise typer.Exit(1)
