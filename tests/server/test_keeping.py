"""Consent, corrections and the store behind a real server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from myna.adapt.store import Kept, Store
from myna.client.transcriber import AsyncTranscriber
from myna.server.protocol import Error, Final, Ready, Start, Stored
from tests.server.clients import AUDIO, Running, connecting, hear, next_of, rest, say, serving, until


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def running(data: Path) -> Iterator[Running]:
    with serving(data_dir=str(data), collect_speakers=["carol"]) as running:
        yield running


async def kept(data: Path, speaker: str, count: int) -> list[Kept]:
    """Wait for so many utterances of a speaker; there must be no more."""

    async def found() -> int:
        return len(Store(data).utterances(speaker))

    await until(found, count)
    return Store(data).utterances(speaker)


async def test_what_was_agreed_to_is_kept_as_it_was_heard(running: Running, data: Path) -> None:
    messages = await hear(running.url, speaker="anna", collect=True)
    ready = next(m for m in messages if isinstance(m, Ready))
    finals = [m for m in messages if isinstance(m, Final) and m.text]
    found = await kept(data, "anna", len(finals))
    assert finals
    for one, final in zip(found, finals, strict=True):
        assert (one.heard, one.text, one.source, one.consent) == (final.text, final.text, "pseudo", "stream")
        assert one.model == f"{ready.model.name} {ready.model.version}"
        samples = one.samples()
        assert samples.tobytes() in AUDIO
        assert len(samples) > 8_000


async def test_nothing_is_kept_of_others(running: Running, data: Path) -> None:
    await hear(running.url, speaker="ben")
    await hear(running.url)
    assert not data.exists()  # not even a folder
    await hear(running.url, speaker="carol")  # who agreed once for all
    assert {one.consent for one in await kept(data, "carol", 3)} == {"configured"}
    assert [summary.name for summary in Store(data).speakers()] == ["carol"]


async def test_a_correction_is_stored_before_it_is_acknowledged(running: Running, data: Path) -> None:
    async with AsyncTranscriber(running.url, Start(speaker="anna", collect=True)) as stream:
        await stream.send(AUDIO)
        await stream.finalize()
        said: list[Any] = []
        async for event in stream:
            said.append(event)
            if isinstance(event, Final) and event.utterance == "1":
                await stream.correct("1", "what I said")
            if isinstance(event, Stored):
                (corrected,) = [one for one in Store(data).utterances("anna") if one.source == "corrected"]
                assert corrected.text == "what I said"
                await stream.stop()
        assert stream.ready is not None
        assert Stored(utterance="1", session=stream.ready.session) in said


async def test_done_waits_for_what_is_to_be_stored(running: Running) -> None:
    async with connecting(running.url) as socket:
        await say(socket, "start", speaker="anna", collect=True)
        await socket.send(AUDIO)
        await say(socket, "finalize")
        await next_of(socket, "finalized")
        await say(socket, "correct", utterance="0", text="one")
        await say(socket, "correct", utterance="77", text="two")
        await say(socket, "stop")
        messages, code = await rest(socket)
    assert [m.type for m in messages if m.type != "speech_ended"] == ["stored", "error", "done"]
    assert code == 1000
    (error,) = (m for m in messages if isinstance(m, Error))
    assert (error.code, error.fatal) == ("not_stored", False)


async def test_an_earlier_stream_can_be_corrected_by_its_speaker_alone(running: Running, data: Path) -> None:
    messages = await hear(running.url, speaker="anna", collect=True)
    session = next(m.session for m in messages if isinstance(m, Ready))
    async with connecting(running.url) as other, connecting(running.url) as same:
        for socket, speaker, answer in ((other, "ben", "error"), (same, "anna", "stored")):
            await say(socket, "start", speaker=speaker)
            await say(socket, "correct", utterance="0", text="mine", session=session)
            await next_of(socket, answer)
    assert [one.text for one in Store(data).utterances("anna")].count("mine") == 1


async def test_consent_can_be_given_and_withdrawn(running: Running, data: Path) -> None:
    async with connecting(running.url) as socket:
        await say(socket, "start", speaker="anna")
        await socket.send(AUDIO)
        await say(socket, "finalize")
        await next_of(socket, "finalized")
        await say(socket, "update", collect=True)
        await socket.send(AUDIO)
        await say(socket, "finalize")
        await next_of(socket, "finalized")
        await say(socket, "update", collect=False)
        await socket.send(AUDIO)
        await say(socket, "stop")
        await rest(socket)
    found = await kept(data, "anna", 3)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("settings", "start", "code"),
    [({}, {"collect": True}, "bad_message"), ({"data_dir": ""}, {"collect": True, "speaker": "a"}, "not_supported")],
)
async def test_why_nothing_can_be_kept_is_said(
    data: Path, settings: dict[str, Any], start: dict[str, Any], code: str
) -> None:
    with serving(**({"data_dir": str(data)} | settings)) as running:
        async with connecting(running.url) as socket:
            await say(socket, "start", **start)
            messages, close = await rest(socket)
    (error,) = messages
    assert isinstance(error, Error)
    assert (error.code, error.fatal) == (code, True)
    assert error.message.startswith("collect: ")
    assert close in (1007, 1008)


async def test_a_store_that_fails_harms_no_captions(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(data_dir=str(tmp_path / "file")) as running:
        messages = await hear(running.url, speaker="anna", collect=True)
        assert sum(isinstance(m, Final) for m in messages) == 3
        async with connecting(running.url) as socket:
            await say(socket, "start", speaker="anna", collect=True)
            await say(socket, "correct", utterance="0", text="x")
            error = await next_of(socket, "error")
    assert isinstance(error, Error)
    assert "can't open the store" in error.message


async def test_what_was_accepted_is_kept_when_the_server_stops(data: Path) -> None:
    with serving(data_dir=str(data)) as running:
        streams = [hear(running.url, speaker=f"speaker {i}", collect=True) for i in range(4)]
        await asyncio.gather(*streams)
    assert [summary.utterances for summary in Store(data).speakers()] == [3] * 4
