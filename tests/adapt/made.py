"""Made speech on disk, and tokens and a spec to learn it with."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from myna.adapt.data import Utterance
from myna.models.bundle import read_bundle
from myna.models.spec import ModelSpec
from myna.models.tokens import BOUNDARY, TokenTable
from tests.server.speech import RATE_HZ, voice
from tests.support import TINY

LETTERS = TokenTable(["<blank>", *(BOUNDARY + c for c in "abcdefghij"), *"abcdefghij'"])


def spec() -> ModelSpec:
    return read_bundle(TINY).spec


def write(path: Path, seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    """Write made speech; return its samples (n,)."""
    samples = voice(seconds, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz)
    return samples


def utterances(folder: Path, *seconds: float, weight: float = 1.0) -> list[Utterance]:
    """Write made utterances of these lengths, one word each."""
    made = []
    for number, length in enumerate(seconds):
        path = folder / f"{number}.wav"
        write(path, length, number)
        made.append(Utterance(path, "abcdefghij"[number % 10], f"speaker {number % 3}", "made", weight))
    return made
