"""Rounds at several speakers, each noted in the store before it begins: what dies in one is tried again later."""

from collections.abc import Iterator, Sequence

from myna.adapt.personal.attempt import Tell
from myna.adapt.personal.base import Base
from myna.adapt.personal.others import Others
from myna.adapt.personal.round import Outcome, learn_speaker
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Rounds, Store, StoreError


def rounds(
    base: Base, store: Store, speakers: Sequence[str], settings: AdaptSettings, tell: Tell
) -> Iterator[tuple[str, Outcome]]:
    """Learn one speaker after the other. A failure at one is noted, and then it is the next one's turn."""
    history, others = Rounds(store), None
    for speaker in speakers:
        number = None
        try:
            number = history.begin(speaker)
            others = others or Others(base, settings.blocks)
            outcome = learn_speaker(base, others, store, speaker, settings, tell)
        except StoreError as error:  # another process at the speaker, too: it must not be tried again at once
            outcome = Outcome(None, str(error), failed=True)
        if number is not None:
            history.end(number, outcome.reason if outcome.failed else None)
        yield speaker, outcome
