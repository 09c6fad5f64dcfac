"""The native protocol, version 1: every message on the wire as a pydantic model.

Pydantic and stdlib only: clients import this module. One websocket at `PATH`. Text frames are JSON objects with `type`,
binary frames are audio in the announced encoding. Times are seconds of stream audio. What a client sends is read
strictly (unknown fields are refused by name); what a server sends is read leniently, so that an older client survives
a newer server.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

PROTOCOL = 1
PATH = "/v1/stream"
MAX_PLACE_CHARS = 200  # of a field's name in an error: the sender chose it

Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw", "ogg_opus"]
Preset = Literal["assistant", "dictation", "captions"]
EndReason = Literal["silence", "length", "finalize", "stop"]
ErrorCode = Literal[
    "bad_audio",
    "bad_message",
    "bad_order",
    "idle",
    "inference_failed",
    "not_stored",
    "not_supported",
    "overloaded",
    "refused",
    "restarting",
    "start_timeout",
    "too_large",
    "too_slow",
]

# The close code that follows a fatal error.
CLOSE_CODES: dict[ErrorCode, int] = {
    "bad_audio": 1003,
    "bad_message": 1007,
    "bad_order": 1002,
    "idle": 1008,
    "inference_failed": 1011,
    "not_stored": 1011,
    "not_supported": 1008,
    "overloaded": 1013,
    "refused": 1008,
    "restarting": 1012,
    "start_timeout": 1008,
    "too_large": 1009,
    "too_slow": 1008,
}


class FromClient(BaseModel):
    """A part of what a client sends: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FromServer(BaseModel):
    """A part of what a server sends: frozen, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AudioFormat(FromClient):
    """How the binary frames are to be read. An Ogg Opus stream carries its own rate and channels."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = Field(16000, ge=8000, le=48000, description="Hz")
    channels: Literal[1, 2] = Field(1, description="two are mixed down")


class Endpointing(FromClient):
    """When an utterance ends."""

    silence_ms: int = Field(600, ge=100, le=10_000, description="trailing silence that ends an utterance")
    max_utterance_ms: int = Field(30_000, ge=2_000, le=600_000, description="then the words so far become final")
    blank_ms: int = Field(4_000, ge=500, le=60_000, description="sound without a word for so long ends it, too")


class Hotword(FromClient):
    """A phrase to expect."""

    phrase: str = Field(min_length=1, max_length=100)
    boost: float = Field(2.0, ge=0, le=10, description="natural-log units a word")


class Resume(FromClient):
    """Where a dropped session left off."""

    session: str
    received_bytes: int = Field(ge=0)


class Start(FromClient):
    """The first frame, exactly once."""

    type: Literal["start"] = "start"
    protocol: Literal[1] = 1
    audio: AudioFormat = AudioFormat()
    speaker: str | None = Field(None, min_length=1, max_length=200)
    collect: bool = Field(False, description="the user agrees that this stream's utterances are kept to learn from")
    model: str | None = Field(None, description="a name from the server's allow-list")
    partials: bool = True
    words: bool = True
    endpointing: Preset | Endpointing = "captions"
    hotwords: tuple[Hotword, ...] = ()
    grammar: tuple[str, ...] | None = None
    format: Literal["raw", "written"] = "raw"
    alternatives: int = Field(0, ge=0, le=20)
    chunk_ms: int | None = Field(None, ge=10, le=10_000, description="must be one of the model's")
    resume: Resume | None = None


class Finalize(FromClient):
    """Decode all sent so far; the stream goes on."""

    type: Literal["finalize"] = "finalize"
    id: str | None = Field(None, max_length=200)


class Update(FromClient):
    """Change settings from the next chunk on."""

    type: Literal["update"] = "update"
    hotwords: tuple[Hotword, ...] | None = None
    grammar: tuple[str, ...] | None = None
    endpointing: Preset | Endpointing | None = None
    collect: bool | None = None


class Correct(FromClient):
    """What was really said."""

    type: Literal["correct"] = "correct"
    utterance: str = Field(max_length=20)
    text: str = Field(max_length=10_000)
    session: str | None = Field(None, max_length=100, description="of an earlier stream of this speaker")


class Stop(FromClient):
    """Finish: the last `final`, then `done`, then close 1000."""

    type: Literal["stop"] = "stop"


class ModelName(FromServer):
    """Which model answers."""

    name: str
    version: str


