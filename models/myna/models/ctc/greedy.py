"""Best-path CTC decoding (Graves et al. 2006, section 3.2) of a stream, chunk by chunk."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Token:
    """One emitted token; frames count from the start of the stream's encoder state."""

    id: int
    start_frame: int
    end_frame: int  # one past its last frame
    log_prob: float  # of its best frame


class Greedy:
    """The state of one stream: the tokens so far and the run that the last frame belongs to.

    What was emitted never changes, but for the last token's end, which grows while its run goes on in the next chunk.
    """

    def __init__(self, blank_id: int) -> None:
        self.blank_id = blank_id
        self.tokens: list[Token] = []
        self.frames = 0  # frames heard
        self._last_id = blank_id  # the best token of the last frame

    def advance(self, log_probs: NDArray[np.float32]) -> None:
        """Hear log_probs (frames, vocabulary)."""
        self.tokens, self._last_id = self._heard(log_probs)
        self.frames += len(log_probs)

    def peek(self, log_probs: NDArray[np.float32]) -> list[Token]:
        """Return the tokens as they would be after log_probs (frames, vocabulary); the state stays as it is."""
        return self._heard(log_probs)[0]

    def take(self, count: int) -> list[Token]:
        """Remove and return the first `count` tokens: an utterance ended there while the stream's state goes on."""
        taken, self.tokens = self.tokens[:count], self.tokens[count:]
        return taken

    @property
    def quiet_frames(self) -> int:
        """Frames since the last token, or since the start where there was none."""
        return self.frames - (self.tokens[-1].end_frame if self.tokens else 0)

    def _heard(self, log_probs: NDArray[np.float32]) -> tuple[list[Token], int]:
        tokens = list(self.tokens)
        if not len(log_probs):
            return tokens, self._last_id
        best = log_probs.argmax(axis=1)
        peaks = log_probs[np.arange(len(best)), best]
        starts = np.flatnonzero(np.diff(best, prepend=-1))  # of runs of one id
        ends = np.append(starts[1:], len(best))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            token_id = int(best[start])
            if token_id == self.blank_id:
                continue
            peak = float(peaks[start:end].max())
            if start == 0 and token_id == self._last_id:
                if tokens:  # else it went with `take`
                    last = tokens[-1]
                    tokens[-1] = Token(token_id, last.start_frame, self.frames + end, max(last.log_prob, peak))
                continue
            tokens.append(Token(token_id, self.frames + start, self.frames + end, peak))
        return tokens, int(best[-1])
