"""The sans-I/O core of one stream: messages, audio and decoded chunks in; effects out. No clock, no thread, no socket.

What is heard becomes a timeline of events in the order of the audio. A chunk waits in the timeline for its result, and
everything behind it waits, too: so the messages come in one order, whenever results arrive and however packets fall.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from myna.models.confidence import Calibration
from myna.models.errors import MynaError
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable
from myna.server.audio import AudioDecoder, open_decoder
from myna.server.captions import Captioner
from myna.server.endpoint import endpointing
from myna.server.outputs import Amend, Close, Decode, DecodeResult, Message, Output, Send, Voice
from myna.server.personal import Personal, PersonalContext
from myna.server.protocol import (
    CLOSE_CODES,
    Adaptation,
    AdapterName,
    BadMessage,
    Correct,
    Done,
    Endpointing,
    EndReason,
    Error,
    ErrorCode,
    Finalize,
    Finalized,
    Limits,
    ModelName,
    Ready,
    Start,
    Stop,
    Stored,
    Update,
    parse_client,
)
from myna.server.segmenter import Chunk, ChunkPlan, Closed, Ending, Opened, Segmenter, SpeechEvent
from myna.server.terms import refusal
from myna.server.vad import VadSettings


class State(Enum):
    """Where a session stands."""

    AWAITING_START = auto()
    STREAMING = auto()
    DRAINING = auto()
    CLOSED = auto()


# What an input does to the state; an input that is not listed for a state is out of order.
TRANSITIONS: dict[tuple[State, str], State] = {
    (State.AWAITING_START, "start"): State.STREAMING,
    (State.AWAITING_START, "shutdown"): State.CLOSED,
    (State.STREAMING, "audio"): State.STREAMING,
    (State.STREAMING, "update"): State.STREAMING,
    (State.STREAMING, "correct"): State.STREAMING,
    (State.STREAMING, "finalize"): State.STREAMING,
    (State.STREAMING, "stop"): State.DRAINING,
    (State.STREAMING, "shutdown"): State.DRAINING,
    (State.DRAINING, "shutdown"): State.DRAINING,
    (State.DRAINING, "drained"): State.CLOSED,
}


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What a session knows of the server around it."""

    session: str
    spec: ModelSpec
    tokens: TokenTable
    model: ModelName
    limits: Limits
    vad: VadSettings = field(default_factory=VadSettings)
    provisional_frames: int = 4
    personal: PersonalContext = field(default_factory=PersonalContext)
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class _Changed:
    """From here on another rule for the ends of utterances."""

    endpointing: Endpointing


@dataclass(frozen=True, slots=True)
class _Swapped:
    """From here on other weights; none: the base alone."""

    name: AdapterName | None


@dataclass(frozen=True, slots=True)
class _Drained:
    """Everything accepted is answered."""

    code: int


_Event = SpeechEvent | _Changed | _Swapped | _Drained | Finalized | Error


