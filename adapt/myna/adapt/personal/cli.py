"""`myna adapt`: learn speakers from what the store keeps; or say what would be learnt from."""

import json
import os
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from myna.adapt.personal.choose import Plan, choose
from myna.adapt.personal.settings import AdaptConfigError, AdaptSettings, read_settings
from myna.adapt.store import Pace, Rounds, Store, StoreError

HOME = Path("~/.local/share/myna")
NICENESS = 19
AUTOGROUP = Path("/proc/self/autogroup")
PACE = Pace()


def adapt(
    speaker: Annotated[
        str | None, typer.Argument(help="As streams name the speaker; none: all who have enough new speech.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Learn though there is little new since the last time.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be learnt from, and what not.")] = False,
    model: Annotated[str | None, typer.Option(help="The bundle that streams are served with.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings; adapt/README.md lists them.")] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar="MYNA_DATA_DIR", help="The server's data_dir.", show_default="~/.local/share/myna")
    ] = HOME,
    after: Annotated[
        int, typer.Option(min=1, help="New or corrected utterances that make a round worth it.")
    ] = PACE.utterances,
    every_h: Annotated[
        float, typer.Option(min=0, help="A round for fewer, if the last is so many hours ago.")
    ] = PACE.every_s / 3600,
    background: Annotated[
        bool, typer.Option("--background", help="As a server starts it: niced, resting while stdin says `busy`.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each speaker.")] = False,
) -> None:
    """Learn a speaker's voice from what they agreed to share, and use it if it helps.

    Part of the speech is held out. New weights are published only if they understand it better, beyond chance, and
    other people hardly worse; running streams of the speaker use them from their next utterance on.
    """
    rest = _Rest() if background else None
    settings, folder = read_settings(config), data_dir.expanduser()
    if not folder.is_dir():
        raise StoreError(f"{folder}: is no folder; nothing was kept yet, or --data-dir names another")
    if speaker is None and (now or dry_run):
        raise AdaptConfigError("SPEAKER: name one, for --now and --dry-run")
    store = Store(folder)
    if speaker is not None and store.folder_of(speaker) is None:
        raise StoreError("nothing is kept of this speaker; `myna speaker list` says of whom")
    if dry_run and speaker:
        plan = choose(store.utterances(speaker), settings)
        typer.echo(_plan_json(speaker, plan)) if as_json else _print_plan(speaker, plan)
        return
    due = Rounds(store, Pace(after, every_h * 3600)).due()
    if speaker is not None and speaker not in due and not now:
        typer.echo("there is little new since the last time; --now learns all the same", err=True)
        return
    failed = _learn(store, [speaker] if speaker else due, model, settings, rest, as_json)
    if failed and not background:
        raise typer.Exit(1)


def _learn(
    store: Store, speakers: list[str], model: str | None, settings: AdaptSettings, rest: "_Rest | None", as_json: bool
) -> int:
    """Do the rounds, one after the other; return how many failed."""
    if not speakers:
        return 0
    import torch

    from myna.adapt.personal.base import read_base
    from myna.adapt.personal.worker import rounds
    from myna.models.bundle import open_bundle, resolve_bundle

    torch.set_num_threads(1)
    with open_bundle(resolve_bundle(model)) as bundle:
        base = read_base(bundle)
    failed = 0
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        shown = bar.add_task("", total=1.0)

        def tell(what: str, share: float) -> None:
            bar.update(shown, description=what, completed=share)
            if rest:
                rest.wait()

        for name, outcome in rounds(base, store, speakers, settings, tell):
            failed += outcome.failed
            if as_json:
                typer.echo(json.dumps({"speaker": name, **asdict(outcome)}))
            else:
                said = f"published {outcome.version}" if outcome.version else "not published"
                typer.echo(f"{said}: {outcome.reason}")
    return failed


class _Rest:
    """Gives way to the server: niced, still while it is busy, as it says on stdin (`busy`, `calm`); ends with it."""

    def __init__(self) -> None:
        os.nice(NICENESS)
        if os.getsid(0) == os.getpid():
            # Linux may share the processor among sessions first (sched(7), autogroup): then niceness within one says
            # nothing to the server's.
            with suppress(OSError):
                AUTOGROUP.write_text(str(NICENESS))
        self._calm = threading.Event()
        self._calm.set()
        threading.Thread(target=self._listen, name="rest", daemon=True).start()

    def wait(self) -> None:
        """Return when the server is not busy."""
        self._calm.wait()

    def _listen(self) -> None:
        while said := os.read(0, 1024).split():  # sys.stdin would be locked by this read when the process ends
            if said[-1] == b"busy":
                self._calm.clear()
            else:
                self._calm.set()
        os._exit(0)  # the server is gone; what was begun leaves nothing behind


def _plan_json(speaker: str, plan: Plan) -> str:
    return json.dumps(
        {
            "speaker": speaker,
            "utterances": len(plan.chosen),
            "seconds": round(plan.seconds, 1),
            "learnt_from": plan.by_source(),
            "left_out": dict(plan.left_out),
            "why_not": plan.why_not,
        }
    )


def _print_plan(speaker: str, plan: Plan) -> None:
    table = Table("utterances", "", title=f"{plan.seconds:.0f} s of speech would be learnt from")
    for source, count in plan.by_source().items():
        table.add_row(str(count), source)
    for reason, count in plan.left_out.items():
        table.add_row(str(count), f"left out: {reason}")
    console = Console()
    console.print(table)
    if plan.why_not:
        console.print(f"Nothing is learnt yet: {plan.why_not}.")
