"""Learning rates: each schedule is its formula, and warms up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.recipe import OptimiserSettings
from myna.adapt.schedule import cosine, exponential, noam, rate_factor, staircase

KINDS = ("constant", "step", "exponential", "cosine", "noam")


def settings(schedule: str, **more: float) -> OptimiserSettings:
    return OptimiserSettings.model_validate({"schedule": schedule} | more)


@given(st.integers(0, 10_000), st.floats(0.1, 1), st.integers(1, 500))
def test_steps_and_exponentials_meet_where_steps_are(step: int, gamma: float, every: int) -> None:
    assert staircase(step, gamma, every) == gamma ** math.floor(step / every)
    assert exponential(step * every, gamma, every) == pytest.approx(staircase(step * every, gamma, every))
    assert exponential(step, gamma) == pytest.approx(gamma**step)
    assert exponential(step, gamma, every) <= staircase(step, gamma, every) * (1 + 1e-12)


@given(st.floats(-1, 2), st.floats(0, 1))
def test_a_cosine_falls_to_what_is_left(done: float, final: float) -> None:
    assert cosine(0, final) == pytest.approx(1)
    assert cosine(1, final) == cosine(7, final) == pytest.approx(final)
    assert cosine(0.5, final) == pytest.approx((1 + final) / 2)
    assert final - 1e-9 <= cosine(done, final) <= 1


@given(st.integers(1, 1000), st.integers(0, 100_000))
def test_noam_is_the_formula_of_the_paper_but_for_its_height(warm: int, step: int) -> None:
    paper = min((step + 1) ** -0.5, (step + 1) * warm**-1.5)
    assert noam(step, warm) == pytest.approx(paper * math.sqrt(warm))
    assert noam(warm - 1, warm) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_rises_over_the_warm_up_and_never_above_1(kind: str) -> None:
    chosen = settings(kind, warmup_steps=10, step_every=100, gamma=0.5, final_share=0.1)
    factors = [rate_factor(chosen, step, step / 1000) for step in range(1000)]
    assert factors[0] == pytest.approx(0.1, rel=0.01)
    assert factors[:10] == sorted(factors[:10])
    assert max(factors) <= 1
    assert factors[9] == pytest.approx(1, rel=0.1)
    falls = {"constant": 1, "step": 0.5**9, "exponential": 0.5**9.99, "cosine": 0.1, "noam": 0.1}
    assert factors[-1] == pytest.approx(falls[kind], rel=0.01)
    assert rate_factor(settings(kind, warmup_steps=0), 0, 0) == pytest.approx(1)
