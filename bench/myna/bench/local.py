"""Many sessions at once over one engine, faster than real time and without sockets."""

import queue
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from myna.models.bundle import Bundle
from myna.server.engine import Engine
from myna.server.outputs import Decode, DecodeResult, Find, Message, Send, Voice
from myna.server.personal import PersonalContext
from myna.server.protocol import Limits, ModelName, Start, encode
from myna.server.session import Session, SessionContext, State
from myna.server.vad import VadSettings

PACKET_SAMPLES = 3200  # what a live client sends at a time
BACKLOG_SAMPLES = 16_000  # a lane waits for the engine above this

T = TypeVar("T")
Result = DecodeResult | Exception | None
Results = queue.SimpleQueue[Callable[[], None]]  # what is to be done in the consumer's thread


def context_of(bundle: Bundle, vad: VadSettings | None = None) -> SessionContext:
    """Make what sessions without a server around them need."""
    spec, manifest = bundle.spec, bundle.manifest
    limits = Limits(
        max_frame_bytes=1 << 20,
        max_message_bytes=1 << 16,
        max_hotwords=0,
        idle_timeout_s=60,
        chunk_choices_ms=tuple(n * spec.frame_ms for n in spec.chunk_choices_frames),
    )
    name = ModelName(name=manifest.name, version=manifest.version)
    return SessionContext(
        "local", spec, bundle.tokens, name, limits, vad or VadSettings(), calibration=manifest.confidence,
        personal=PersonalContext(adapts=True),
    )  # fmt: skip


def recognise(
    items: Sequence[T],
    samples: Callable[[T], NDArray[np.int16]],
    engine: Engine,
    context: SessionContext,
    start: Start,
    lanes: int = 16,
    voice: Voice | None = None,
) -> Iterator[tuple[T, list[Message]]]:
    """Stream every item's samples (n,) through a session of its own; yield what it said, in the order of completion.

    The engine must have as many slots as there are lanes. Where `start` names a speaker, `voice` is theirs.
    """
    waiting = iter(items)
    results: Results = queue.SimpleQueue()
    busy: list[_Lane[T]] = []
    try:
        while True:
            for item in islice(waiting, lanes - len(busy)):
                busy.append(_Lane(item, samples(item), engine, Session(context), results, voice))
                busy[-1].begin(start)
            if not busy:
                return
            while not any(lane.finished for lane in busy):
                results.get()()
            finished, busy = [lane for lane in busy if lane.finished], [lane for lane in busy if not lane.finished]
            for lane in finished:
                engine.close(lane.slot)
                yield lane.item, lane.said
    finally:
        for lane in busy:
            engine.close(lane.slot)


class _Lane(Generic[T]):
    """One item on its way through a session."""

    def __init__(
        self,
        item: T,
        samples: NDArray[np.int16],
        engine: Engine,
        session: Session,
        results: Results,
        voice: Voice | None = None,
    ) -> None:
        self.item = item
        self.said: list[Message] = []
        self.slot = engine.open()
        self._engine = engine
        self._session = session
        self._results = results
        self._voice = voice
        self._packets = iter([samples[i : i + PACKET_SAMPLES] for i in range(0, len(samples), PACKET_SAMPLES)])
        self._stopped = False

    @property
    def finished(self) -> bool:
        """Whether everything was said."""
        return self._session.state is State.CLOSED

    def begin(self, start: Start) -> None:
        """Send `start` and the first packets."""
        self._session.receive_text(encode(start))
        self._go_on()

    def _go_on(self) -> None:
        """Send packets until the engine has enough to do, then `stop`."""
        self._perform()
        while not self.finished and not self._stopped and self._session.unprocessed_samples < BACKLOG_SAMPLES:
            packet = next(self._packets, None)
            if packet is not None:
                self._session.receive_audio(packet.tobytes())
            else:
                self._session.receive_text('{"type": "stop"}')
                self._stopped = True
            self._perform()

    def _perform(self) -> None:
        for output in self._session.outputs():
            match output:
                case Send(message):
                    self.said.append(message)
                case Decode(request):
                    self._engine.submit(self.slot, request, self._answer(request.id))
                case Find():
                    self._session.weights_changed(self._voice)

    def _answer(self, number: int) -> Callable[[Result], None]:
        return lambda result: self._results.put(lambda: self._take(number, result))

    def _take(self, number: int, result: Result) -> None:
        """Hand over what the engine made of a request, and send more."""
        match result:
            case DecodeResult():
                self._session.decoded(number, result)
            case None:
                self._session.decode_skipped(number)
            case _:
                self._session.decode_failed(number, str(result))
        self._go_on()
