"""Plain HTTP on the server's port, and who may open a stream."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import NamedTuple

import pytest
from prometheus_client import CONTENT_TYPE_LATEST
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from myna.server.protocol import PATH
from tests.server.clients import AUDIO, PATIENCE_S, Running, connecting, next_of, say, serving, until
from tests.server.test_engine import held

TOKEN = "correct horse"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: str


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    with serving(token=TOKEN) as running:
        yield running


def ask(
    running: Running, path: str, headers: Mapping[str, str] | None = None, already: socket.socket | None = None
) -> Answer:
    connection = HTTPConnection(running.server.address, timeout=PATIENCE_S)
    connection.sock = already
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return Answer(answer.status, dict(answer.headers), body)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/healthz", 200, "ok"),
        ("/healthz?verbose", 200, "ok"),
        ("/readyz", 200, "ready"),
        ("/", 200, PATH),
        ("/v2/stream", 404, PATH),
        ("/healthz/", 404, PATH),
        ("//x/healthz", 404, PATH),
        ("//[", 404, PATH),
        ("/%00", 404, PATH),
        (PATH, 426, "WebSocket"),
    ],
)
def test_what_is_where(running: Running, path: str, status: int, says: str) -> None:
    answer = ask(running, path)
    assert (answer.status, answer.headers["Server"]) == (status, "myna")
    assert says in answer.body


def test_metrics_are_what_prometheus_reads(running: Running) -> None:
    answer = ask(running, "/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE_LATEST)
    assert "\nmyna_streams 0.0\n" in answer.body


@pytest.mark.parametrize("path", ["/metrics", "/", PATH, "/v2/stream", "//["])
def test_a_token_is_asked_for(guarded: Running, path: str) -> None:
    answer = ask(guarded, path)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer" in answer.body
    assert ask(guarded, path, SHOWN).status != 401


def test_probes_need_no_token(guarded: Running) -> None:
    assert [ask(guarded, path).status for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.parametrize(
    "shown",
    ["", TOKEN, "Bearer", "Bearer correct", f"Bearer {TOKEN}s", f"Basic {TOKEN}", f"Bearer {TOKEN}, x", "Bearer ñ"],
)
def test_another_token_is_none(guarded: Running, shown: str) -> None:
    assert ask(guarded, "/metrics", {"Authorization": shown}).status == 401


async def test_a_stream_needs_the_token(guarded: Running) -> None:
    with pytest.raises(InvalidStatus, match="401"):
        await connecting(guarded.url)
    async with connecting(guarded.url, additional_headers=SHOWN) as stream:
        await say(stream, "start")
        await next_of(stream, "ready")


async def test_not_ready_once_it_stops() -> None:
    with serving() as running:
        host, _, port = running.server.address.partition(":")
        early = socket.create_connection((host, int(port)), PATIENCE_S)  # later none is taken
        async with connecting(running.url) as stream:
            with held(running.server.engine):
                await say(stream, "start")
                await stream.send(AUDIO)
                await next_of(stream, "speech_started")
                ending = asyncio.create_task(asyncio.to_thread(running.thread.stop))
                await until(running.ready, False)
                answer = await asyncio.to_thread(ask, running, "/readyz", already=early)
            assert (answer.status, answer.body) == (503, "not ready\n")
            await ending


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://example.org", 101),
        ("http://localhost:3000", 101),
        ("http://127.0.0.1:8765", 101),
        ("https://example.org.evil.test", 403),
        ("https://evil.test", 403),
        ("http://localhost.evil.test", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
async def test_pages_of_other_hosts_are_turned_away_unless_named(origin: str, status: int) -> None:
    with serving(allow_origins="https://example.org, https://example.com") as running:
        try:
            async with connect(running.url, origin=Origin(origin)):
                found = 101
        except InvalidStatus as refused:
            found = refused.response.status_code
    assert found == status
