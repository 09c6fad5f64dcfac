"""What clients get wrong, or do on purpose: the documented answer, no harm to a neighbour, and nothing stays behind."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed

from myna.server.connection import MAX_OUTBOX, SLICE_BYTES, Stream
from myna.server.protocol import Done
from tests.server.clients import (
    AUDIO,
    PACKET_BYTES,
    Running,
    connecting,
    errors,
    hear,
    next_of,
    rest,
    say,
    serving,
    told,
    unharmed,
    until,
)
from tests.server.test_engine import held


class Text(bytes):
    """Bytes of a text frame, valid or not."""


class Deed(NamedTuple):
    """What a client sends in one go, and how the server ends it."""

    frames: list[str | bytes]
    error: tuple[str, bool] | None
    close: int


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


START, STOP = message("start"), message("stop")
DEEDS = {
    "a wrong sample rate": Deed([message("start", audio={"sample_rate": 4000})], ("bad_message", True), 1007),
    "an unknown field": Deed([message("start", colour="red")], ("bad_message", True), 1007),
    "no object": Deed(["[1]"], ("bad_message", True), 1007),
    "no JSON": Deed(["{"], ("bad_message", True), 1007),
    "deep nesting": Deed(["[" * 60_000], ("bad_message", True), 1007),
    "a model of others": Deed([message("start", model="other")], ("refused", True), 1008),
    "a feature to come": Deed([message("start", hotwords=[{"phrase": "Łódź"}])], ("not_supported", True), 1008),
    "audio before start": Deed([AUDIO], ("bad_order", True), 1002),
    "a second start": Deed([START, START], ("bad_order", True), 1002),
    "no Opus": Deed([message("start", audio={"encoding": "ogg_opus"}), AUDIO], ("bad_audio", True), 1003),
    "no floats": Deed(
        [message("start", audio={"encoding": "pcm_f32le"}), b"\xff" * PACKET_BYTES], ("bad_audio", True), 1003
    ),
    "half a UTF-8 sequence": Deed([START, AUDIO, Text(b'{"type": "finalize", "id": "\xc3')], None, 1007),
    "half a UTF-8 sequence at first": Deed([Text(b"\xc3")], None, 1007),
    "100 MB in one frame": Deed([START, bytes(100_000_000)], None, 1009),
    "a long message": Deed([START, message("finalize", id="x" * 70_000)], ("too_large", True), 1009),
}
HARMLESS = {
    "an odd byte": Deed([START, AUDIO + b"\1", STOP], ("bad_audio", False), 1000),
    "packets of 999 bytes": Deed(
        [START, *(AUDIO[at : at + 999] for at in range(0, len(AUDIO), 999)), STOP], None, 1000
    ),
    "an unknown field in a stream": Deed([START, AUDIO, message("finalize", x=1), STOP], ("bad_message", False), 1000),
    "no object in a stream": Deed([START, AUDIO, "[1]", STOP], ("bad_message", False), 1000),
    "a correction": Deed(
        [START, AUDIO, message("correct", utterance="0", text="x"), STOP], ("not_stored", False), 1000
    ),
    "1000 empty frames": Deed([START, *[b""] * 500, AUDIO, *[b""] * 500, STOP], None, 1000),
}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as running:
        yield running


async def do(url: str, deed: Deed) -> list[Any]:
    """Send the frames; hold the answer against what is documented."""
    socket = await connecting(url)
    with suppress(ConnectionClosed):  # by then it may be over
        for frame in deed.frames:
            await socket.send(frame, text=True if isinstance(frame, Text) else None)
    messages, code = await rest(socket)
    assert (errors(messages), code) == ([deed.error] if deed.error else [], deed.close)
    return messages


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
async def test_what_ends_a_stream(running: Running, deed: Deed) -> None:
    async with unharmed(running):
        messages = await do(running.url, deed)
    if deed.error:
        assert messages[-1].type == "error"


@pytest.mark.parametrize("deed", HARMLESS.values(), ids=HARMLESS)
async def test_what_does_not(running: Running, deed: Deed) -> None:
    async with unharmed(running):
        messages = await do(running.url, deed)
    assert told(messages) == told(await hear(running.url))
    assert messages[-1] == Done(audio_seconds=len(AUDIO) / 32_000, utterances=3)


@pytest.mark.parametrize("late", [AUDIO, START, message("finalize"), STOP], ids=["audio", "start", "finalize", "stop"])
async def test_anything_after_stop(running: Running, late: str | bytes) -> None:
    async with unharmed(running):
        with held(running.server.engine):  # so that there is something to wait for after `stop`
            await do(running.url, Deed([START, AUDIO, STOP, late], ("bad_order", True), 1002))


async def test_clients_that_say_nothing() -> None:
    """One never, and one no more."""
    with serving(start_timeout_s=2, idle_timeout_s=2) as running:
        async with unharmed(running):
            never, no_more = Deed([], ("start_timeout", True), 1008), Deed([START], ("idle", True), 1008)
            await asyncio.gather(do(running.url, never), do(running.url, no_more))
        assert (await running.closed("start_timeout"), await running.closed("idle")) == (1, 1)


async def test_one_that_vanishes_within_a_word(running: Running) -> None:
    async with unharmed(running), connecting(running.url) as socket:
        await say(socket, "start")
        await socket.send(AUDIO[: 32_000 * 1])
        await next_of(socket, "speech_started")
        socket.transport.abort()
    assert await running.closed("left")


def newest(running: Running) -> Stream:
    return max(running.server.streams, key=lambda stream: stream._started_s)


async def flood(running: Running, socket: Any) -> None:
    """Have the server say more than the socket's buffers and the outbox hold, while nothing of it is read."""
    await say(socket, "start")
    await next_of(socket, "ready")
    socket.transport.pause_reading()

    async def talk() -> None:
        with suppress(ConnectionClosed):
            while True:
                await socket.send(message("finalize", id="🐦" * 200))

    talking = asyncio.create_task(talk())
    mine = newest(running)

    async def stuck() -> bool:
        return mine._outbox.qsize() > MAX_OUTBOX or mine not in running.server.streams

    await until(stuck, True)
    talking.cancel()


