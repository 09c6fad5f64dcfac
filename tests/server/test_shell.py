"""The server as a whole: many streams at once, one too many, a graceful end, and what hinders it to begin."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from myna.server.embedded import ServerThread
from myna.server.errors import ConfigError
from myna.server.protocol import Done, Error, Final, Ready
from tests.server.clients import (
    AUDIO,
    Running,
    connecting,
    errors,
    hear,
    next_of,
    rest,
    say,
    serving,
    tiny,
    told,
    unharmed,
    until,
)
from tests.server.speech import talk
from tests.server.test_engine import held
from tests.support import CALIBRATION, calibrated


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(max_streams=12, retry_after_s=3) as running:
        yield running


async def vacant(running: Running) -> bool:
    return running.server.engine.open_slots < running.server.config.max_streams


async def accepted(running: Running) -> int:
    return sum(stream._session.audio_samples for stream in running.server.streams)


async def begun(stream: ClientConnection) -> Ready:
    await say(stream, "start")
    answer = await next_of(stream, "ready")
    assert isinstance(answer, Ready)
    return answer


async def test_a_stream_is_told_what_it_talks_to(running: Running) -> None:
    async with connecting(running.url) as one, connecting(running.url) as other:
        answer, another = await begun(one), await begun(other)
    assert answer.session != another.session
    assert answer.model.name == "tiny"
    assert answer.chunk_ms in answer.limits.chunk_choices_ms
    assert answer.limits.max_frame_bytes == running.server.config.max_frame_bytes


async def test_confidence_is_as_the_bundle_calibrates_it(running: Running, tmp_path: Path) -> None:
    with serving(model=str(calibrated(tmp_path / "tiny"))) as other:
        plain, worth = [
            [m.confidence for m in await hear(one.url, AUDIO) if isinstance(m, Final)] for one in (running, other)
        ]
    assert plain
    assert worth == [pytest.approx(CALIBRATION.utterance(raw), abs=2e-3) for raw in plain]
    assert worth != plain


async def test_many_at_once_hear_what_each_hears_alone(running: Running) -> None:
    clips = [
        talk(("silence", 0.1 * i), ("voice", 0.6 + 0.2 * i), ("silence", 0.9), ("voice", 0.7)).tobytes()
        for i in range(12)
    ]
    alone = [told(await hear(running.url, clip)) for clip in clips]
    before = await running.at_rest()
    together = await asyncio.gather(*(hear(running.url, clip, 1000 + 700 * i) for i, clip in enumerate(clips)))
    assert [told(messages) for messages in together] == alone
    assert all(len(finals) == 2 for finals in alone)
    await until(running.census, before)


async def test_one_too_many_is_sent_away_and_harms_nobody(running: Running) -> None:
    async with unharmed(running):
        others = [await connecting(running.url) for _ in range(running.server.config.max_streams - 1)]
        for other in others:
            await begun(other)
        async with connecting(running.url) as surplus:
            (refusal,), code = await rest(surplus)
        assert isinstance(refusal, Error)
        assert (refusal.code, refusal.fatal, refusal.retry_after_s, code) == ("overloaded", True, 3, 1013)
        await others.pop().close()
        await until(lambda: vacant(running), True)
        assert told(await hear(running.url))
        for other in others:
            await other.close()


async def test_a_graceful_end_answers_what_was_accepted() -> None:
    """One stream is within a word, one has stopped, one has said nothing yet, one comes too late."""
    half = AUDIO[: len(AUDIO) // 2]
    with serving() as running:
        whole_alone, half_alone = told(await hear(running.url)), told(await hear(running.url, half))
        late = socket.create_connection((urlsplit(running.url).hostname, urlsplit(running.url).port))
        talking, stopped, silent = [await connecting(running.url) for _ in range(3)]
        with held(running.server.engine):
            for stream, audio in ((talking, half), (stopped, AUDIO)):
                await begun(stream)
                await stream.send(audio)
            await say(stopped, "stop")
            await until(lambda: accepted(running), len(half + AUDIO) // 2)
            ending = asyncio.create_task(asyncio.to_thread(running.thread.stop))
            await until(running.ready, False)
            with pytest.raises(InvalidStatus, match="503"):
                await connecting(running.url, sock=late)
            assert not ending.done()
        said, code = await rest(talking)
        assert (told(said), errors(said), code) == (half_alone, [("restarting", True)], 1012)
        assert said[-2] == Done(audio_seconds=len(half) / 32_000, utterances=2)
        said, code = await rest(stopped)
        assert (told(said), errors(said), code) == (whole_alone, [], 1000)
        said, code = await rest(silent)
        assert (errors(said), code) == ([("restarting", True)], 1012)
        await ending
    with pytest.raises(ConnectionRefusedError):
        await connecting(running.url)


async def test_a_graceful_end_has_an_end() -> None:
    """What can't be answered in time is given up; who does not answer the close frame is cut off."""
    with serving(drain_s=0.1, close_timeout_s=0.5) as running:
        waiting, deaf = [await connecting(running.url, close_timeout=0.1) for _ in range(2)]
        await begun(deaf)
        deaf.transport.pause_reading()
        with held(running.server.engine):
            await begun(waiting)
            await waiting.send(AUDIO)
            await next_of(waiting, "speech_started")
            ending = asyncio.create_task(asyncio.to_thread(running.thread.stop))
            said, code = await rest(waiting)
        await ending
        assert (told(said), errors(said), code) == ([], [("restarting", True)], 1012)
        assert running.server.streams == set()
        deaf.transport.abort()


@pytest.mark.parametrize(
    ("host", "said"), [("127.0.0.1", "port: {} on 127.0.0.1 is taken"), ("a..b", "host: can't listen on a..b")]
)
def test_what_can_not_be_listened_on(host: str, said: str) -> None:
    before = threading.enumerate()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            ServerThread(tiny(host=host, port=port, allow_remote=True)).start()
    assert said.format(port) in str(caught.value)
    assert "myna-engine" not in {thread.name for thread in {*threading.enumerate()} - {*before}}


def test_an_address_is_one_that_can_be_connected_to() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    with serving(host="::1") as running:
        assert running.url.startswith("ws://[::1]:")
        assert told(asyncio.run(hear(running.url)))
