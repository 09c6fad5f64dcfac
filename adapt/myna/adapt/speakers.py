"""`myna speaker`: what is kept and learnt of whom; list, show, export, forget, versions, rollback, report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from myna.adapt.report.figures import read_curve
from myna.adapt.report.page import write_page
from myna.adapt.report.terminal import show as show_curve
from myna.adapt.report.wording import many, when
from myna.adapt.store import Store, StoreError, Versions

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Name = Annotated[str, typer.Argument(help="As streams name the speaker.")]
Data = Annotated[
    Path, typer.Option(envvar="MYNA_DATA_DIR", help="The server's data_dir.", show_default="~/.local/share/myna")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
HOME = Path("~/.local/share/myna")


@app.command("list")
def list_speakers(data_dir: Data = HOME, as_json: Json = False) -> None:
    """List the speakers of whom something is kept."""
    found = _open(data_dir).speakers()
    if as_json:
        typer.echo(json.dumps({"speakers": [asdict(one) for one in found]}))
        return
    table = Table("speaker", "utterances", "corrected", "minutes", "MB", "newest")
    for one in found:
        size, minutes = f"{one.bytes / 1e6:.1f}", f"{one.seconds / 60:.1f}"
        table.add_row(_plain(one.name), str(one.utterances), str(one.corrected), minutes, size, when(one.newest_s))
    Console().print(table if found else "Nothing is kept of anybody.")


@app.command()
def show(speaker: Name, data_dir: Data = HOME, as_json: Json = False) -> None:
    """Show every utterance that is kept of a speaker: when, how sure, what was heard, what was really said."""
    kept = _open(data_dir).utterances(speaker)
    if not kept:
        raise StoreError("nothing is kept of this speaker; `myna speaker list` says of whom")
    if as_json:
        rows = [asdict(one) | {"audio": str(one.audio)} for one in kept]
        typer.echo(json.dumps({"speaker": speaker, "utterances": rows}, ensure_ascii=False))
        return
    table = Table("when", "seconds", "source", "confidence", "heard", "text")
    for one in kept:
        sure = f"{one.confidence:.2f}" if one.model else ""  # no model heard what was enrolled
        heard, text = _plain(one.heard), _plain(one.text if one.text != one.heard else "")
        table.add_row(when(one.created_s), f"{one.seconds:.1f}", one.source, sure, heard, text)
    Console().print(table)


@app.command()
def export(speaker: Name, out: Annotated[Path, typer.Argument(help="A new folder.")], data_dir: Data = HOME) -> None:
    """Copy everything that is kept of a speaker: FLAC files, and a manifest that `myna evaluate` and recipes read."""
    if out.exists():
        raise StoreError(f"{out}: exists already; name a new folder")
    count = _open(data_dir).export(speaker, out)
    typer.echo(f"{out}: {count} utterances")


@app.command()
def forget(
    speaker: Name,
    data_dir: Data = HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove everything that is kept of a speaker, for good: speech, texts, what was learnt."""
    store = _open(data_dir)
    count = len(store.utterances(speaker))
    if not yes:
        typer.confirm(f"Remove {count} utterances and everything learnt from them, for good?", abort=True, err=True)
    if not store.forget(speaker):
        raise StoreError("nothing is kept of this speaker; `myna speaker list` says of whom")
    typer.echo(f"forgotten: {count} utterances")


@app.command()
def versions(speaker: Name, data_dir: Data = HOME, as_json: Json = False) -> None:
    """List what was learnt of a speaker: versions, which one is in use, and what was refused, with the reason."""
    found = Versions(_open(data_dir)).versions(speaker)
    if as_json:
        typer.echo(json.dumps({"speaker": speaker, "versions": [asdict(one) for one in found]}))
        return
    table = Table("when", "version", "model", "")
    for one in found:
        note = "in use" if one.in_use else one.reason or ""
        table.add_row(when(one.created_s), one.version or "refused", one.model, note)
    Console().print(table if found else "Nothing was learnt of this speaker yet.")


@app.command()
def rollback(
    speaker: Name,
    to: Annotated[str | None, typer.Option(help="A version of `myna speaker versions`; else the one before.")] = None,
    data_dir: Data = HOME,
) -> None:
    """Use an earlier version again, or the base alone."""
    version = Versions(_open(data_dir)).roll_back(speaker, to)
    typer.echo(f"in use: {version or 'the base alone'}")


@app.command()
def report(
    speaker: Name,
    html: Annotated[Path | None, typer.Option(help="Write a page into this new file instead.")] = None,
    data_dir: Data = HOME,
    as_json: Json = False,
) -> None:
    """Report how well a speaker is understood, attempt by attempt: learnt from what, refused why, in use which.

    Words are counted on utterances that the attempt had not learnt from, beside what the base makes of the same ones.
    """
    curve = read_curve(_open(data_dir), speaker)
    if html is not None:
        write_page(curve, html)
    if as_json:
        typer.echo(curve.model_dump_json())
    elif html is not None:
        typer.echo(f"{html}: {many(len(curve.attempts), 'attempt')}")
    else:
        show_curve(curve, Console())


def _open(data_dir: Path) -> Store:
    folder = data_dir.expanduser()
    if not folder.is_dir():
        raise StoreError(f"{folder}: is no folder; nothing was kept yet, or --data-dir names another")
    return Store(folder)


def _plain(text: str) -> Text:
    """Show what anybody may have written as it is: no markup, nothing that steers the terminal."""
    return Text("".join(c if c.isprintable() else "\ufffd" for c in text))
