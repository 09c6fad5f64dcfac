"""Reading aloud: kept by silence or Enter, again, back, skipped, left; from samples, and at a sound card."""

import asyncio
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from myna.adapt import reading
from myna.adapt.reading import NoSound, Reader
from myna.adapt.store import Store
from myna.client import mic
from tests.server.speech import silence, talk
from tests.sound_card import needs_sound_card, sound_card, until

PROMPTS = ["Ba di.", "Ga mu [x].", "So ni."]
FLUTE = mic.Device(0, "Flute", 16_000, True)
SPOKEN = talk(("silence", 0.3), ("voice", 1.0), ("silence", 2.0))
ENDLESS = talk(("voice", 1.0))  # then the microphone waits for what the speaker does
PROGRAM = "import typer\nfrom myna.adapt.enroll import enroll\ntyper.run(enroll)"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def read(
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    *takes: tuple[NDArray[np.int16], str],
    prompts: list[str] = PROMPTS,
    terminal: bool = False,
) -> tuple[list[dict[str, Any]], str]:
    """Read prompts, each take with samples and the keys pressed behind them; return what was kept, and the screen."""
    left = list(takes)
    screen = io.StringIO()

    async def run() -> list[dict[str, Any]]:
        keys = asyncio.Queue[str]()

        @asynccontextmanager
        async def listen(device: mic.Device) -> AsyncIterator[AsyncIterator[bytes]]:
            assert device == FLUTE
            samples, pressed = left.pop(0)
            presses = iter(pressed)

            async def blocks() -> AsyncIterator[bytes]:
                for start in range(0, len(samples), 960):
                    yield samples[start : start + 960].tobytes()
                while True:
                    for key in presses:
                        keys.put_nowait(key)
                    yield silence(0.06).tobytes()

            yield blocks()
            for key in presses:  # it has ended by itself
                keys.put_nowait(key)

        monkeypatch.setattr(mic, "listen", listen)
        console = Console(file=screen, force_terminal=terminal, width=100)
        async with asyncio.timeout(60):
            return await Reader(store, "anna", FLUTE, keys, console, 1.2).read(prompts)

    kept = asyncio.run(run())
    assert left == []
    return kept, screen.getvalue()


