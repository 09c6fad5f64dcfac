"""A TCP proxy that cuts its connections when told: a network that fails."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from myna.server.protocol import PATH


class Proxy:
    """Passes bytes between clients and the server; use it as an asynchronous context manager."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._target = (address.hostname, address.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.heard_bytes = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"ws://{host}:{port}{PATH}"

    def cut(self) -> None:
        """Cut every connection, in both directions, without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, up_writer}
        for source, sink, counted in ((reader, up_writer, True), (up_reader, writer, False)):
            task = asyncio.create_task(self._pass(source, sink, counted))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: bool) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                self.heard_bytes += len(data) if counted else 0
                sink.write(data)
                await sink.drain()
        with suppress(ConnectionError, RuntimeError):
            sink.close()
