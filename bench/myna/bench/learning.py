"""`myna bench learning`: how much later captions come while the machine that serves them learns a speaker.

Streams talk in real time. Beside them the speaker in the package is learnt by the process that a server starts, niced;
but nobody tells it to rest when streams need the machine, as a server would: it is the worst that can happen. In turns
it is halted and goes on, so that whatever else the machine does falls upon both.
"""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from myna.bench.environment import environment
from myna.bench.load import Watch, percentiles, speak_all, speech, spoken
from myna.client.launch import server
from myna.client.run import Service
from myna.models.bundle import DEFAULT
from myna.server.protocol import Start

SPEAKER = "speaker"
MYNA = (sys.executable, "-m", "myna.server.main")

Turn = tuple[bool, float, float]  # whether it learnt; from when to when


class Worker:
    """A process that learns the speaker in the package; a new one when a round is over."""

    def __init__(self, folder: Path, model: str | None) -> None:
        self.processes = 0
        enrol = (*MYNA, "enroll", SPEAKER, "--demo", "--data-dir", str(folder))
        subprocess.run(enrol, check=True, capture_output=True)
        self._command = [*MYNA, "adapt", SPEAKER, "--now", "--background", "--data-dir", str(folder)]
        self._command += ["--model", model] if model else []
        self._process: subprocess.Popen[bytes] | None = None

    def go_on(self) -> None:
        """Let it run."""
        if self._process is None or self._process.poll() is not None:
            self._close_pipe()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # as the server does
            )
            self.processes += 1
        self._process.send_signal(signal.SIGCONT)

    def halt(self) -> None:
        """Let it stand still."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """Leave no process behind."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()


async def take_turns(worker: Worker, seconds: float, every_s: float) -> list[Turn]:
    """Halt it and let it go on, again and again."""
    turns = list[Turn]()
    for number in range(round(seconds / every_s)):
        began_s = time.perf_counter()
        if number % 2:
            worker.go_on()
        await asyncio.sleep(every_s)
        worker.halt()
        turns.append((bool(number % 2), began_s, time.perf_counter()))
    return turns


def delays(turns: Sequence[Turn], watches: Sequence[Watch], learning: bool) -> list[float]:
    """Collect how late those captions were that came while it learnt, or while it stood still."""
    spans = [(began_s, ended_s) for learnt, began_s, ended_s in turns if learnt == learning]
    found = ((at_s, ms) for watch in watches for at_s, ms in zip(watch.arrived_s, watch.delays_ms, strict=True))
    return [ms for at_s, ms in found if any(began_s <= at_s < ended_s for began_s, ended_s in spans)]


def measure(voices: list[bytes], seconds: float, every_s: float, model: str | None, threads: int) -> dict[str, Any]:
    """Let streams talk to a server, and a speaker be learnt beside it; return what `--json` prints."""
    with tempfile.TemporaryDirectory() as data:
        worker = Worker(Path(data), model)

        async def both(url: str) -> tuple[list[Watch], list[Turn]]:
            talking = speak_all(Service(url), Start(words=False), voices)
            return await asyncio.gather(talking, take_turns(worker, seconds, every_s))

        before_s = _children_cpu_s()
        with server(model, threads) as url:
            try:
                watches, turns = asyncio.run(both(url))
            finally:
                worker.end()
            learnt_s = _children_cpu_s() - before_s
    halted, learning = (percentiles(delays(turns, watches, kind)) for kind in (False, True))
    return {
        "model": model or DEFAULT,
        "streams": len(voices),
        "seconds": seconds,
        "every_s": every_s,
        "delay_ms": {"halted": halted, "learning": learning},
        "ratio": {name: round(learning[name] / halted[name], 3) for name in halted if name in learning},
        "worker": {"cpu_s": round(learnt_s, 1), "processes": worker.processes},
        "threads": threads,
        "cores": len(os.sched_getaffinity(0)),
    }


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def learning(
    manifest: Annotated[
        Path | None, typer.Argument(help="Clips to speak; else the bundled one, again and again.")
    ] = None,
    streams: Annotated[int, typer.Option(min=1, help="Streams at a time.")] = 8,
    seconds: Annotated[float, typer.Option(min=2, help="Length of each.")] = 240.0,
    every_s: Annotated[float, typer.Option(min=0.5, help="How long it learns, and is halted, in turns.")] = 20.0,
    model: Annotated[str | None, typer.Option(help="An embedded bundle's name, or a bundle's folder or zip.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the served model.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure how much later captions come while a speaker is learnt on the same machine.

    The learner is niced, but never told to rest: with a server of its own it would, as streams need the machine.
    """
    clips = spoken(manifest)
    voices = [speech(clips, seconds, i) for i in range(streams)]
    found = measure(voices, seconds, every_s, model, threads)
    if as_json:
        typer.echo(json.dumps(found | {"environment": environment("torch")}, indent=1))
        return
    console = Console()
    for name, row in {**found["delay_ms"], "ratio": found["ratio"], "worker": found["worker"]}.items():
        console.print(f"{name:<10}" + ", ".join(f"{key} {value:g}" for key, value in row.items()), highlight=False)
