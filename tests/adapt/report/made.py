"""Made attempts at a speaker, as rounds write them into the store."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from myna.adapt.report.figures import Curve, read_curve
from myna.adapt.store import Store, Versions
from tests.adapt.store.test_speech import Clock, heard

HOSTILE = '<script>alert("x")</script></title>[bold red]\x1b[2J\u202e\0\x07& \'"'
DAY_S = 86_400.0


def report(errors: int = 8, base_errors: int = 12, **changed: object) -> dict[str, Any]:
    """Write a report as a round does; 96 words are held out."""
    compared: dict[str, float] = {"utterances": 24, "words": 96, "base_errors": base_errors, "errors": errors}
    compared |= {"base_loss": 0.5, "loss": 0.4, "sure": 0.97}
    whole: dict[str, Any] = {
        "learnt_from": {"pseudo": 8, "corrected": 12, "enrolled": 20},
        "seconds": 204.0,
        "left_out": {"without words": 3},
        "held_out": compared,
        "generic": compared | {"words": 900, "base_errors": 81, "errors": 82},
        "passes": 4,
        "strength": 0.5,
        "gate": f"On 24 utterances that it had not learnt from it made {errors} word errors instead of {base_errors}.",
        "took_s": 41.5,
        "peak_mb": 880,
    }
    return whole | changed


def store_of(folder: Path, attempts: Iterable[tuple[str | None, Mapping[str, Any]]], speaker: str = "anna") -> Store:
    """Keep an utterance and attempts, a day apart: a reason for which it was refused, or None, and its report."""
    clock = Clock()
    store = Store(folder, clock=clock)
    store.keep(speaker, heard(0, seconds=0.5))
    for number, (reason, told) in enumerate(attempts):
        clock.now_s += DAY_S
        if reason is None:
            Versions(store).publish(speaker, b"adapter %d" % number, "tiny 1", told)
        else:
            Versions(store).refuse(speaker, reason, "tiny 1", told)
    return store


def curve_of(folder: Path, *attempts: tuple[str | None, Mapping[str, Any]], speaker: str = "anna") -> Curve:
    """Read the curve of such a store."""
    return read_curve(store_of(folder, attempts, speaker), speaker)
