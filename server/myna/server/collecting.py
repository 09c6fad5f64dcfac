"""What a stream keeps of its speaker, who agreed: audio of the utterances under way, cut out when their text is final.

An utterance is kept only if all of it was heard while the speaker agreed, and still does.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myna.server.protocol import Final, FromServer, SpeechEnded, SpeechStarted


@dataclass(frozen=True, slots=True)
class Recording:
    """An utterance, as it was heard and understood."""

    utterance: str
    samples: NDArray[np.int16]  # (n,) at the model's rate
    text: str
    confidence: float
    adapter: str | None = None  # version of the speaker's weights that it was heard with


class Collector:
    """One stream's memory of sound: the last `max_s` seconds, and nothing while the speaker does not agree."""

    def __init__(self, rate_hz: int, max_s: float) -> None:
        self.agreed = False
        self._rate_hz, self._most = rate_hz, int(max_s * rate_hz)
        self._parts: deque[NDArray[np.int16]] = deque()
        self._first = self._next = 0  # samples of the stream: the first that is remembered, the one to come
        self._spans: dict[str, tuple[int, int]] = {}  # of utterances that have no final yet

    def agree(self, agreed: bool) -> None:
        """Hear from the speaker whether to remember from here on; a no forgets what is remembered."""
        if not agreed:
            self._parts.clear()
            self._first = self._next
        self.agreed = agreed

    def hear(self, samples: NDArray[np.int16]) -> None:
        """Take the stream's next samples (n,)."""
        self._next += len(samples)
        if not self.agreed:
            self._first = self._next
            return
        self._parts.append(samples)
        while self._parts and self._next - self._first - len(self._parts[0]) >= self._most:
            self._first += len(self._parts.popleft())

    def told(self, message: FromServer) -> Recording | None:
        """Follow what the client is told; return an utterance that is to be kept."""
        match message:
            case SpeechStarted():
                self._spans[message.utterance] = (self._sample(message.time), self._next)
            case SpeechEnded():
                first, _ = self._spans.get(message.utterance, (0, 0))
                self._spans[message.utterance] = (first, self._sample(message.time))
            case Final():
                first, end = self._spans.pop(message.utterance, (0, 0))
                whole = self.agreed and self._first <= first < end <= self._next
                if whole and message.text:
                    adapter = message.adapter.version if message.adapter else None
                    return Recording(
                        message.utterance, self._cut(first, end), message.text, message.confidence, adapter
                    )
        return None

    def _sample(self, time_s: float) -> int:
        return min(self._next, round(time_s * self._rate_hz))

    def _cut(self, first: int, end: int) -> NDArray[np.int16]:
        whole = np.concatenate(self._parts)
        return whole[first - self._first : end - self._first].copy()
