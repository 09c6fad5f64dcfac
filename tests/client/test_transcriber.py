"""Streams to a real server: order, errors, and connections that are lost."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from myna.adapt.store import Store
from myna.client.errors import Refused, Unreachable
from myna.client.transcriber import AsyncTranscriber, Event, Transcriber
from myna.server.config import ServerConfig
from myna.server.embedded import ServerThread, running_server
from myna.server.protocol import (
    AudioFormat,
    Done,
    Final,
    Finalized,
    Partial,
    Ready,
    SpeechStarted,
    Start,
    Stored,
)
from tests.client.proxy import Proxy
from tests.server.speech import talk
from tests.support import TINY

AUDIO = talk(
    ("silence", 0.4), ("voice", 1.2), ("silence", 1.5), ("voice", 1.8), ("silence", 1.5), ("voice", 1.0)
).tobytes()
PACKET_BYTES = 6400


def finals(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def told(events: list[Event]) -> list[tuple[str, str, float, float]]:
    return [(final.utterance, final.text, final.start, final.end) for final in finals(events)]


async def hear(url: str, start: Start | None = None, token: str | None = None) -> list[Event]:
    async with AsyncTranscriber(url, start, token, patience_s=5) as stream:
        await stream.send(AUDIO)
        await stream.stop()
        return [event async for event in stream]


async def test_a_stream_from_ready_to_done(url: str) -> None:
    async with AsyncTranscriber(url) as stream:
        assert stream.ready is not None
        assert stream.ready.model.name == "tiny"
        await stream.send(AUDIO)
        await stream.stop()
        events = [event async for event in stream]
    assert [final.utterance for final in finals(events)] == ["0", "1", "2"]
    assert all(final.text and final.words for final in finals(events))
    assert any(isinstance(event, Partial) for event in events)
    assert events[-1] == Done(audio_seconds=round(len(AUDIO) / 32_000, 3), utterances=3)


async def test_finalize_answers_and_goes_on(url: str) -> None:
    async with AsyncTranscriber(url) as stream:
        await stream.send(AUDIO[:48_000])
        await stream.finalize("half")
        events: list[Event] = []
        async for event in stream:
            events.append(event)
            if event == Finalized(id="half"):
                break
        assert len(finals(events)) == 1
        await stream.send(AUDIO[48_000:])
        await stream.stop()
        rest = [event async for event in stream]
    assert finals(rest)
    assert isinstance(rest[-1], Done)


def test_the_same_without_asyncio(url: str) -> None:
    with Transcriber(url, Start(partials=False)) as stream:
        assert stream.ready is not None
        for i in range(0, len(AUDIO), PACKET_BYTES):
            stream.send(AUDIO[i : i + PACKET_BYTES])
        stream.finalize()
        stream.stop()
        events = list(stream)
    assert told(events) == told(asyncio.run(hear(url)))
    assert Finalized() in events
    assert not any(isinstance(event, Partial) for event in events)


async def test_leaving_early_is_clean(url: str) -> None:
    async with AsyncTranscriber(url) as stream:
        await stream.send(AUDIO)
    with Transcriber(url) as waiting:
        waiting.send(AUDIO[:PACKET_BYTES])


async def test_refusals_carry_the_server_s_code(url: str) -> None:
    with pytest.raises(Refused, match="chunk_ms: must be one of") as caught:
        await hear(url, Start(chunk_ms=310))
    assert caught.value.code == "bad_message"
    opus = Start(audio=AudioFormat(encoding="ogg_opus"))
    with pytest.raises(Refused) as broken:
        await hear(url, opus)
    assert broken.value.code == "bad_audio"


async def test_nobody_there_says_what_to_do(url: str) -> None:
    for wrong, said in [
        ("ws://127.0.0.1:9/v1/stream", "start one with `myna serve`"),
        ("http://x", "is no address of a websocket"),
        (url.replace("/v1/stream", "/v2/stream"), "404"),
    ]:
        with pytest.raises(Unreachable, match=said):
            async with AsyncTranscriber(wrong, patience_s=0):
                pass
    with pytest.raises(Unreachable), Transcriber("ws://127.0.0.1:9/v1/stream", patience_s=0):
        pass


async def test_a_token_is_shown() -> None:
    with running_server(ServerConfig(port=0, model=str(TINY), adapt=False, token="correct horse")) as url:
        assert finals(await hear(url, token="correct horse"))
        with pytest.raises(Unreachable, match="asks for a token"):
            async with AsyncTranscriber(url, token="wrong", patience_s=0):
                pass


@pytest.mark.parametrize("seed", range(4))
async def test_a_lost_connection_loses_and_doubles_nothing(url: str, seed: int) -> None:
    whole = told(await hear(url))
    cuts = set(np.random.default_rng(seed).choice(len(AUDIO) // PACKET_BYTES, 3, replace=False).tolist())
    async with Proxy(url) as proxy, AsyncTranscriber(proxy.url, patience_s=10) as stream:
        for number, i in enumerate(range(0, len(AUDIO), PACKET_BYTES)):
            await stream.send(AUDIO[i : i + PACKET_BYTES])
            if number in cuts:
                proxy.cut()
        await stream.stop()
        events = [event async for event in stream]
        assert proxy.connections > 1
    assert [row[:1] for row in told(events)] == [row[:1] for row in whole]
    for (_, _, start, end), (_, _, expected_start, expected_end) in zip(told(events), whole, strict=True):
        assert start == pytest.approx(expected_start, abs=0.35)
        assert end == pytest.approx(expected_end, abs=0.35)
    assert events[-1] == Done(audio_seconds=round(len(AUDIO) / 32_000, 3), utterances=3)


async def test_a_cut_within_an_utterance_hears_it_from_its_beginning(url: str) -> None:
    whole = told(await hear(url))
    async with Proxy(url) as proxy, AsyncTranscriber(proxy.url, patience_s=10) as stream:
        await stream.send(AUDIO[: 32_000 * 4])  # within the second utterance
        events: list[Event] = []
        async for event in stream:
            events.append(event)
            if isinstance(event, SpeechStarted) and event.utterance == "1":
                proxy.cut()
                break
        await stream.send(AUDIO[32_000 * 4 :])
        await stream.stop()
        events += [event async for event in stream]
        assert proxy.connections == 2
    assert sum(isinstance(event, Ready) for event in events) == 1
    assert [final.utterance for final in finals(events)] == ["0", "1", "2"]
    assert told(events)[0] == whole[0]


async def test_a_server_that_restarts_is_waited_for() -> None:
    config = ServerConfig(port=0, model=str(TINY), adapt=False, drain_s=5)
    first = ServerThread(config)
    url = await asyncio.to_thread(lambda: first.start().url)
    port = int(url.rsplit(":", 1)[1].partition("/")[0])
    async with AsyncTranscriber(url, patience_s=20) as stream:
        await stream.send(AUDIO[:100_000])
        await asyncio.to_thread(first.stop)
        second = ServerThread(config.model_copy(update={"port": port}))
        await asyncio.to_thread(second.start)
        try:
            await stream.send(AUDIO[100_000:])
            await stream.stop()
            events = [event async for event in stream]
        finally:
            await asyncio.to_thread(second.stop)
    assert isinstance(events[-1], Done)
    assert events[-1].audio_seconds == round(len(AUDIO) / 32_000, 3)
    assert sum(isinstance(event, Done) for event in events) == 1


async def test_corrections_find_their_utterance_across_connections(tmp_path: Path) -> None:
    config = ServerConfig(port=0, model=str(TINY), adapt=False, data_dir=str(tmp_path))
    start = Start(speaker="anna", collect=True)
    with running_server(config) as url:
        async with Proxy(url) as proxy, AsyncTranscriber(proxy.url, start, patience_s=10) as stream:
            await stream.send(AUDIO)
            await stream.finalize()
            stored: list[str] = []
            async for event in stream:
                match event:
                    case Finalized() if proxy.connections == 1:
                        proxy.cut()
                        await stream.send(AUDIO)
                        await stream.finalize()
                    case Final(utterance="3"):
                        await stream.correct("1", "before")
                        await stream.correct("3", "after")
                    case Stored():
                        stored.append(event.utterance)
                        if len(stored) == 2:
                            await stream.stop()
            assert stored == ["1", "3"]
            assert proxy.connections == 2
    texts = [one.text for one in Store(tmp_path).utterances("anna")]
    assert [texts.index(text) for text in ("before", "after")] == [1, 3]


async def test_what_cannot_be_repeated_says_so(url: str) -> None:
    opus = Start(audio=AudioFormat(encoding="ogg_opus"))
    async with Proxy(url) as proxy, AsyncTranscriber(proxy.url, opus, patience_s=5) as stream:
        proxy.cut()
        with pytest.raises(Unreachable, match="can't be resumed"):
            async for _ in stream:
                pass