class Session:
    """One stream. Inputs mutate and return nothing; `outputs` drains what is to be done."""

    def __init__(self, context: SessionContext) -> None:
        self.state = State.AWAITING_START
        self._context = context
        self._out: list[Output] = []
        self._timeline: deque[_Event] = deque()
        self._results: dict[int, DecodeResult | None] = {}  # None: a provisional step that was skipped
        self._decoder: AudioDecoder | None = None
        self._segmenter: Segmenter | None = None
        self._captioner: Captioner | None = None
        self._personal = Personal(context.personal, context.session, context.spec.features.sample_rate_hz)
        self._ready: Ready | None = None  # to be sent once the speaker's weights are known
        self._restarting = False

    @property
    def audio_samples(self) -> int:
        """Samples heard so far, at the model's rate."""
        return self._segmenter.heard_samples if self._segmenter else 0

    @property
    def unprocessed_samples(self) -> int:
        """Samples of speech that wait for the engine: the bound for back-pressure."""
        frames = sum(e.request.frames for e in self._timeline if isinstance(e, Chunk) and e.request.keep)
        return frames * self._context.spec.frame_samples

    @property
    def utterances(self) -> int:
        """Utterances so far."""
        return self._captioner.utterances if self._captioner else 0

    def outputs(self) -> list[Output]:
        """Drain what is to be done, in order."""
        out, self._out = self._out, []
        return out

    # ------------------------------------------------------------------ inputs from the client

    def receive_text(self, text: str | bytes) -> None:
        """Take a text frame."""
        if self.state is State.CLOSED:
            return
        try:
            message = parse_client(text)
        except BadMessage as error:
            self._error("bad_message", str(error), fatal=self.state is State.AWAITING_START)
            return
        if not self._enter(message.type):
            return
        match message:
            case Start():
                self._start(message)
            case Finalize():
                self._end("finalize")
                self._later(Finalized(id=message.id))
            case Update():
                self._update(message)
            case Correct():
                asked = self._personal.correct(message)
                if isinstance(asked, Amend):
                    self._out.append(asked)
                else:
                    self._error(*asked, fatal=False)
            case Stop():
                self._stop(1000)

    def receive_audio(self, data: bytes) -> None:
        """Take a binary frame."""
        if self.state is State.CLOSED or not self._enter("audio"):
            return
        assert self._decoder
        assert self._segmenter
        try:
            samples = self._decoder.decode(data)
        except MynaError as error:
            self._error("bad_audio", str(error), fatal=True)
            return
        self._push(samples)

    def receive_end(self) -> None:
        """The client is gone: nothing more is to be said."""
        self.state = State.CLOSED
        self._timeline.clear()
        self._out.clear()

    # ------------------------------------------------------------------ inputs from the engine and the shell

    def weights_changed(self, voice: Voice | None, problem: str | None = None) -> None:
        """Learn what the speaker's next utterance is heard with, and why with the base alone where that is a pity."""
        if self.state is State.CLOSED:
            return
        personal = self._personal
        news = personal.expect(voice, problem)
        if self._ready is not None:
            assert self._captioner
            personal.turn()
            self._captioner.adapter = personal.name
            self._send(self._ready.model_copy(update={"adapter": personal.name}))
            self._ready = None
        if news and personal.speaker is not None:
            self._send(Adaptation(speaker=personal.speaker, event="refused", report=problem))

    def decoded(self, request_id: int, result: DecodeResult) -> None:
        """Take the result of a Decode."""
        self._results[request_id] = result
        self._advance()

    def decode_skipped(self, request_id: int) -> None:
        """Learn that a provisional Decode was not run."""
        self._results[request_id] = None
        self._advance()

    def decode_failed(self, request_id: int, message: str) -> None:
        """Learn that a Decode failed: the stream can't go on."""
        self.refuse("inference_failed", f"step {request_id}: {message}")

    def amended(self, asked: Amend, problem: str | None) -> None:
        """Learn that an Amend is on disk, or what is wrong. Answered at once: it belongs to no place in the stream."""
        self._personal.amending -= 1
        if self.state is State.CLOSED:
            return
        if problem is None:
            self._send(Stored(utterance=asked.utterance, session=asked.session))
        else:
            self._send(Error(code="not_stored", message=f"correct: {problem}", fatal=False))
        self._advance()

    def refuse(self, code: ErrorCode, message: str, retry_after_s: float | None = None) -> None:
        """End the stream with a fatal error."""
        if self.state is not State.CLOSED:
            self._error(code, message, fatal=True, retry_after_s=retry_after_s)

    def shutdown(self) -> None:
        """Finish what was accepted, then close with 1012: the server is going down."""
        if self.state is State.AWAITING_START:
            self.refuse("restarting", "the server is going down; connect again")
        elif self.state is State.STREAMING:
            self._restarting = True
            self._enter("shutdown")
            self._stop(CLOSE_CODES["restarting"])

    # ------------------------------------------------------------------ what they do

    def _enter(self, name: str) -> bool:
        """Move along the table; an input out of order is a fatal error, but not where it crossed our going down."""
        following = TRANSITIONS.get((self.state, name))
        if following is None and self._restarting:
            return False
        if following is None:
            said = "before `start`" if self.state is State.AWAITING_START else "after the stream began or was stopped"
            self._error("bad_order", f"{name} {said}; send start, audio, stop in this order", fatal=True)
            return False
        self.state = following
        return True

    def _start(self, start: Start) -> None:
        context, spec = self._context, self._context.spec
        chunk = start.chunk_ms // spec.frame_ms if start.chunk_ms else spec.chunk_frames
        problem = refusal(start, context.limits, context.model.name) or self._personal.refusal(start)
        if problem:
            self._error(*problem, fatal=True)
            return
        rule = endpointing(start.endpointing)
        plan = ChunkPlan.of(spec, chunk, context.provisional_frames if start.partials else 0)
        try:
            self._decoder = open_decoder(start.audio)
        except MynaError as error:
            self._error("bad_audio", str(error), fatal=True)
            return
        self._segmenter = Segmenter(spec, plan, context.vad, rule.silence_ms)
        self._captioner = Captioner(spec, context.tokens, rule, start.partials, start.words, context.calibration)
        self._personal.begin(start)
        self._ready = Ready(
            session=context.session, model=context.model, chunk_ms=chunk * spec.frame_ms, limits=context.limits
        )
        if find := self._personal.find():
            self._out.append(find)
        else:
            self.weights_changed(None)

    def _update(self, update: Update) -> None:
        assert self._segmenter
        if update.hotwords or update.grammar is not None:
            self._error("not_supported", "update: hotwords and grammar can't be changed yet", fatal=False)
        if update.collect is not None:
            problem = self._personal.uncollected(self._personal.speaker) if update.collect else None
            if problem:
                self._error(*problem, fatal=False)
            else:
                self._personal.collector.agree(update.collect)
        if update.endpointing is not None:
            rule = endpointing(update.endpointing)
            self._segmenter.silence_ms = rule.silence_ms
            self._later(_Changed(rule))

    def _stop(self, code: int) -> None:
        assert self._decoder
        self._end("stop")
        if left := self._decoder.leftover_bytes:
            self._error("bad_audio", f"audio: {left} bytes at the end make no whole sample; left out", fatal=False)
        self._later(_Drained(code))

    def _end(self, reason: EndReason) -> None:
        assert self._decoder
        assert self._segmenter
        self._push(self._decoder.flush())
        self._hear(self._segmenter.end(reason))

    def _push(self, samples: NDArray[np.int16]) -> None:
        assert self._segmenter
        self._personal.collector.hear(samples)
        self._hear(self._segmenter.push(samples))

    def _hear(self, events: list[SpeechEvent]) -> None:
        for event in events:
            if isinstance(event, Opened) and self._personal.turn():
                self._timeline.append(_Swapped(self._personal.name))
            self._timeline.append(event)
            if isinstance(event, Chunk):
                self._out.append(Decode(replace(event.request, adapter=self._personal.adapter)))
        self._advance()

    def _later(self, event: _Event) -> None:
        self._timeline.append(event)
        self._advance()

    def _advance(self) -> None:
        """Tell what the timeline's head allows."""
        while self._timeline:
            head = self._timeline[0]
            if isinstance(head, Chunk) and head.request.id not in self._results:
                return
            if isinstance(head, _Drained) and self._personal.amending:
                return
            self._timeline.popleft()
            self._tell(head)

    def _tell(self, event: _Event) -> None:
        assert self._captioner
        match event:
            case Opened(sample):
                self._send(*self._captioner.opened(sample))
            case Chunk(request):
                result = self._results.pop(request.id)
                if result is not None:
                    self._send(*self._captioner.heard(request, result))
            case Ending(sample):
                self._captioner.ending(sample)
            case Closed(sample, reason):
                self._send(*self._captioner.closed(sample, reason))
            case _Changed(rule):
                self._captioner.endpointing = rule
            case _Swapped(name):
                self._captioner.adapter = name
                version = name.version if name else None
                speaker = self._personal.speaker or ""
                self._send(Adaptation(speaker=speaker, event="swapped", version=version))
            case _Drained(code):
                self._finish(code)
            case _:
                self._send(event)

    def _finish(self, code: int) -> None:
        seconds = round(self.audio_samples / self._context.spec.features.sample_rate_hz, 3)
        self._send(Done(audio_seconds=seconds, utterances=self.utterances))
        if code == 1000:
            self._out.append(Close(code, "done"))
            self.state = State.CLOSED
        else:
            self.refuse("restarting", "the server is going down; connect again")

    def _send(self, *messages: Message) -> None:
        for message in messages:
            self._out.append(Send(message))
            if kept := self._personal.told(message):
                self._out.append(kept)

    def _error(self, code: ErrorCode, message: str, fatal: bool, retry_after_s: float | None = None) -> None:
        """Say what is wrong: at once and for good if fatal, else in the order of the stream."""
        error = Error(code=code, message=message, fatal=fatal, retry_after_s=retry_after_s)
        if not fatal:
            self._later(error)
            return
        self._timeline.clear()
        self._send(error)
        self._out.append(Close(CLOSE_CODES[code], code))
        self.state = State.CLOSED
