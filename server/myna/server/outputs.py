"""What a session asks of the world: a closed union of frozen effects, and the results that come back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myna.models.adapter import AdapterBatch
from myna.server.collecting import Recording
from myna.server.protocol import AdapterName, ServerMessage

Message = ServerMessage


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker's weights, and what they are called."""

    name: AdapterName
    adapter: AdapterBatch  # one row


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One step of the model for one stream. Requests of a stream are run in the order of their ids."""

    id: int  # counts up within the stream
    feats: NDArray[np.float32]  # (feature frames, mels), not yet normalised
    frames: int  # encoder frames that come out of them
    first: bool  # starts from a fresh state
    keep: bool  # False: a provisional step, which leaves no trace in the state and may be skipped
    left_frames: int  # encoder frames of left context it may see
    adapter: AdapterBatch | None = None  # one row; the same for all steps of an utterance


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """What the model said, and where the time went."""

    log_probs: NDArray[np.float32]  # (frames, vocabulary)
    audio_to_engine_ms: float = 0.0
    queue_ms: float = 0.0
    compute_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the client."""

    message: Message


@dataclass(frozen=True, slots=True)
class Decode:
    """Run a step and report with `Session.decoded`, `decode_skipped` or `decode_failed`."""

    request: DecodeRequest


@dataclass(frozen=True, slots=True)
class Find:
    """Find a speaker's weights and report with `Session.weights_changed`; nothing is to be heard before."""

    speaker: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep an utterance of a speaker who agreed; nobody waits for it."""

    speaker: str
    recording: Recording
    once_for_all: bool  # agreed, instead of for this stream


@dataclass(frozen=True, slots=True)
class Amend:
    """Note what was really said, and report with `Session.stored` or `not_stored`."""

    speaker: str
    session: str
    utterance: str
    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection after everything before it was sent."""

    code: int
    reason: str


Output = Send | Decode | Find | Keep | Amend | Close