async def test_one_that_never_reads() -> None:
    with serving(send_timeout_s=0.5, close_timeout_s=0.5) as running:
        async with unharmed(running), connecting(running.url, close_timeout=0.1) as socket:
            await flood(running, socket)
            await until(lambda: running.closed("too_slow"), 1.0)
            socket.transport.abort()


async def test_one_that_never_reads_and_vanishes(running: Running) -> None:
    """Its reader waits for room in an outbox, and nobody is left who would empty it."""
    async with unharmed(running), connecting(running.url) as socket:
        await flood(running, socket)
        socket.transport.abort()


async def test_one_that_is_refused_and_does_not_hang_up() -> None:
    with serving(idle_timeout_s=2, close_timeout_s=0.5) as running:
        async with unharmed(running), connecting(running.url, close_timeout=0.1) as socket:
            await say(socket, "start")
            await next_of(socket, "ready")
            socket.transport.pause_reading()
            socket.transport.write(b"\x82\xff" + (100_000_000).to_bytes(8, "big"))  # a frame's header
            await until(lambda: running.closed("too_large"), 1.0)
            socket.transport.abort()


async def test_faster_than_real_time_nothing_is_dropped() -> None:
    """Twenty times real time, and all at once; the bound for what waits is far below what is sent."""
    packet_s, clip = 0.1, AUDIO[: 32_000 * 3]
    with serving(max_backlog_s=0.5) as running:
        paces_s = (packet_s, packet_s / 20, 0.0)
        heard = await asyncio.gather(*(hear(running.url, clip, round(32_000 * packet_s), pace) for pace in paces_s))
    assert [messages[-1] for messages in heard] == [Done(audio_seconds=3.0, utterances=2)] * 3
    real_time, faster, at_once = map(told, heard)
    assert real_time == faster == at_once


async def test_a_sender_waits_while_too_much_is_undecoded() -> None:
    with serving(max_backlog_s=0.5) as running, held(running.server.engine):
        async with connecting(running.url) as socket:
            await say(socket, "start")
            await socket.send(AUDIO * 5)
            await next_of(socket, "speech_started")
            (stream,) = running.server.streams

            async def backlog() -> bool:
                return stream.backlog_s > 0.5

            await until(backlog, True)
            assert stream._session.audio_samples < len(AUDIO)  # half of one round, and five were sent
            socket.transport.abort()


async def test_many_small_frames_and_a_long_one_leave_others_their_turn(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, heard_in = 0, []

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async with unharmed(running), connecting(running.url) as socket:
        await say(socket, "start")
        await next_of(socket, "ready")
        monkeypatch.setattr(newest(running)._session, "receive_audio", lambda data: heard_in.append(turn))
        counting = asyncio.run_coroutine_threadsafe(others(), running.loop)
        socket.transport.write((b"\x82\x80" + bytes(4)) * 500)  # empty frames, all at once
        await socket.send(bytes(SLICE_BYTES * 20))
        await say(socket, "stop")
        await rest(socket)
        counting.cancel()
    assert len(heard_in) == len(set(heard_in)) == 520


async def test_frames_have_a_bound_of_their_own() -> None:
    with serving(max_frame_bytes=2048, max_message_bytes=4096) as running:
        await do(running.url, Deed([START, bytes(3000)], ("too_large", True), 1009))
        await do(running.url, Deed([START, message("finalize", id="x" * 3000), STOP], ("bad_message", False), 1000))


async def test_an_error_of_the_server_is_told(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unharmed(running), connecting(running.url) as socket:
        await say(socket, "start")
        await next_of(socket, "ready")
        monkeypatch.setattr(newest(running)._session, "receive_audio", lambda data: 1 / 0)
        await socket.send(AUDIO)
        messages, code = await rest(socket)
    assert (errors(messages), code) == ([("inference_failed", True)], 1011)
