"""What a client has sent and may have to send again: it survives a lost connection without lost or doubled words.

The server forgets a stream when its connection drops. So the audio behind the last final is kept here and sent to the
next stream, whose times and utterance numbers are then moved to where this one stands. No I/O.

    audio    |--- answered by finals ---|------- kept -------|
                                        ^ origin of the next stream
"""

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from myna.server.protocol import (
    AudioFormat,
    Done,
    Final,
    Finalize,
    Finalized,
    Partial,
    SpeechEnded,
    SpeechStarted,
    Stop,
    Word,
)

KEPT_S = 120.0  # at most; what is older is not sent again
SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}

Frame = bytes | Finalize | Stop
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Item:
    """A frame to send."""

    frame: Frame
    start_s: float  # of its first sample in the whole stream


class Recall:
    """The frames of a stream, which of them were sent on the present connection, and where that one began."""

    def __init__(self, audio: AudioFormat) -> None:
        self.repeatable = audio.encoding in SAMPLE_BYTES  # a container can't be begun in its middle
        self._sample_bytes = SAMPLE_BYTES.get(audio.encoding, 1) * audio.channels
        self._bytes_per_s = self._sample_bytes * audio.sample_rate
        self._items: deque[_Item] = deque()
        self._sent = 0  # of the items, on this connection
        self._end_s = 0.0
        self._origin_s = 0.0
        self._finals = 0  # on connections before and on this one
        self.first_utterance = 0  # the number of this connection's utterance 0
        self._answered_s = 0.0

    def add(self, frame: Frame) -> None:
        """Take a frame that is to be sent."""
        self._items.append(_Item(frame, self._end_s))
        if isinstance(frame, bytes):
            self._end_s += len(frame) / self._bytes_per_s
        while self._sent and self._items[0].start_s < self._end_s - KEPT_S:
            self._drop()

    def next(self) -> Frame | None:
        """Tell what to send next; None: all was sent."""
        return self._items[self._sent].frame if self._sent < len(self._items) else None

    def sent(self) -> None:
        """Note that it was."""
        self._sent += 1

    def rewind(self) -> None:
        """Begin on a new connection with the first frame that is not answered."""
        self._sent = 0
        self._origin_s = self._items[0].start_s if self._items else self._end_s
        self.first_utterance = self._finals

    def place(self, message: M) -> M:
        """Move a message of this connection to where the whole stream stands, and drop the audio that it answers."""
        placed = self._place(message)
        match placed:
            case SpeechEnded(time=time):
                self._answered_s = time
            case Final():
                self._finals += 1
                self._forget(self._answered_s)
            case Finalized():
                self._forget_finalize()
        return placed

    def _place(self, message: M) -> M:
        origin_s = self._origin_s
        changes: dict[str, object] = {}
        match message:
            case SpeechStarted(time=time) | SpeechEnded(time=time):
                changes = {"time": _later(time, origin_s)}
            case Partial(start=start, end=end):
                changes = {"start": _later(start, origin_s), "end": _later(end, origin_s)}
            case Final(start=start, end=end, words=words):
                moved = words and tuple(_moved(word, origin_s) for word in words)
                changes = {"start": _later(start, origin_s), "end": _later(end, origin_s), "words": moved}
            case Done(audio_seconds=seconds, utterances=utterances):
                total = self.first_utterance + utterances
                changes = {"audio_seconds": _later(seconds, origin_s), "utterances": total}
        if isinstance(message, SpeechStarted | SpeechEnded | Partial | Final):
            changes["utterance"] = str(self.first_utterance + int(message.utterance))
        return message.model_copy(update=changes)

    def _forget(self, before_s: float) -> None:
        """Drop the sent audio before."""
        while self._sent > 1 and self._items[1].start_s <= before_s:
            self._drop()
        if self._sent and isinstance(frame := self._items[0].frame, bytes):
            start_s = self._items[0].start_s
            samples = round((before_s - start_s) * self._bytes_per_s / self._sample_bytes)
            cut_bytes = min(max(0, samples * self._sample_bytes), len(frame))
            self._items[0] = _Item(frame[cut_bytes:], start_s + cut_bytes / self._bytes_per_s)

    def _forget_finalize(self) -> None:
        """Drop the first `finalize` that was sent, which is answered, and everything before it."""
        sent = list(self._items)[: self._sent]
        count = next((i + 1 for i, item in enumerate(sent) if isinstance(item.frame, Finalize)), 0)
        for _ in range(count):
            self._drop()

    def _drop(self) -> None:
        self._items.popleft()
        self._sent -= 1


def _later(time_s: float, by_s: float) -> float:
    return round(time_s + by_s, 3)


def _moved(word: Word, by_s: float) -> Word:
    return word.model_copy(update={"start": _later(word.start, by_s), "end": _later(word.end, by_s)})
