"""One client's socket around one session: performs what the session asks for, holds the bounds that need a clock.

Two tasks: one reads and feeds the session, one writes what it says. Back-pressure is TCP's: while a stream has more
undecoded speech than `max_backlog_s`, or messages that its client did not take, the reader leaves the socket alone.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from myna.server.config import ServerConfig
from myna.server.engine import Engine
from myna.server.keeping import Keeper
from myna.server.metrics import Metrics
from myna.server.outputs import Amend, Close, Decode, DecodeRequest, DecodeResult, Find, Keep, Send
from myna.server.protocol import CLOSE_CODES, ErrorCode, Final, encode
from myna.server.session import Session, SessionContext, State
from myna.server.speakers import Found, Speakers

logger = logging.getLogger(__name__)

SLICE_BYTES = 1 << 11  # a frame is heard in slices; 2 KB of Opus can hold a minute that was silent
MAX_OUTBOX = 256  # messages that wait for a client before its input waits, too
LEFT = "left"  # why a stream ended, where the client ended it
REFUSED_BY_WEBSOCKETS = {1007: "bad_message", 1009: "too_large"}  # text that is not UTF-8; a frame over the bound


class StreamLog(logging.LoggerAdapter[logging.Logger]):
    """Puts the session's id in front of every line."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Extend the message."""
        return f"stream {(self.extra or {})['session']}: {msg}", kwargs


