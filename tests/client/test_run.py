"""One stream from its first packet to `done`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import soundfile

from myna.client.errors import BadFile, Refused
from myna.client.run import Service, converse, file_audio, in_time
from myna.client.transcriber import Event
from myna.server.protocol import Partial, Start
from tests.server.speech import talk

AUDIO = talk(("voice", 1.0), ("silence", 1.2), ("voice", 0.8))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", AUDIO, 16_000)
    return tmp_path / "a.wav"


async def test_a_file_becomes_a_transcript(url: str, clip: Path) -> None:
    shown: list[Event] = []
    counted: list[float] = []
    found = await converse(Service(url), Start(), file_audio(clip, sent=counted.append), shown.append)
    assert found.seconds == pytest.approx(len(AUDIO) / 16_000, abs=1e-3) == sum(counted)
    assert any(isinstance(event, Partial) for event in shown)
    assert len(found.finals) == 2
    assert found.text.splitlines() == [final.text for final in found.finals]
    as_json = found.as_json()
    assert as_json["text"] == " ".join(final.text for final in found.finals)
    assert set(as_json["segments"][0]) == {"start", "end", "text", "confidence", "words"}


async def test_what_the_audio_raises_is_raised(url: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield AUDIO.tobytes()
        raise BadFile("torn")

    with pytest.raises(BadFile, match="torn"):
        await converse(Service(url), Start(), broken(), lambda event: None)


async def test_a_refusal_ends_it(url: str, clip: Path) -> None:
    def fail(event: Event) -> None:
        raise Refused("bad", "enough")

    with pytest.raises(Refused, match="enough"):
        await converse(Service(url), Start(), file_audio(clip), fail)
    assert len(asyncio.all_tasks()) == 1


async def test_in_time_waits_for_what_is_not_spoken_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("myna.client.run.asyncio.sleep", sleep)
    assert [packet async for packet in in_time([bytes(3200)] * 5)] == [bytes(3200)] * 5
    assert waits == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5], abs=0.05)
