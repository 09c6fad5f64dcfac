"""Learning beside streams: a process that takes turns, whose captions are told apart, and that never stays behind."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.bench.cli import app
from myna.bench.learning import MYNA, SPEAKER, Worker, delays
from myna.bench.load import Watch
from tests.support import TINY

PATIENCE_S = 60.0


def reaches(process: "subprocess.Popen[bytes]", state: str) -> bool:
    """Wait until a process is in a state, one of proc(5)."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        if Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == state:
            return True
    return False


def command_lines() -> Iterator[str]:
    """Read those of all processes, arguments separated by NUL."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            yield file.read_text(errors="replace")


def test_captions_are_counted_for_the_turn_in_which_they_came() -> None:
    turns = [(False, 0.0, 10.0), (True, 10.0, 20.0), (False, 20.0, 30.0)]
    watches = [
        Watch(delays_ms=[1.0, 2.0, 3.0], arrived_s=[5.0, 10.0, 29.9]),
        Watch(delays_ms=[4.0, 5.0], arrived_s=[19.9, 30.0]),
    ]
    assert delays(turns, watches, learning=False) == [1.0, 3.0]
    assert delays(turns, watches, learning=True) == [2.0, 4.0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the state of a process from /proc")
def test_the_worker_is_halted_goes_on_and_ends(tmp_path: Path) -> None:
    worker = Worker(tmp_path, str(TINY))
    worker._command = [sys.executable, "-c", "while True: pass"]
    worker.go_on()
    process = worker._process
    assert process
    worker.halt()
    assert reaches(process, "T")
    worker.go_on()
    assert reaches(process, "R")
    assert worker.processes == 1
    worker.end()
    assert process.returncode == -9


@pytest.mark.skipif(sys.platform != "linux", reason="reads the server's state from /proc")
def test_both_kinds_of_turns_have_captions() -> None:
    args = ["learning", "--model", str(TINY), "--streams", "2", "--seconds", "8", "--every-s", "2", "--json"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["delay_ms"]["halted"]["p95"] > 0
    assert found["delay_ms"]["learning"]["p95"] > 0
    assert set(found["ratio"]) == {"p50", "p95", "p99"}
    assert found["worker"]["processes"] >= 1
    assert found["worker"]["cpu_s"] > 0
    wanted = "\0".join([*MYNA[1:], "adapt", SPEAKER])
    assert not [line for line in command_lines() if wanted in line]