class Stream:
    """One client, from its handshake to its close frame."""

    def __init__(
        self,
        connection: ServerConnection,
        context: SessionContext,
        engine: Engine,
        slot: int | None,
        config: ServerConfig,
        metrics: Metrics,
        keeper: Keeper | None = None,
        speakers: Speakers | None = None,
    ) -> None:
        self._connection = connection
        self._session = Session(context)
        self._id = context.session
        self._keeper, self._speakers = keeper, speakers
        self._finding: asyncio.Task[None] | None = None  # the speaker's weights; nothing is heard before
        self.speaker: str | None = None  # once they are known
        self._rate_hz = context.spec.features.sample_rate_hz
        self._engine = engine
        self._slot = slot  # None: refused, nothing will be decoded
        self._config = config
        self._metrics = metrics
        self._log = StreamLog(logger, {"session": context.session})
        self._loop = asyncio.get_running_loop()
        self._outbox: asyncio.Queue[Send | Close] = asyncio.Queue()
        self._moved = asyncio.Event()  # a result came, or a message left
        self._started_s = self._loop.time()
        self._reason = LEFT

    async def run(self) -> None:
        """Serve until the connection is closed."""
        self._log.info("opened by %s", self._connection.remote_address)
        writer = asyncio.create_task(self._write())
        # The reader may be waiting for room in the outbox, and nobody is left who would make any.
        writer.add_done_callback(lambda _: self._tell(self._session.receive_end))
        try:
            await self._read()
        except ConnectionClosed as closed:
            if self._reason == LEFT and closed.sent is not None and not closed.rcvd_then_sent:
                self._reason = REFUSED_BY_WEBSOCKETS.get(closed.sent.code, "protocol_error")
        finally:
            self._session.receive_end()
            writer.cancel()
            await asyncio.wait([writer])
            seconds = self._session.audio_samples / self._rate_hz
            self._log.info("closed after %.1f s of audio: %s", seconds, self._reason)
            self._metrics.closed.labels(self._reason).inc()
            self._metrics.audio.inc(seconds)

    @property
    def backlog_s(self) -> float:
        """Seconds of speech that wait for the engine."""
        return self._session.unprocessed_samples / self._rate_hz

    def shutdown(self) -> None:
        """Let the session finish what it accepted."""
        self._tell(self._session.shutdown)

    def refuse(self, code: ErrorCode, message: str, retry_after_s: float | None = None) -> None:
        """End the stream with a fatal error."""
        self._tell(partial(self._session.refuse, code, message, retry_after_s))

    def weights_changed(self, found: Found) -> None:
        """Learn what the speaker's next utterance is heard with."""
        self._tell(partial(self._session.weights_changed, found.voice, found.problem))

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        """Feed the session until the connection is closed; what comes after the session's end is discarded."""
        while True:
            await self._room()
            try:
                async with asyncio.timeout_at(self._deadline_s()):
                    message = await self._connection.recv()
            except TimeoutError:
                self._too_quiet()
                continue
            if isinstance(message, str):
                self._take(message)
            else:
                await self._hear(message)

    def _take(self, text: str) -> None:
        if len(text.encode()) > self._config.max_message_bytes:
            self.refuse("too_large", f"a message of JSON may have {self._config.max_message_bytes} bytes")
        else:
            self._tell(partial(self._session.receive_text, text))

    async def _hear(self, audio: bytes) -> None:
        if len(audio) > self._config.max_frame_bytes:
            self.refuse("too_large", f"a frame of audio may have {self._config.max_frame_bytes} bytes")
            return
        for start in range(0, max(1, len(audio)), SLICE_BYTES):  # an empty frame is one, too
            self._tell(partial(self._session.receive_audio, audio[start : start + SLICE_BYTES]))
            await self._room()

    async def _room(self) -> None:
        """Give other streams their turn; wait while this one is too far ahead of the engine, or of its own reader."""
        await asyncio.sleep(0)
        if self._finding is not None:
            await self._finding
            self._finding = None
        while self._session.state is not State.CLOSED and (
            self.backlog_s > self._config.max_backlog_s or self._outbox.qsize() > MAX_OUTBOX
        ):
            self._moved.clear()
            await self._moved.wait()

    def _deadline_s(self) -> float | None:
        """Until when the client must have said something, on the loop's clock."""
        match self._session.state:
            case State.AWAITING_START:
                return self._started_s + self._config.start_timeout_s
            case State.STREAMING:
                return self._loop.time() + self._config.idle_timeout_s
            case _:
                return None

    def _too_quiet(self) -> None:
        if self._session.state is State.AWAITING_START:
            self.refuse("start_timeout", f"no `start` within {self._config.start_timeout_s:g} s")
        else:
            self.refuse("idle", f"nothing came for {self._config.idle_timeout_s:g} s")

    # ------------------------------------------------------------------ the session's effects

    def _tell(self, act: Callable[[], None]) -> None:
        """Give the session an input and perform what it asks for."""
        began_s = perf_counter()
        try:
            act()
        except Exception:
            self._log.exception("the session failed")
            self._session.refuse("inference_failed", "an error of the server; this stream can't go on")
        for output in self._session.outputs():
            match output:
                case Decode(request):
                    self._decode(request, began_s)
                case Find(speaker):
                    self._finding = self._loop.create_task(self._find(speaker))
                case Keep():
                    assert self._keeper
                    self._keeper.keep(self._id, output)
                case Amend():
                    self._amend(output)
                case _:
                    self._outbox.put_nowait(output)
        self._moved.set()

    async def _find(self, speaker: str) -> None:
        assert self._speakers
        found = await self._speakers.find(speaker)
        self.speaker = speaker
        self.weights_changed(found)

    def _amend(self, asked: Amend) -> None:
        assert self._keeper

        def done(problem: str | None) -> None:
            self._tell(partial(self._session.amended, asked, problem))

        self._keeper.amend(asked, lambda problem: self._loop.call_soon_threadsafe(done, problem))

    def _decode(self, request: DecodeRequest, began_s: float) -> None:
        assert self._slot is not None
        to_engine_ms = (perf_counter() - began_s) * 1000

        def done(result: DecodeResult | Exception | None) -> None:
            self._loop.call_soon_threadsafe(self._decoded, request.id, to_engine_ms, result)

        self._engine.submit(self._slot, request, done)

    def _decoded(self, request_id: int, to_engine_ms: float, result: DecodeResult | Exception | None) -> None:
        self._metrics.result(result)
        if self._session.state is State.CLOSED:
            return
        match result:
            case None:
                self._tell(partial(self._session.decode_skipped, request_id))
            case DecodeResult():
                stamped = replace(result, audio_to_engine_ms=to_engine_ms)
                self._tell(partial(self._session.decoded, request_id, stamped))
            case _:
                self._tell(partial(self._session.decode_failed, request_id, str(result)))

    # ------------------------------------------------------------------ writing

    async def _write(self) -> None:
        """Send what the session says, to the close frame."""
        with suppress(ConnectionClosed):
            while True:
                output = await self._outbox.get()
                self._moved.set()
                if isinstance(output, Close):
                    await self._close(output)
                    return
                try:
                    async with asyncio.timeout(self._config.send_timeout_s):
                        await self._connection.send(encode(output.message))
                except TimeoutError:
                    self.refuse("too_slow", "")  # which can't be said: nothing is taken
                    await self._close(Close(CLOSE_CODES["too_slow"], "too_slow"))
                    return
                if isinstance(output.message, Final):
                    self._metrics.finals.inc()

    async def _close(self, close: Close) -> None:
        self._reason = close.reason
        try:
            async with asyncio.timeout(self._config.close_timeout_s):
                await self._connection.close(close.code, close.reason)
        except TimeoutError:  # its buffers are full: it can't be told
            self._connection.transport.abort()
