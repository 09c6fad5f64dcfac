"""Who speaks in one stream: what they agreed to, what they corrected, with which weights they are heard. No I/O."""

from dataclasses import dataclass

from myna.models.adapter import AdapterBatch
from myna.server.collecting import Collector
from myna.server.outputs import Amend, Find, Keep, Message, Voice
from myna.server.protocol import AdapterName, Correct, Start
from myna.server.terms import Problem


@dataclass(frozen=True, slots=True)
class PersonalContext:
    """What a server can do for those who name themselves."""

    adapts: bool = False  # has weights of speakers
    keeps: bool = False  # utterances of those who agree
    agreed: frozenset[str] = frozenset()  # speakers who agreed once for all
    max_kept_s: float = 60.0  # longer utterances are not kept
    owner: str | None = None  # who speaks where nobody is named


class Personal:
    """One stream's speaker: whom it names, else the server's owner, if it has one."""

    def __init__(self, context: PersonalContext, session: str, rate_hz: int) -> None:
        self.speaker: str | None = None
        self.collector = Collector(rate_hz, context.max_kept_s)
        self.amending = 0  # corrections that are not answered yet
        self._context, self._session = context, session
        self._voice: Voice | None = None  # of the utterance under way
        self._coming: Voice | None = None  # of the next one
        self._problem: str | None = None  # why that is the base alone, if it is a pity

    def begin(self, start: Start) -> None:
        """Learn who speaks, and what they agree to."""
        self.speaker = self._who(start)
        self.collector.agree(self._context.keeps and (start.collect or self.speaker in self._context.agreed))

    def _who(self, start: Start) -> str | None:
        return self._context.owner if start.speaker is None else start.speaker

    # ------------------------------------------------------------------ weights

    def find(self) -> Find | None:
        """Ask for the speaker's weights, where there may be some."""
        return None if self.speaker is None or not self._context.adapts else Find(self.speaker)

    @property
    def adapter(self) -> AdapterBatch | None:
        """With what the utterance under way is heard; None: the base alone."""
        return self._voice.adapter if self._voice else None

    @property
    def name(self) -> AdapterName | None:
        """How that is called."""
        return self._voice.name if self._voice else None

    def expect(self, voice: Voice | None, problem: str | None = None) -> bool:
        """Learn with what the next utterance is heard; tell whether there is a new reason why it is the base alone."""
        news = problem is not None and problem != self._problem
        self._coming, self._problem = voice, problem
        return news

    def turn(self) -> bool:
        """Take what was expected, between two utterances; tell whether that is another than before."""
        before, self._voice = self.name, self._coming
        return self.name != before

    # ------------------------------------------------------------------ speech

    def refusal(self, start: Start) -> Problem | None:
        """Tell why a stream can't begin so, if it can't."""
        return self.uncollected(self._who(start)) if start.collect else None

    def uncollected(self, speaker: str | None) -> Problem | None:
        """Tell why nothing of a speaker can be kept, if so."""
        if not self._context.keeps:
            return "not_supported", "collect: this server keeps nothing; it has no data_dir"
        return ("bad_message", "collect: needs a speaker, whose speech it is") if speaker is None else None

    def told(self, message: Message) -> Keep | None:
        """Follow what the client is told; ask for an utterance to be kept."""
        recording = self.collector.told(message)
        if recording is None or self.speaker is None:
            return None
        return Keep(self.speaker, recording, self.speaker in self._context.agreed)

    def correct(self, correct: Correct) -> Amend | Problem:
        """Ask for a correction to be stored, or tell why not."""
        if self.speaker is None or not self._context.keeps:
            what = "this stream names no speaker" if self.speaker is None else "this server keeps nothing"
            return "not_stored", f"correct: {what}, so nothing of it is kept"
        self.amending += 1
        return Amend(self.speaker, correct.session or self._session, correct.utterance, correct.text)
