"""The server: a model, an engine, a listener, and one `Stream` for each client; stops gracefully."""

import asyncio
import errno
import logging
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from websockets.asyncio.server import Server as Listener
from websockets.asyncio.server import ServerConnection, serve

from myna.adapt.store import Quotas
from myna.models.bundle import STEP, open_bundle, resolve_bundle
from myna.models.runtime import Runtime
from myna.server.config import ServerConfig
from myna.server.connection import Stream
from myna.server.engine import Engine, EngineSettings
from myna.server.errors import ConfigError, Overloaded
from myna.server.http import FrontDesk
from myna.server.keeping import Keeper
from myna.server.metrics import Metrics
from myna.server.personal import PersonalContext
from myna.server.protocol import PATH, Limits, ModelName
from myna.server.session import SessionContext
from myna.server.speakers import Speakers
from myna.server.supervise import supervise
from myna.server.vad import VadSettings

logger = logging.getLogger(__name__)

MAX_QUEUE_FRAMES = 4  # that websockets reads ahead of a session
PING_INTERVAL_S = 20.0  # keeps the path open; pongs may be late behind audio that waits, so no time-out


class Server:
    """A running server; use it as an asynchronous context manager. Raises BundleError and ConfigError on entering."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self.streams: set[Stream] = set()
        self._desk = FrontDesk(self.metrics, config.token, config.allow_origins)
        self._open = ExitStack()

    async def __aenter__(self) -> "Server":
        """Load the model and listen."""
        config = self.config
        self.bundle = self._open.enter_context(open_bundle(resolve_bundle(config.model)))
        self.engine = Engine(Runtime(self.bundle, config.threads), _engine_settings(config), self.metrics.step)
        self._open.callback(self.engine.stop)
        self.keeper = self._keeper()
        self.speakers = self._speakers()
        self.metrics.streams.set_function(lambda: self.engine.open_slots)
        self.metrics.backlog.set_function(lambda: sum(stream.backlog_s for stream in self.streams))
        try:
            self._listener = await self._listen()
        except (OSError, UnicodeError) as error:  # the latter for a name that can't be one
            self._open.close()
            raise ConfigError([_unheard(config, error)]) from None
        self.address = _address(self._listener)
        self.supervisor = supervise(config, lambda: self.engine.load, self.metrics)
        self._desk.ready = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, finish what was accepted within `drain_s`, tell who is left to come back."""
        self._desk.ready = False
        self._listener.close(close_connections=False)
        for stream in list(self.streams):
            stream.shutdown()
        if self.supervisor:
            await self.supervisor.close()
        if not await self._gone(self.config.drain_s):
            for stream in list(self.streams):
                stream.refuse("restarting", "the server is going down; connect again")
            if not await self._gone(2 * self.config.close_timeout_s):
                logger.warning("%d streams were cut off", len(self.streams))
        if self.speakers:
            await self.speakers.close()
        await asyncio.to_thread(self._open.close)

    @property
    def url(self) -> str:
        """Where streams connect."""
        return f"ws://{self.address}{PATH}"

    def _keeper(self) -> Keeper | None:
        config = self.config
        if config.data_dir is None:
            return None
        quotas = Quotas(config.max_kept_utterances, config.max_kept_mb * 1_000_000, config.max_kept_days * 86_400.0)
        keeper = Keeper(Path(config.data_dir).expanduser(), quotas, self._model)
        self._open.callback(keeper.close)
        return keeper

    def _speakers(self) -> Speakers | None:
        config = self.config
        if config.data_dir is None:
            return None
        base = self.bundle.manifest.sha256[STEP]
        folder, most = Path(config.data_dir).expanduser(), config.max_adapters_mb * 1_000_000
        return Speakers(folder, self.bundle.spec, base, most, lambda: self.streams)

    async def _listen(self) -> Listener:
        config = self.config
        quiet = logging.getLogger("myna.server.websockets")
        quiet.setLevel(logging.CRITICAL)  # broken handshakes are their senders' errors; sessions log for themselves
        return await serve(
            self._handle,
            config.host,
            config.port,
            process_request=self._desk.answer,
            compression=None,  # audio hardly shrinks, and each stream would pay in memory
            max_size=max(config.max_frame_bytes, config.max_message_bytes),
            max_queue=MAX_QUEUE_FRAMES,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=None,
            close_timeout=config.close_timeout_s,
            server_header="myna",
            logger=quiet,
        )

    async def _gone(self, within_s: float) -> bool:
        """Wait until every connection is closed; tell whether it came to that."""
        try:
            async with asyncio.timeout(within_s):
                await self._listener.wait_closed()
        except TimeoutError:
            return False
        return True

    async def _handle(self, connection: ServerConnection) -> None:
        """Serve one client."""
        slot = None
        overloaded = None
        try:
            slot = self.engine.open()
        except Overloaded as error:
            overloaded = error
        stream = Stream(
            connection, self._context(), self.engine, slot, self.config, self.metrics, self.keeper, self.speakers
        )
        self.streams.add(stream)
        try:
            if overloaded:
                stream.refuse("overloaded", str(overloaded), overloaded.retry_after_s)
            await stream.run()
        finally:
            self.streams.discard(stream)
            if slot is not None:
                self.engine.close(slot)

    @property
    def _model(self) -> ModelName:
        return ModelName(name=self.bundle.manifest.name, version=self.bundle.manifest.version)

    def _context(self) -> SessionContext:
        config, bundle = self.config, self.bundle
        spec = bundle.spec
        return SessionContext(
            session=secrets.token_hex(8),
            spec=spec,
            tokens=bundle.tokens,
            model=self._model,
            limits=Limits(
                max_frame_bytes=config.max_frame_bytes,
                max_message_bytes=config.max_message_bytes,
                max_hotwords=config.max_hotwords,
                idle_timeout_s=config.idle_timeout_s,
                chunk_choices_ms=tuple(frames * spec.frame_ms for frames in spec.chunk_choices_frames),
            ),
            vad=VadSettings(aggressiveness=config.vad_aggressiveness, pre_roll_ms=config.pre_roll_ms),
            provisional_frames=-(-config.provisional_ms // spec.frame_ms),
            personal=PersonalContext(
                adapts=self.speakers is not None,
                keeps=self.keeper is not None,
                agreed=frozenset(filter(None, (*config.collect_speakers, config.speaker))),
                max_kept_s=config.max_kept_s,
                owner=config.speaker,
            ),
            calibration=bundle.manifest.confidence,
        )


async def serve_until_told(config: ServerConfig, announce: Callable[[Server], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. A second signal ends the process at once."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        told.set()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # Python's KeyboardInterrupt would wait for every client once more

    async with Server(config) as server:
        for number in signals:
            loop.add_signal_handler(number, stop)
        announce(server)
        await told.wait()
        logger.info("stopping: %d streams", len(server.streams))


def _engine_settings(config: ServerConfig) -> EngineSettings:
    return EngineSettings(
        max_streams=config.max_streams,
        max_batch=config.max_batch,
        batch_wait_ms=config.batch_wait_ms,
        retry_after_s=config.retry_after_s,
    )


def _address(listener: Listener) -> str:
    """Host and port."""
    host, port = next(iter(listener.sockets)).getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unheard(config: ServerConfig, error: OSError | UnicodeError) -> str:
    number, said = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
    if number == errno.EADDRINUSE:
        return f"port: {config.port} on {config.host} is taken; choose another, or 0 for a free one"
    return f"host: can't listen on {config.host}:{config.port} ({said or error})"
