"""How much of what was learnt others bear: all of nothing, less of more, nothing of what destroys."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.deltas import Deltas  # noqa: E402
from myna.adapt.personal.base import Base, read_base  # noqa: E402
from myna.adapt.personal.judge import judge_generic  # noqa: E402
from myna.adapt.personal.learn import Learner  # noqa: E402
from myna.adapt.personal.lessons import examine  # noqa: E402
from myna.adapt.personal.others import LEAST, Others  # noqa: E402
from myna.adapt.personal.settings import AdaptSettings  # noqa: E402
from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.generic import Clip  # noqa: E402
from tests.adapt.personal.taught import LENIENT, contrary_of, generic_of, others, taught  # noqa: E402
from tests.server.speech import voice  # noqa: E402
from tests.support import TINY  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = AdaptSettings()


def silent(share: float) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def base() -> Base:
    clips = tuple(Clip(voice(1.0, 120 + 20 * i, seed=i), "ba bi") for i in range(6))
    return replace(read_base(read_bundle(TINY)), generic=clips)


def moved(base: Base, size: float) -> Deltas:
    torch.manual_seed(0)
    deltas = Deltas(base.spec, "norms", 0)
    with torch.no_grad():
        for parameter in deltas.parameters():
            parameter.copy_(size * torch.randn_like(parameter))
    return deltas


def test_a_base_without_a_generic_set_has_no_others(base: Base) -> None:
    assert Others(base, 0)
    assert not Others(replace(base, generic=()), 0)


@pytest.mark.parametrize("blocks", [0, 1])
def test_they_are_heard_without_and_with_what_was_learnt(base: Base, blocks: int) -> None:
    deltas = moved(base, 0.1)
    if blocks:
        with torch.no_grad():
            deltas.shift["0"].zero_()
    heard = Others(base, blocks).hear(deltas, SETTINGS)
    before, after = (examine(base, generic_of(base), packed) for packed in (None, deltas.packed()))
    assert (heard.utterances, heard.words) == (6, 12)
    assert (heard.base_errors, heard.errors) == (sum(m.errors for m in before), sum(m.errors for m in after))
    units = sum(mark.units for mark in before)
    assert heard.base_loss == pytest.approx(sum(mark.loss for mark in before) / units, rel=1e-3)
    assert heard.loss == pytest.approx(sum(mark.loss for mark in after) / units, rel=1e-3)


def test_clips_that_can_t_be_spelt_are_left_out(base: Base) -> None:
    odd = replace(base.generic[0], text="xyz 123")
    others = Others(replace(base, generic=(odd, *base.generic[1:])), 0)
    assert others.hear(moved(base, 0.1), SETTINGS).utterances == 5


def test_they_bear_all_of_nothing(base: Base) -> None:
    strength, heard = Others(base, 0).strength(moved(base, 0.0), SETTINGS, silent)
    assert strength == SETTINGS.max_strength
    assert heard.errors == heard.base_errors
    assert heard.loss == pytest.approx(heard.base_loss)


@pytest.mark.parametrize("size", [0.01, 0.1, 1.0, 10.0])
def test_what_they_bear_is_within_the_bounds(base: Base, size: float) -> None:
    strength, heard = Others(base, 0).strength(moved(base, size), SETTINGS, silent)
    assert strength == 0.0 or LEAST <= strength <= SETTINGS.max_strength
    assert judge_generic(heard, SETTINGS).accepted == (strength > 0)


def test_of_more_they_bear_less(base: Base) -> None:
    others = Others(base, 0)
    strict = SETTINGS.model_copy(update={"max_generic_loss": 0.001})
    little, much = (others.strength(moved(base, size), strict, silent)[0] for size in (0.02, 0.5))
    assert much <= little


def test_the_more_they_bear_the_more_is_taken() -> None:
    """Of one who says one thing as everybody else says another, nothing if nothing may be lost, all if all may be."""
    base = taught()
    learner = Learner(base, [contrary_of(base, number) for number in range(8)], LENIENT)
    for _ in range(4):
        list(learner.steps())
    bounds = [LENIENT.model_copy(update={"max_generic_loss": bound}) for bound in (0.0, 0.1, 0.5, 2.0, 1e6)]
    found = [others().strength(learner.deltas, settings, silent) for settings in bounds]
    strengths = [strength for strength, _ in found]
    assert strengths == sorted(strengths)
    assert (strengths[0], strengths[-1]) == (0.0, LENIENT.max_strength)
    for settings, (strength, heard) in zip(bounds, found, strict=True):
        assert (heard.loss <= heard.base_loss * (1 + settings.max_generic_loss)) == (strength > 0)
