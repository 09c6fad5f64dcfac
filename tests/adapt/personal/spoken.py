"""Speakers whose voice the tiny model can learn in a few steps, and settings under which it does."""

from collections.abc import Sequence

from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Heard, Store
from tests.server.speech import voice

TEXT = "ba di gu ma ki tu bi da"
EASY = AdaptSettings(
    rate=0.01,
    passes=(1, 2),
    speeds=(1.0,),
    folds=2,
    min_utterances=2,
    min_confidence=0.0,
    gate_level=0.51,
)
REFUSED = EASY.model_copy(update={"rate": 1e-30})  # so slow that nothing is learnt
TOML = """
rate = 0.01
passes = [1, 2]
speeds = [1.0]
folds = 2
min_utterances = 2
min_confidence = 0.0
gate_level = 0.51
"""


def speak(store: Store, speaker: str, numbers: Sequence[int] = range(4), text: str = TEXT) -> None:
    """Read some text aloud, always in one way."""
    for number in numbers:
        said = voice(1.0, seed=3)
        store.keep(speaker, Heard(said, text, 1.0, f"session of {speaker}", str(number), "", source="enrolled"))
