"""A session and a model without an engine between them: every step is run at once, so nothing depends on time."""

from collections.abc import Iterable

from myna.bench.local import context_of
from myna.models.bundle import Bundle
from myna.models.runtime import Runtime
from myna.server.outputs import Decode, DecodeResult, Message, Send
from myna.server.protocol import Final, Start, encode
from myna.server.session import Session
from myna.server.slots import Slots

STOP = '{"type": "stop"}'


class Hearing:
    """Hears one stream after the other with the same model."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self._runtime = Runtime(bundle, threads)
        self._slots = Slots(bundle.spec, 1, 1)

    def hear(self, frames: Iterable[bytes | str], start: Start | None = None) -> list[Message]:
        """Give the session `start` and then these frames; return all it says."""
        session = Session(context_of(self.bundle))
        said: list[Message] = []
        for frame in (encode(start or Start()), *frames):
            if isinstance(frame, str):
                session.receive_text(frame)
            else:
                session.receive_audio(frame)
            said += self._perform(session)
        return said

    def words(self, audio: bytes, start: Start | None = None) -> str:
        """Hear audio as one packet; return the text of its finals."""
        return text_of(self.hear([audio, STOP], start))

    def _perform(self, session: Session) -> list[Message]:
        said: list[Message] = []
        while outputs := session.outputs():
            for output in outputs:
                match output:
                    case Send(message):
                        said.append(message)
                    case Decode(request):
                        batch = self._slots.gather([0], [request])
                        step = self._runtime.step(
                            batch.feats, batch.frames, batch.offset, batch.cached, batch.att, batch.conv
                        )
                        if request.keep:
                            self._slots.keep(0, request, step.att_new[0], step.conv_new[0])
                        session.decoded(request.id, DecodeResult(step.log_probs[0, : request.frames]))
        return said


def text_of(messages: Iterable[Message]) -> str:
    """Join the finals."""
    return " ".join(m.text for m in messages if isinstance(m, Final) and m.text)
