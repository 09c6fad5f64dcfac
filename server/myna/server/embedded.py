"""A server inside this process, for commands and tests that need one for a while."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from myna.server.config import ServerConfig
from myna.server.shell import Server


class ServerThread:
    """A server on a thread of its own, from `start` to `stop`."""

    def __init__(self, config: ServerConfig | None = None) -> None:
        self._config = config or ServerConfig(port=0, adapt=False)
        self._started: Future[Server] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="myna-server", daemon=True)

    def start(self) -> Server:
        """Start, and return the server once it listens. Raises BundleError and ConfigError."""
        self._thread.start()
        return self._started.result()

    def stop(self) -> None:
        """Stop gracefully; does nothing if it runs no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._told.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Server(self._config) as server:
                self._started.set_result(server)
                await self._told.wait()
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)


@contextmanager
def running_server(config: ServerConfig | None = None) -> Iterator[str]:
    """Run a server, on a free port unless told otherwise; give the URL of its streams."""
    thread = ServerThread(config)
    server = thread.start()
    try:
        yield server.url
    finally:
        thread.stop()
