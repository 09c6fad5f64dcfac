"""How much of what was learnt others bear: all of nothing, less of more, nothing of what destroys."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.deltas import Deltas  # noqa: E402
from myna.adapt.personal.base import Base, read_base  # noqa: E402
from myna.adapt.personal.judge import judge_generic  # noqa: E402
from myna.adapt.personal.others import LEAST, Others  # noqa: E402
from myna.adapt.personal.settings import AdaptSettings  # noqa: E402
from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.generic import Clip  # noqa: E402
from tests.server.speech import voice  # noqa: E402
from tests.support import TINY  # noqa: E402

SETTINGS = AdaptSettings()


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


def test_they_bear_all_of_nothing(base: Base) -> None:
    strength, heard = Others(base, 0).strength(moved(base, 0.0), SETTINGS)
    assert strength == 1.0
    assert heard.errors == heard.base_errors
    assert heard.loss == pytest.approx(heard.base_loss)


@pytest.mark.parametrize("size", [0.01, 0.1, 1.0, 10.0])
def test_what_they_bear_is_within_the_bounds(base: Base, size: float) -> None:
    strength, heard = Others(base, 0).strength(moved(base, size), SETTINGS)
    assert strength == 0.0 or LEAST <= strength <= 1.0
    assert judge_generic(heard, SETTINGS).accepted == (strength > 0)


def test_of_more_they_bear_less(base: Base) -> None:
    others = Others(base, 0)
    strict = SETTINGS.model_copy(update={"max_generic_loss": 0.001})
    little, much = (others.strength(moved(base, size), strict)[0] for size in (0.02, 0.5))
    assert much <= little
