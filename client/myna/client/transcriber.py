"""Streams to a server, for programs: `AsyncTranscriber` for asyncio, `Transcriber` for everything else.

Both are context managers: entering connects and waits for `ready`. Send audio, then iterate over what the server says,
up to `done`. A lost connection is made again and the unanswered audio sent again, so that no word is lost or doubled.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from myna.client.errors import Refused, Unreachable
from myna.client.recall import Frame, Recall
from myna.server.protocol import (
    PATH,
    Correct,
    Done,
    Error,
    Finalize,
    Ready,
    ServerMessage,
    Start,
    Stop,
    Stored,
    encode,
    parse_server,
)

DEFAULT_URL = f"ws://127.0.0.1:8765{PATH}"
FRAME_BYTES = 1 << 15  # audio goes out in frames of at most so many
COME_BACK = ("overloaded", "restarting")  # errors after which it is worth trying again

Event = ServerMessage
T = TypeVar("T")


class AsyncTranscriber:
    """One stream. Iterating raises Refused for a fatal error, Unreachable where the server stays away."""

    def __init__(
        self, url: str = DEFAULT_URL, start: Start | None = None, token: str | None = None, patience_s: float = 20.0
    ) -> None:
        self.url = url
        self.start = start or Start()
        self.ready: Ready | None = None
        self._token = token
        self._patience_s = patience_s  # for a server that is away, starting, or full
        self._recall = Recall(self.start.audio)
        self._events: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        self._socket: ClientConnection | None = None
        self._up = asyncio.Event()
        self._sending = asyncio.Lock()
        self._repeating: asyncio.Task[None] | None = None
        self._stopping = False
        self._over = False
        self._sessions: list[tuple[str, int]] = []  # of each connection, and the number of its first utterance

    async def __aenter__(self) -> Self:
        """Connect. Raises Refused and Unreachable."""
        self.ready = await self._connect()
        self._sessions.append((self.ready.session, 0))
        self._up.set()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; what was not answered by then is lost."""
        for task in (self._reader, self._repeating):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self._socket:
            await self._socket.close()

    async def send(self, audio: bytes) -> None:
        """Send audio in the announced encoding; waits while the server has enough to do."""
        for i in range(0, len(audio), FRAME_BYTES):
            await self._send(audio[i : i + FRAME_BYTES])

    async def finalize(self, id: str | None = None) -> None:
        """Ask for the words so far; the stream goes on after `finalized`."""
        await self._send(Finalize(id=id))

    async def correct(self, utterance: str, text: str) -> None:
        """Say what was really said in an utterance of this stream; `stored` tells that it is on disk.

        Needs `collect` and `speaker` in `start`. Raises Unreachable where the connection is lost meanwhile.
        """
        number = int(utterance)
        session, first = next(known for known in reversed(self._sessions) if known[1] <= number)
        await self._up.wait()
        try:
            assert self._socket
            await self._socket.send(encode(Correct(utterance=str(number - first), text=text, session=session)))
        except ConnectionClosed:
            raise Unreachable(f"{self.url}: the connection was lost; the correction may not be stored") from None

    async def stop(self) -> None:
        """Tell that no more audio comes; iterating then ends with `done`."""
        self._stopping = True
        await self._send(Stop())

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield what the server says, up to `done`. Raises Refused and Unreachable."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    # ------------------------------------------------------------------ sending

    async def _send(self, frame: Frame) -> None:
        self._recall.add(frame)
        await self._pump()

    async def _pump(self) -> None:
        """Send what is waiting, on whatever connection there is."""
        async with self._sending:
            while not self._over and self._recall.next() is not None:
                await self._up.wait()
                socket, following = self._socket, self._recall.next()  # both may have changed while it waited
                if socket is None or following is None:
                    continue
                try:
                    await socket.send(following if isinstance(following, bytes) else encode(following))
                except ConnectionClosed:
                    if socket is self._socket:
                        self._up.clear()  # the reader is about to notice, and connects again
                    continue
                if socket is self._socket:
                    self._recall.sent()

    # ------------------------------------------------------------------ receiving

    async def _read(self) -> None:
        """Pass on what the server says; connect again where the connection is lost before `done`."""
        try:
            while not self._over:
                await self._listen()
                if not self._over:
                    self._up.clear()
                    await self._return()
        except (Refused, Unreachable) as error:
            self._events.put_nowait(error)
        finally:
            self._over = True
            self._up.set()
            self._events.put_nowait(None)

    async def _listen(self) -> None:
        assert self._socket
        with suppress(ConnectionClosed):
            async for text in self._socket:
                event = self._here(self._recall.place(parse_server(text)))
                if isinstance(event, Error) and event.fatal:
                    if event.code in COME_BACK and self._recall.repeatable:
                        return
                    raise Refused(event.code, event.message)
                if isinstance(event, Done) and not self._stopping:
                    continue  # the server goes down; an error follows, and then another connection
                self._events.put_nowait(event)
                if isinstance(event, Done):
                    self._over = True
                    return

    def _here(self, event: Event) -> Event:
        """Number the utterance of a `stored` as this stream does."""
        if not isinstance(event, Stored):
            return event
        first = dict(self._sessions).get(event.session, 0)
        return event.model_copy(update={"utterance": str(first + int(event.utterance))})

    async def _return(self) -> None:
        """Connect again and begin with what is not answered."""
        if not self._recall.repeatable:
            raise Unreachable(f"{self.url}: the connection was lost, and {self.start.audio.encoding} can't be resumed")
        ready = await self._connect()
        self._recall.rewind()
        self._sessions.append((ready.session, self._recall.first_utterance))
        self._events.put_nowait(ready)
        self._up.set()
        if self._repeating is None or self._repeating.done():
            self._repeating = asyncio.create_task(self._pump())

    async def _connect(self) -> Ready:
        """Try until the server is there and takes the stream, or patience is over."""
        deadline_s = asyncio.get_running_loop().time() + self._patience_s
        pause_s = 0.1
        while True:
            try:
                return await self._greet()
            except (OSError, TimeoutError, InvalidHandshake, InvalidMessage, ConnectionClosed) as error:
                failure: Exception = Unreachable(f"{self.url}: {_reason(error)}")
            except InvalidURI:
                raise Unreachable(f"{self.url}: is no address of a websocket, such as {DEFAULT_URL}") from None
            except Refused as error:
                if error.code not in COME_BACK:
                    raise
                failure = error
            if asyncio.get_running_loop().time() + pause_s > deadline_s:
                raise failure
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    async def _greet(self) -> Ready:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else None
        socket = await connect(self.url, additional_headers=headers, compression=None, max_size=None, max_queue=None)
        try:
            await socket.send(encode(self.start))
            answer = parse_server(await socket.recv())
        except BaseException:
            await socket.close()
            raise
        if isinstance(answer, Ready):
            self._socket = socket
            return answer
        await socket.close()
        if isinstance(answer, Error):
            raise Refused(answer.code, answer.message)
        raise Unreachable(f"{self.url}: answers, but not in this protocol")


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidStatus) and error.response.status_code == 401:
        return "asks for a token"
    if isinstance(error, ConnectionRefusedError):
        return "no server is there; start one with `myna serve`"
    return str(error) or type(error).__name__


