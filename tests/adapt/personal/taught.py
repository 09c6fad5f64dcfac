"""The tiny model, taught four made sentences in a second; and people who say them so that it does not understand."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from myna.adapt.personal.base import Base, read_base
from myna.adapt.personal.lessons import Lesson, answer, losses, prepare
from myna.adapt.personal.others import Others
from myna.adapt.personal.settings import AdaptSettings
from myna.models.bundle import read_bundle
from myna.models.generic import Clip
from tests.server.speech import silence, voice
from tests.support import TINY

SENTENCES = ("ba di", "ga mu", "ti", "ku ma bi")
STANDARD, DIALECT, STRANGER, FOREIGN = 0, 2, 1, 3  # how people speak; the taught model understands the first

# Everything a result depends on, so that defaults may move.
SETTINGS = AdaptSettings(
    blocks=0,
    rate=2e-2,
    rank=4,
    rank_rate=2e-2,
    warmup_steps=2,
    batch_utterances=4,
    passes=(3, 6),
    max_heard_s=1e6,
    speeds=(1.0,),
    clip_norm=1.0,
    folds=3,
    min_utterances=4,
    max_utterances=400,
    min_s=0.3,
    max_s=20.0,
    min_confidence=0.8,
    max_pseudo_share=0.5,
    gate_level=0.95,
    max_strength=0.7,
    max_generic_errors=0.03,
    max_generic_loss=0.06,
    precision="fp32",
    seed=0,
)
LENIENT = SETTINGS.model_copy(update={"max_generic_errors": 9.0, "max_generic_loss": 9.0})  # others bear nearly all


def say(number: int, speech: int = STANDARD, seconds: float = 0.7) -> NDArray[np.int16]:
    """Say the sentence `number % 4` behind a pre-roll; higher numbers say it at another pitch."""
    said = voice(seconds, 100.0 + 17 * (number // 4 % 6), 10 * speech + number % 4)
    return np.concatenate([silence(0.3), said])


def text(number: int) -> str:
    """Return what `say` says."""
    return SENTENCES[number % 4]


def tiny() -> Base:
    """Read the tiny bundle: random weights, no generic set."""
    return read_base(read_bundle(TINY))


@cache
def taught() -> Base:
    """Teach the tiny model standard speech. Its generic set is more of that, and some that it does not understand."""
    base = tiny()
    lessons = [lesson_of(base, number) for number in range(16)]
    parameters = [*base.model.blocks.parameters(), *base.model.norm.parameters(), *base.model.head.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser, rng = torch.optim.AdamW(parameters, 3e-3), np.random.default_rng(0)
    for _ in range(60):
        part = [lessons[i] for i in rng.permutation(len(lessons))[:8]]
        copies, ids = [lesson.copies[0] for lesson in part], [lesson.ids for lesson in part]
        loss = losses(answer(base, copies, None, 0), copies, ids, base.spec.blank_id)
        torch.autograd.backward((loss / torch.tensor([len(row) for row in ids])).mean())
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    base.model.requires_grad_(False)
    standard = [Clip(say(number, seconds=0.9), text(number)) for number in range(16, 24)]
    return replace(base, generic=(*standard, *(Clip(say(number, FOREIGN), text(number)) for number in range(4))))


@cache
def others() -> Others:
    """Return the people of the taught model's generic set."""
    return Others(taught(), SETTINGS.blocks)


def lesson_of(base: Base, number: int, speech: int = STANDARD, blocks: int = 0) -> Lesson:
    """Make the lesson of a sentence."""
    lesson = prepare(base, say(number, speech), text(number), SETTINGS.speeds, blocks)
    assert lesson is not None
    return lesson


def generic_of(base: Base) -> list[Lesson]:
    """Make lessons of the generic set."""
    found = [prepare(base, clip.samples, clip.text) for clip in base.generic]
    return [lesson for lesson in found if lesson]


def contrary_of(base: Base, number: int) -> Lesson:
    """Make a lesson of one who says one thing as everybody else says another."""
    lesson = prepare(base, say(number), text(number + 1))
    assert lesson is not None
    return lesson


def quiet(what: str, share: float) -> None:
    """Tell nobody of progress."""