def test_silence_or_enter_ends_a_reading(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    kept, shown = read(monkeypatch, store, (SPOKEN, ""), (ENDLESS, "\n"), (SPOKEN, ""))
    assert [one["text"] for one in kept] == PROMPTS
    found = store.utterances("anna")
    assert [(one.id, one.text, one.source) for one in found] == [(one["id"], one["text"], "enrolled") for one in kept]
    assert all(0.9 < one.seconds < 2.0 for one in found)
    assert "1 of 3   Ba di." in shown
    assert "2 of 3   Ga mu [x]." in shown
    assert shown.count("kept:") == 3


def test_again_skip_and_quit(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    kept, shown = read(monkeypatch, store, (ENDLESS, "xr"), (SPOKEN, ""), (ENDLESS, "s"), (ENDLESS, "q"))
    assert [one["text"] for one in kept] == [PROMPTS[0]]
    assert [shown.count(f"{n} of 3") for n in (1, 2, 3)] == [2, 1, 1]
    assert len(store.utterances("anna")) == 1


def test_back_replaces_what_was_kept(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    longer = talk(("voice", 1.5), ("silence", 2.0))
    kept, shown = read(monkeypatch, store, (SPOKEN, ""), (ENDLESS, "b"), (longer, ""), (ENDLESS, "b"), (ENDLESS, "b"),
        (SPOKEN, ""), (SPOKEN, ""), (SPOKEN, ""))  # fmt: skip
    assert [one["text"] for one in kept] == PROMPTS
    assert [one.id for one in store.utterances("anna")] == [one["id"] for one in kept]
    assert shown.count("1 of 3") == 4
    assert len(list(store.folder.rglob("*.flac"))) == 3


def test_what_is_wrong_is_asked_about(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    faint = (SPOKEN // 20).astype(np.int16)
    kept, shown = read(
        monkeypatch, store, (faint, "\nz\n"), (silence(0.5), "\n\n"), (silence(0.5), "\ns"), (SPOKEN[:1_000], "\nq")
    )
    assert [one["text"] for one in kept] == [PROMPTS[0]]
    assert "too quiet: speak closer" in shown
    assert "Enter keep it all the same" in shown
    assert shown.count("no speech was heard") == 3
    assert "Enter again" in shown
    assert [shown.count(f"{n} of 3") for n in (1, 2, 3)] == [1, 2, 1]


def test_a_terminal_shows_the_level(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    _, shown = read(monkeypatch, store, (SPOKEN, ""), prompts=PROMPTS[:1], terminal=True)
    assert "━" in shown
    assert "Enter done" in shown


def test_a_microphone_that_falls_silent_for_good(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    @asynccontextmanager
    async def listen(device: mic.Device) -> AsyncIterator[AsyncIterator[bytes]]:
        async def blocks() -> AsyncIterator[bytes]:
            yield SPOKEN[:960].tobytes()
            await asyncio.Event().wait()

        yield blocks()

    monkeypatch.setattr(mic, "listen", listen)
    monkeypatch.setattr(reading, "STALLED_S", 0.05)
    reader = Reader(store, "anna", FLUTE, asyncio.Queue(), Console(file=io.StringIO()), 1.2)
    with pytest.raises(NoSound, match="still connected"):
        asyncio.run(reader.read(PROMPTS))
    assert store.utterances("anna") == []


# ------------------------------------------------------------------ at a sound card


@contextmanager
def enrolling(environ: dict[str, str], folder: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run the command at a terminal; give it and the terminal's other end."""
    ours, theirs = pty.openpty()
    (folder / "mine.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    command = [sys.executable, "-c", PROGRAM, "anna", "--prompts", str(folder / "mine.txt"), *arguments]
    environ = environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder / "data"), "--json"],
        env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(process, "I agree")
        yield process, ours
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
        os.close(ours)
        os.close(theirs)


def result(process: "subprocess.Popen[str]") -> list[str]:
    (*_, last) = until(process, '"kept":')
    assert process.wait(20) == 0
    return [one["text"] for one in json.loads(last)["kept"]]


@pytest.mark.audio
@needs_sound_card
def test_at_a_sound_card(tmp_path: Path) -> None:
    data = tmp_path / "data"
    speech = talk(("silence", 0.4), ("voice", 1.4), ("silence", 1.4)).tobytes()
    with sound_card(tmp_path, speech) as environ:
        with enrolling(environ, tmp_path) as (process, keys):
            os.write(keys, b"q")
            assert result(process) == []
            assert not data.exists(), "nothing may be made without consent"
        with enrolling(environ, tmp_path, "--count", "2") as (process, keys):
            os.write(keys, b"\n")
            until(process, "2 of 2")
            os.write(keys, b"s")
            assert result(process) == PROMPTS[:1]
        with enrolling(environ, tmp_path) as (process, keys):
            os.write(keys, b"\n")
            assert any(PROMPTS[1] in line for line in until(process, "1 of 3"))  # what was not read comes first
            until(process, "2 of 3")
            process.send_signal(signal.SIGINT)
            assert result(process) == PROMPTS[1:2]
    kept = Store(data).utterances("anna")
    assert [one.text for one in kept] == PROMPTS[:2]
    for one in kept:
        assert 0.3 < one.seconds < 3
        assert np.abs(one.samples().astype(np.int32)).max() > 3_000


@pytest.mark.audio
@needs_sound_card
def test_a_kill_leaves_whole_utterances(tmp_path: Path) -> None:
    with sound_card(tmp_path) as environ, enrolling(environ, tmp_path) as (process, keys):
        os.write(keys, b"\n")
        until(process, "2 of 3")
        process.send_signal(signal.SIGKILL)
    (one,) = Store(tmp_path / "data").utterances("anna")
    assert len(one.samples()) == round(one.seconds * 16_000)
