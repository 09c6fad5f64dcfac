"""Calibration: rises with the posterior, stays a probability, changes nothing where there is nothing to change."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from myna.models.confidence import FLOOR, Platt, logit

platts = st.builds(Platt, slope=st.floats(1e-3, 1e6), intercept=st.floats(-1e6, 1e6))
posteriors = st.floats(0, 1)


@given(platts, posteriors, posteriors)
def test_rises_with_the_posterior_and_stays_a_probability(platt: Platt, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= platt(low) <= platt(high) <= 1


@given(st.floats(FLOOR, 1 - FLOOR))
def test_the_identity(raw: float) -> None:
    assert Platt(slope=1, intercept=0)(raw) == pytest.approx(raw)


def test_by_hand() -> None:
    assert Platt(slope=2, intercept=-1)(0.9) == pytest.approx(1 / (1 + math.exp(1) / 81))
    assert logit(0) == logit(FLOOR) == pytest.approx(-logit(1))


@pytest.mark.parametrize("wrong", [{"slope": 0}, {"slope": -1}, {"slope": math.inf}, {"intercept": math.nan}, {"x": 1}])
def test_what_would_not_rise_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Platt(**({"slope": 1.0, "intercept": 0.0} | wrong))
