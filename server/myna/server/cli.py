"""`myna serve`."""

import asyncio
import json
import logging
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console

from myna.server.config import load_config
from myna.server.shell import Server, serve_until_told


def serve(
    config: Annotated[Path | None, typer.Option(envvar="MYNA_CONFIG", help="TOML file of settings.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one; 8765 by default.")] = None,
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that one step of the model uses.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Streams at a time; one more is refused.")] = None,
    speaker: Annotated[
        str | None,
        typer.Option(help="The one user of this device, who agrees that what is said is kept and learnt from."),
    ] = None,
    adapt: Annotated[
        bool | None, typer.Option("--adapt/--no-adapt", help="Learn speakers in the background; so by default.")
    ] = None,
    drain_s: Annotated[float | None, typer.Option(help="Seconds to finish what was accepted when stopped.")] = None,
    allow_remote: Annotated[
        bool | None, typer.Option("--allow-remote", help="Listen beyond the loopback without a token.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say that it is ready as one line of JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step of the way.")] = False,
) -> None:
    """Serve streams of speech: a websocket that takes audio and gives captions.

    Every setting can stand in the TOML file or in the environment as MYNA_NAME; flags win over both.
    """
    began_s = perf_counter()
    flags = {
        "host": host,
        "port": port,
        "model": model,
        "threads": threads,
        "max_streams": max_streams,
        "speaker": speaker,
        "adapt": adapt,
        "drain_s": drain_s,
        "allow_remote": allow_remote,
    }
    settings = load_config(config, flags)
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def announce(server: Server) -> None:
        seconds = perf_counter() - began_s
        name = f"{server.bundle.manifest.name} {server.bundle.manifest.version}"
        if as_json:
            print(json.dumps({"url": server.url, "model": name, "seconds": round(seconds, 3)}), flush=True)  # noqa: T201
        else:
            Console().print(f"[bold green]ready[/] [bold]{server.url}[/]  {name}, {seconds:.1f} s; Ctrl-C stops")

    asyncio.run(serve_until_told(settings, announce))
