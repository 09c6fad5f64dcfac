"""Learning while the server runs: begun by itself, at rest while streams need the machine, gone with the server."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from myna.server import supervise as module
from myna.server.metrics import Metrics
from myna.server.protocol import Adaptation, Final, Ready
from myna.server.supervise import Supervisor, supervise
from tests.adapt.personal.spoken import TEXT, TOML, speak
from tests.adapt.personal.test_cli import rounds, stands_still, versions, with_store
from tests.server.clients import AUDIO, connecting, hear, next_of, rest, say, serving, tiny, until
from tests.server.test_cli import Launch, launch
from tests.server.test_metrics import figures
from tests.server.test_speakers import coming

__all__ = ["launch"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PATIENCE_S = 600.0  # learning is niced: whatever else runs comes first
NAME = "Annabella Quux"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    monkeypatch.setattr(module, "WATCH_S", 0.05)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with_store(tmp_path / "data", lambda store: speak(store, NAME))
    return tmp_path / "data"


def settings(data: Path, toml: str = TOML) -> dict[str, object]:
    """Settings of a server that learns after four utterances."""
    file = data.parent / "adapt.toml"
    file.write_text(toml)
    return {"adapt": True, "data_dir": str(data), "adapt_after": 4, "adapt_config": str(file)}


def workers(parent: int | None = None) -> list[int]:
    """Find the processes that a server has begun."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == (parent or os.getpid()) and b"--background" in command:
            found.append(int(folder.name))
    return found


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def opened() -> set[str]:
    """Name the pipes and stores that this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(link))
    return {name for name in found if name.startswith("pipe:") or "sqlite" in name}


async def eventually(probe: Callable[[], object], wanted: object) -> None:
    """Wait for what a niced process does."""

    async def asked() -> object:
        return await asyncio.to_thread(probe)

    await until(asked, wanted, PATIENCE_S)


@asynccontextmanager
async def supervising(
    data: Path, load: Callable[[], float] = lambda: 0.0, toml: str = TOML
) -> AsyncIterator[dict[str, float]]:
    """Run a supervisor without a server; give its figures, as they are when asked for."""
    metrics = Metrics()

    class Figures(dict[str, float]):
        def __missing__(self, name: str) -> float:
            return figures(metrics).get(f"myna_{name}", 0.0)

    supervisor = supervise(tiny(**settings(data, toml)), load, metrics)
    assert supervisor
    try:
        yield Figures()
    finally:
        await supervisor.close()
        assert workers() == []


async def test_what_is_said_is_learnt_and_swapped_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From a stream that its speaker corrects to another stream that uses what was learnt of it."""
    caplog.set_level(logging.INFO)
    data = tmp_path / "data"
    corrected_alone = TOML.replace("min_confidence = 0.0", "min_confidence = 1.0")
    patient = {"adapt_after": 6, "idle_timeout_s": PATIENCE_S}
    with serving(**(settings(data, corrected_alone) | patient)) as running:
        async with connecting(running.url) as open_stream:
            await say(open_stream, "start", speaker=NAME)
            await next_of(open_stream, "ready")
            for _ in range(2):
                messages = await hear(running.url, speaker=NAME, collect=True)
                session = next(m.session for m in messages if isinstance(m, Ready))
                said = [m.text for m in messages if isinstance(m, Final)]
                async with connecting(running.url) as socket:
                    await say(socket, "start", speaker=NAME)
                    for utterance in ("0", "1", "2"):
                        await say(socket, "correct", utterance=utterance, text=TEXT, session=session)
                        await next_of(socket, "stored")
            await eventually(lambda: len(versions(data, NAME)), 1)
            (version,) = versions(data, NAME)
            await until(coming(running), {version})
            await open_stream.send(AUDIO)
            await say(open_stream, "stop")
            heard, _ = await rest(open_stream)
        swapped = next(m for m in heard if isinstance(m, Adaptation))
        assert (swapped.event, swapped.speaker, swapped.version) == ("swapped", NAME, version)
        assert {m.adapter and m.adapter.version for m in heard if isinstance(m, Final)} == {version}
        await eventually(lambda: figures(running.server.metrics).get("myna_adapt_rounds_total published"), 1)
        await eventually(workers, [])
    assert f"a round ended: {version}" in caplog.messages
    assert not [text for text in (NAME, TEXT, *said) if text in caplog.text]


async def test_a_due_speaker_is_learnt_once_and_named_nowhere(data: Path) -> None:
    async with supervising(data) as figure:
        await eventually(lambda: len(workers()), 1)
        (pid,) = workers()
        await eventually(lambda: figure["adapting"], 1)
        assert NAME.split()[0] not in command_of(pid)
        await eventually(lambda: figure["adapt_rounds_total published"], 1)
        await eventually(lambda: figure["adapting"], 0)
        assert workers() == []
    assert len(versions(data, NAME)) == 1
    assert len(rounds(data)) == 1