class AdapterName(FromServer):
    """Which speaker's weights are used."""

    speaker: str
    version: str


class Limits(FromServer):
    """The bounds of this stream."""

    max_frame_bytes: int
    max_message_bytes: int
    max_hotwords: int
    idle_timeout_s: float
    chunk_choices_ms: tuple[int, ...]


class Ready(FromServer):
    """The answer to `start`."""

    type: Literal["ready"] = "ready"
    session: str
    protocol: Literal[1] = 1
    model: ModelName
    adapter: AdapterName | None = None
    chunk_ms: int
    limits: Limits


class SpeechStarted(FromServer):
    """Somebody began to speak; pre-roll is counted in."""

    type: Literal["speech_started"] = "speech_started"
    utterance: str
    time: float


class SpeechEnded(FromServer):
    """An utterance is over; its `final` follows."""

    type: Literal["speech_ended"] = "speech_ended"
    utterance: str
    time: float
    reason: EndReason


class Partial(FromServer):
    """What was understood so far; the first `stable_chars` characters of `text` will never change."""

    type: Literal["partial"] = "partial"
    utterance: str
    text: str
    stable_chars: int
    start: float
    end: float


class Word(FromServer):
    """One word of a final."""

    word: str
    start: float
    end: float
    confidence: float


class Latency(FromServer):
    """Where the time of the utterance's last step went."""

    audio_to_engine_ms: float
    queue_ms: float
    compute_ms: float


class Final(FromServer):
    """What was said; one for each utterance, empty text where the sound held no words."""

    type: Literal["final"] = "final"
    utterance: str
    text: str
    written: str | None = None
    words: tuple[Word, ...] | None = None
    confidence: float
    start: float
    end: float
    adapter: AdapterName | None = None
    latency: Latency


class Finalized(FromServer):
    """All audio sent before `finalize` has its `final`."""

    type: Literal["finalized"] = "finalized"
    id: str | None = None


class Stored(FromServer):
    """The answer to `correct`: it is on disk, whatever happens now."""

    type: Literal["stored"] = "stored"
    utterance: str
    session: str


class Adaptation(FromServer):
    """What became of a speaker's weights; `swapped` is sent before the first utterance that is heard with them."""

    type: Literal["adaptation"] = "adaptation"
    speaker: str
    event: Literal["swapped", "refused"]
    version: str | None = Field(None, description="none: the base alone")
    report: str | None = Field(None, description="why not")


class Done(FromServer):
    """The last message of a stream that was stopped."""

    type: Literal["done"] = "done"
    audio_seconds: float
    utterances: int


class Error(FromServer):
    """What went wrong and what to do about it; a fatal one is followed by a close frame."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    fatal: bool
    retry_after_s: float | None = None


ClientMessage = Start | Finalize | Update | Correct | Stop
ServerMessage = Ready | SpeechStarted | SpeechEnded | Partial | Final | Finalized | Stored | Adaptation | Done | Error
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


class BadMessage(ValueError):
    """A text frame that is no message of the protocol; the text names the field, not what was in it."""


def _parse(adapter: TypeAdapter[Any], text: str | bytes) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("text frames must be JSON") from None
    if not isinstance(value, dict):
        raise BadMessage("text frames must be JSON objects with a `type`")
    try:
        return adapter.validate_python(value, strict=False)
    except ValidationError as error:
        raise BadMessage(_problem(error)) from None


def _problem(failed: ValidationError) -> str:
    """Name the field; of alternatives that all fail, the deepest tells most."""
    error = max(failed.errors(include_url=False, include_input=False), key=lambda e: len(e["loc"]))
    place = ".".join(map(str, error["loc"])) or "type"
    tags = error.get("ctx", {}).get("expected_tags")  # pydantic's own text repeats what was sent
    return f"{place[:MAX_PLACE_CHARS]}: {f'must be one of {tags}' if tags else error['msg']}"


def parse_client(text: str | bytes) -> ClientMessage:
    """Read what a client sent. Raises BadMessage."""
    message: ClientMessage = _parse(_CLIENT, text)
    return message


def parse_server(text: str | bytes) -> ServerMessage:
    """Read what a server sent. Raises BadMessage."""
    message: ServerMessage = _parse(_SERVER, text)
    return message


def encode(message: BaseModel) -> str:
    """Write a message as the JSON of one text frame; fields that are None are left out."""
    return message.model_dump_json(exclude_none=True)