class Transcriber:
    """`AsyncTranscriber` for programs without asyncio: the same verbs, on a thread of its own."""

    def __init__(
        self, url: str = DEFAULT_URL, start: Start | None = None, token: str | None = None, patience_s: float = 20.0
    ) -> None:
        self._arguments = (url, start, token, patience_s)

    def __enter__(self) -> Self:
        """Connect. Raises Refused and Unreachable."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="myna-transcriber", daemon=True)
        self._thread.start()
        try:
            self._stream = self._run(_opened(*self._arguments))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; what was not answered by then is lost."""
        try:
            self._run(self._stream.__aexit__(kind, value, trace))
        finally:
            self._close()

    @property
    def ready(self) -> Ready | None:
        """What the server said of itself."""
        return self._stream.ready

    def send(self, audio: bytes) -> None:
        """Send audio in the announced encoding; waits while the server has enough to do."""
        self._run(self._stream.send(audio))

    def finalize(self, id: str | None = None) -> None:
        """Ask for the words so far; the stream goes on after `finalized`."""
        self._run(self._stream.finalize(id))

    def correct(self, utterance: str, text: str) -> None:
        """Say what was really said in an utterance of this stream; `stored` tells that it is on disk."""
        self._run(self._stream.correct(utterance, text))

    def stop(self) -> None:
        """Tell that no more audio comes; iterating then ends with `done`."""
        self._run(self._stream.stop())

    def __iter__(self) -> Iterator[Event]:
        """Yield what the server says, up to `done`. Raises Refused and Unreachable."""
        events = aiter(self._stream)
        end = object()
        while (event := self._run(_next(events, end))) is not end:
            yield event

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _opened(url: str, start: Start | None, token: str | None, patience_s: float) -> AsyncTranscriber:
    return await AsyncTranscriber(url, start, token, patience_s).__aenter__()


async def _next(events: AsyncIterator[Any], end: object) -> Any:
    return await anext(events, end)
