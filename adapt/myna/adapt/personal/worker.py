"""Rounds at several speakers, each noted in the store before it begins: what dies in one is tried again later."""

import logging
from collections.abc import Iterator, Sequence

from myna.adapt.personal.attempt import Tell
from myna.adapt.personal.base import Base
from myna.adapt.personal.others import Others
from myna.adapt.personal.round import Busy, Outcome, learn_speaker
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Rounds, Store, StoreError

logger = logging.getLogger(__name__)


def rounds(
    base: Base, store: Store, speakers: Sequence[str], settings: AdaptSettings, tell: Tell
) -> Iterator[tuple[str, Outcome]]:
    """Learn one speaker after the other. A failure at one is noted, and the next one's turn; alone, it is raised."""
    history, others = Rounds(store), None
    for speaker in speakers:
        number = history.begin(speaker)
        others = others or Others(base, settings.blocks)
        try:
            outcome = learn_speaker(base, others, store, speaker, settings, tell)
        except Busy as error:
            history.end(number)
            outcome = Outcome(None, str(error))
        except StoreError as error:
            history.end(number, str(error))
            if len(speakers) == 1:
                raise
            logger.warning("a round failed: %s", error)
            outcome = Outcome(None, str(error))
        else:
            history.end(number)
        yield speaker, outcome
