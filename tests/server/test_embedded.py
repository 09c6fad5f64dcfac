"""A server on a thread of this process."""

import asyncio
import threading

import pytest

from myna.models.errors import BundleError
from myna.server.embedded import ServerThread, running_server
from myna.server.errors import ConfigError
from tests.server.clients import connecting, hear, tiny, told


def test_it_serves_and_leaves_nothing() -> None:
    before = set(threading.enumerate())
    with running_server(tiny()) as one, running_server(tiny()) as other:
        assert one != other
        assert told(asyncio.run(hear(one))) == told(asyncio.run(hear(other)))
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(hear(one))


def test_it_stops_when_what_it_was_for_fails() -> None:
    with pytest.raises(RuntimeError, match="mine"), running_server(tiny()) as url:
        raise RuntimeError("mine")
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(hear(url))


def test_what_hinders_it_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(BundleError, match="no bundle"), running_server(tiny(model="none")):
        pass
    with running_server(tiny()) as url:
        port = int(url.rsplit(":", 1)[1].partition("/")[0])
        thread = ServerThread(tiny(port=port))
        with pytest.raises(ConfigError, match="is taken"):
            thread.start()
    thread.stop()


async def test_it_stops_but_once() -> None:
    thread = ServerThread(tiny())
    async with connecting(thread.start().url) as stream:
        await asyncio.to_thread(thread.stop)
        thread.stop()
        await stream.wait_closed()
    assert stream.close_code == 1012