async def test_it_rests_while_streams_need_the_machine(data: Path) -> None:
    load = [1.0]
    async with supervising(data, lambda: load[0]) as figure:
        await asyncio.sleep(0.5)
        assert workers() == []  # nothing is begun under load
        load[0] = 0.0
        await eventually(lambda: len(workers()), 1)
        load[0] = 1.0
        (pid,) = workers()
        await eventually(lambda: len(rounds(data)), 1)
        await eventually(lambda: stands_still(pid), True)
        assert workers() == [pid]
        assert versions(data, NAME) == []
        load[0] = 0.0
        await eventually(lambda: figure["adapt_rounds_total published"], 1)
    assert len(versions(data, NAME)) == 1


async def test_the_load_must_fall_well_below_the_bound(tmp_path: Path) -> None:
    loads = [0.5, 0.61, 0.59, 0.41, 0.39, 0.59, 0.61]
    supervisor = Supervisor(tmp_path / "none", tiny(adapt_load=0.6), lambda: loads.pop(0), Metrics())
    found = [supervisor._is_busy() for _ in range(len(loads))]
    assert found == [False, True, True, True, False, False, True]
    await supervisor.close()


async def test_a_server_that_stops_takes_its_worker_along(data: Path) -> None:
    before = opened()
    with serving(**settings(data)) as running:
        await eventually(lambda: len(workers()), 1)
        (pid,) = workers()
        await asyncio.to_thread(running.thread.stop)
        assert workers() == []
        assert not Path(f"/proc/{pid}").exists()
    gc.collect()
    assert opened() <= before
    assert versions(data, NAME) == []


async def test_a_worker_that_does_not_listen_is_killed(data: Path) -> None:
    async with supervising(data) as figure:
        await eventually(lambda: figure["adapting"], 1)
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)  # then SIGTERM waits, too
        await eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0], "T")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
async def test_no_worker_outlives_its_server(launch: Launch, data: Path, number: signal.Signals) -> None:
    given = {f"MYNA_{name.upper()}": str(value) for name, value in settings(data).items()}
    process = launch(**given)
    await eventually(lambda: len(workers(process.popen.pid)), 1)
    (pid,) = workers(process.popen.pid)
    process.popen.send_signal(number)
    assert await process.ended() == (-number if number is signal.SIGKILL else 0)
    await eventually(Path(f"/proc/{pid}").exists, False)
    assert "Traceback" not in process.log
    assert NAME not in process.log


async def test_a_worker_that_is_killed_is_a_failure(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with supervising(data) as figure:
        await eventually(lambda: len(rounds(data)), 1)
        os.kill(workers()[0], signal.SIGKILL)
        await eventually(lambda: figure["adapt_rounds_total failed"], 1)
        assert figure["adapting"] == 0
        assert workers() == []
    assert caplog.messages == ["learning failed; once more in 30 s: the process ended with -9"]
    assert rounds(data) == [(None, None)]
    assert versions(data, NAME) == []


async def test_what_can_not_begin_is_tried_again_later_and_later(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.6)
    monkeypatch.setattr(module, "MOST_RETRY_S", 2.0)
    async with supervising(data, toml="gate_level = 7") as figure:
        await eventually(lambda: figure["adapt_rounds_total failed"], 4)
    waits = ["1", "1", "2", "2"]  # 0.6, 1.2, 2, 2
    assert len(caplog.messages) == 4
    for message, wait in zip(caplog.messages, waits, strict=True):
        assert message.startswith(f"learning failed; once more in {wait} s: myna: ")
        assert message.endswith("adapt.toml: gate_level: Input should be less than 1")
    assert rounds(data) == []


async def test_a_store_that_can_not_be_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data/store.sqlite3").mkdir(parents=True)
    async with supervising(tmp_path / "data") as figure:
        await eventually(lambda: figure["adapt_rounds_total failed"], 1)
    (message,) = caplog.messages
    assert "can't open the store" in message


async def test_where_there_is_nothing_to_learn_from_nothing_is_made(tmp_path: Path) -> None:
    async with supervising(tmp_path / "data"):
        await asyncio.sleep(0.3)
    assert not (tmp_path / "data").exists()


async def test_whose_learning_is_off_learns_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for off in ({"adapt": False}, {"data_dir": ""}):
        assert supervise(tiny(**(settings(data) | off)), lambda: 0.0, Metrics()) is None
    assert caplog.messages == []
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    assert supervise(tiny(**settings(data)), lambda: 0.0, Metrics()) is None
    (message,) = caplog.messages
    assert "the extra `adapt`" in message
