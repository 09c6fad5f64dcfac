"""`myna serve` as a process: what it announces, how it ends, what it says when it can't begin."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from myna.server.protocol import PATH, Done
from tests.server.clients import (
    AUDIO,
    PATIENCE_S,
    connecting,
    errors,
    hear,
    next_of,
    rest,
    say,
    serving,
    told,
    until,
)
from tests.support import TINY

SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Process:
    """A server in a process of its own."""

    def __init__(self, log: Path, *args: str, **environ: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "myna.server.main", "serve", "--port", "0", "--json", "--model", str(TINY)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MYNA_")}
        with log.open("w") as errors:
            self.popen = subprocess.Popen(
                [*command, *args],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=inherited | {"MYNA_ADAPT": "false"} | environ,
            )
        assert self.popen.stdout
        self.line = self.popen.stdout.readline()  # the announcement, or nothing if it has failed

    @property
    def announced(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line)
        return found

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    async def logged(self, text: str) -> None:
        async def found() -> bool:
            return text in self.log

        await until(found, True)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.popen.wait, PATIENCE_S)


Launch = Callable[..., Process]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start servers that do not outlive the test."""
    processes: list[Process] = []

    def started(*args: str, **environ: str) -> Process:
        processes.append(Process(tmp_path / f"log{len(processes)}", *args, **environ))
        return processes[-1]

    yield started
    for process in processes:
        process.popen.kill()
        process.popen.communicate()


async def test_it_announces_where_it_listens(launch: Launch) -> None:
    process = launch(MYNA_MAX_STREAMS="1")
    url, model = process.announced["url"], process.announced["model"]
    assert url.startswith("ws://127.0.0.1:")
    assert url.endswith(PATH)
    assert model == "tiny 1"
    with serving() as running:
        assert told(await hear(url)) == told(await hear(running.url))
    process.popen.terminate()
    assert await process.ended() == 0
    assert process.popen.stdout
    assert process.popen.stdout.read() == ""


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_signal_ends_it_when_all_is_answered(launch: Launch, number: signal.Signals) -> None:
    """Everything is sent at once; whatever of it was heard by the time of the signal has its words."""
    process = launch()
    url = process.announced["url"]
    talking, silent = await connecting(url), await connecting(url)
    await say(talking, "start")
    await talking.send(AUDIO)
    await next_of(talking, "speech_started")
    process.popen.send_signal(number)
    said, code = await rest(talking)
    done = said[-2]
    assert isinstance(done, Done)
    assert (errors(said), code) == ([("restarting", True)], 1012)
    heard, silent_code = await rest(silent)
    assert (errors(heard), silent_code) == ([("restarting", True)], 1012)
    assert await process.ended() == 0
    accepted = AUDIO[: round(done.audio_seconds * 16_000) * 2]
    with serving() as running:
        assert told(said) == told(await hear(running.url, accepted))
    assert "closed after" in process.log
    assert not [final for final in told(said) if final["text"] in process.log]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_second_signal_ends_it_at_once(launch: Launch, number: signal.Signals) -> None:
    process = launch("--drain-s", "3600", MYNA_CLOSE_TIMEOUT_S="3600")
    async with connecting(process.announced["url"], close_timeout=0.1) as deaf:
        await say(deaf, "start")
        await next_of(deaf, "ready")
        deaf.transport.pause_reading()  # so that the close frame is not answered
        process.popen.send_signal(number)
        await process.logged("stopping: 1 streams")
        process.popen.send_signal(number)
        assert await process.ended() == -number
    assert "Traceback" not in process.log


async def test_what_can_not_begin_says_why(launch: Launch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = launch("--port", port)
        assert (busy.line, await busy.ended()) == ("", 2)
    assert busy.log == f"myna: bad settings: port: {port} on 127.0.0.1 is taken; choose another, or 0 for a free one\n"


async def test_settings_come_from_all_sides(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "myna.toml"
    file.write_text('host = "0.0.0.0"\ncolour = 1\ntoken = "correct horse"\n', encoding="utf-8")
    process = launch("--port", "-1", MYNA_CONFIG=str(file), MYNA_THREADS="0")
    assert (process.line, await process.ended()) == ("", 2)
    assert process.log.startswith("myna: bad settings: ")
    assert process.log.count("\n") == 1
    assert all(f"{name}: " in process.log for name in ("colour", "port", "threads"))
    assert "horse" not in process.log
