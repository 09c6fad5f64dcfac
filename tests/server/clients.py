"""What tests of the whole server share: one on the tiny bundle, clients of bare websockets, neighbours, patience."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from myna.server.config import ServerConfig
from myna.server.embedded import ServerThread
from myna.server.outputs import Message
from myna.server.protocol import Error, Final, parse_server
from tests.server.speech import talk
from tests.support import TINY

PATIENCE_S = 60.0  # with what must come; only a failure waits so long
PACKET_BYTES = 640  # 20 ms
AUDIO = talk(
    ("silence", 0.3), ("voice", 1.1), ("silence", 1.0), ("voice", 1.4), ("silence", 1.0), ("voice", 0.8)
).tobytes()


def tiny(**settings: Any) -> ServerConfig:
    """Settings of a server on a free port with the tiny bundle, that learns nobody."""
    return ServerConfig.model_validate({"port": 0, "model": str(TINY), "adapt": False} | settings)


class Census(NamedTuple):
    """What a stream takes up while it lives."""

    tasks: int
    streams: int
    slots: int
    files: int


class Running:
    """A server on a thread."""

    def __init__(self, thread: ServerThread) -> None:
        self.thread = thread
        self.server = thread.start()
        self.url = self.server.url
        self.loop = thread._loop

    async def at_rest(self) -> Census:
        """Wait until no stream is left, not even one that is closing."""

        async def tasks() -> int:
            return (await self.census()).tasks

        await until(tasks, 2)  # the server's own, and the one that counts
        return await self.census()

    async def census(self) -> Census:
        async def count() -> Census:
            files = len(os.listdir("/proc/self/fd"))
            return Census(len(asyncio.all_tasks()), len(self.server.streams), self.server.engine.open_slots, files)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(), self.loop))

    async def ready(self) -> bool:
        return self.server._desk.ready

    async def closed(self, reason: str) -> float | None:
        """How many streams ended so, by the metrics."""
        return self.server.metrics.registry.get_sample_value("myna_streams_closed_total", {"reason": reason})


@contextmanager
def serving(**settings: Any) -> Iterator[Running]:
    """Run a server."""
    running = Running(ServerThread(tiny(**settings)))
    try:
        yield running
    finally:
        running.thread.stop()


async def until(probe: Callable[[], Awaitable[object]], wanted: object, patience_s: float = PATIENCE_S) -> None:
    """Wait until the probe finds what is wanted."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + patience_s
    while (found := await probe()) != wanted:
        assert loop.time() < give_up_s, f"found {found}, not {wanted}"
        await asyncio.sleep(0.01)


def connecting(url: str, **options: Any) -> connect:
    """Connect without what would hide the server's doing: compression, pings, a queue that stops the reading."""
    plain: dict[str, Any] = {"compression": None, "max_size": None, "max_queue": None, "ping_interval": None}
    patient: dict[str, Any] = {"open_timeout": PATIENCE_S, "close_timeout": PATIENCE_S}
    return connect(url, **(plain | patient | options))


async def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    """Send a message."""
    await socket.send(json.dumps({"type": kind, **fields}))


async def next_of(socket: ClientConnection, kind: str) -> Message:
    """Read up to the next message of a type."""
    async with asyncio.timeout(PATIENCE_S):
        while (message := parse_server(await socket.recv())).type != kind:
            pass
    return message


async def rest(socket: ClientConnection) -> tuple[list[Message], int | None]:
    """Read to the end; give the messages and the close code."""
    messages: list[Message] = []
    with suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                messages.append(parse_server(await socket.recv()))
    return messages, socket.close_code


async def hear(
    url: str, audio: bytes = AUDIO, packet_bytes: int = 1 << 15, pace_s: float = 0.0, **start: Any
) -> list[Message]:
    """Have one stream heard from start to done."""
    async with connecting(url) as socket:
        await say(socket, "start", **start)
        for at in range(0, len(audio), packet_bytes):
            await socket.send(audio[at : at + packet_bytes])
            await asyncio.sleep(pace_s)
        await say(socket, "stop")
        messages, code = await rest(socket)
    assert (code, messages[-1].type) == (1000, "done"), messages
    return messages


def told(messages: list[Message]) -> list[dict[str, Any]]:
    """What the finals say, but for latencies and confidences, whose last digit depends on who shares a step."""
    hidden: dict[str, Any] = {"latency": True, "confidence": True, "words": {"__all__": {"confidence"}}}
    return [message.model_dump(exclude=hidden) for message in messages if isinstance(message, Final)]


def errors(messages: list[Message]) -> list[tuple[str, bool]]:
    """The errors' codes, and whether they are fatal."""
    return [(message.code, message.fatal) for message in messages if isinstance(message, Error)]


@asynccontextmanager
async def unharmed(running: Running) -> AsyncIterator[None]:
    """Do something to a server: a neighbour hears all the while what it hears alone, and nothing stays behind."""
    alone = told(await hear(running.url))
    assert len(alone) == 3
    before = await running.at_rest()
    async with connecting(running.url) as neighbour:
        await say(neighbour, "start")
        over = asyncio.Event()
        speaking = asyncio.create_task(_speak(neighbour, over))
        yield
        over.set()
        await speaking
        messages, code = await rest(neighbour)
    assert (told(messages), errors(messages), code) == (alone, [], 1000)
    await until(running.census, before)


async def _speak(socket: ClientConnection, over: asyncio.Event) -> None:
    """Say everything, but the end only when told."""
    for at in range(0, len(AUDIO), PACKET_BYTES):
        last = at + PACKET_BYTES >= len(AUDIO)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if last else 0.01):
                await over.wait()
        await socket.send(AUDIO[at : at + PACKET_BYTES])
    await say(socket, "stop")
