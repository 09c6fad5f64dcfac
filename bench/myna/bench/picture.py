"""The README's picture: `python -m myna.bench.picture OUT.svg` runs the demonstration and draws a moment of it."""

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from myna.client.cli import CLIP
from myna.client.launch import server
from myna.client.render import caption
from myna.client.run import Service, converse, file_audio
from myna.client.transcriber import Event
from myna.server.protocol import Final, Partial, Start

COLUMNS = 72


def moment(events: Sequence[Event]) -> Sequence[Event]:
    """Choose a moment late in the run at which a caption has stable words and words that may still change."""
    for count in range(len(events), 0, -1):
        last = events[count - 1]
        if isinstance(last, Partial) and 0 < last.stable_chars < len(last.text):
            return events[:count]
    return events


def draw(events: Sequence[Event]) -> str:
    """Draw what the terminal shows after these events, as SVG."""
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True)
    console.print(Text("$ myna demo", style="bold"))
    for event in events:
        if isinstance(event, Final) and event.text:
            console.print(Text(event.text))
    if events and isinstance(events[-1], Partial):
        console.print(caption(events[-1]))
    return console.export_svg(title="captions while they are spoken", unique_id="demo")


def main(
    out: Annotated[Path, typer.Argument(help="The picture.")],
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait for the clip to be spoken.")] = False,
) -> None:
    """Run the demonstration and draw it."""
    events: list[Event] = []
    with server(model) as url:
        asyncio.run(converse(Service(url), Start(), file_audio(CLIP, paced=not fast), events.append))
    out.write_text(draw(moment(events)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
