"""Platt scaling found again in made data, and what is said of it."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.bench.reliability import Claims, bins, calibration_error, diagram, fit
from myna.models.confidence import Platt
from myna.models.errors import MynaError


def made(platt: Platt, count: int = 20_000, seed: int = 0) -> Claims:
    """Draw words whose posteriors are worth what `platt` says."""
    random = np.random.default_rng(seed)
    raw = 1 / (1 + np.exp(-random.normal(1.5, 2, count)))
    right = random.random(count) < [platt(value) for value in raw]
    return Claims(raw, right.astype(float), np.ones(count))


def error(claims: Claims) -> float:
    return calibration_error(bins(claims))


@pytest.mark.parametrize("true", [Platt(slope=0.6, intercept=-0.8), Platt(slope=1.7, intercept=0.5)])
def test_the_parameters_are_found_and_the_error_goes(true: Platt) -> None:
    found = fit(made(true))
    assert (found.slope, found.intercept) == pytest.approx((true.slope, true.intercept), abs=0.07)
    unseen = made(true, seed=1)
    assert error(unseen) > 0.05
    assert error(unseen.calibrated(found)) < 0.01


def test_what_is_calibrated_stays() -> None:
    found = fit(made(Platt(slope=1, intercept=0)))
    assert (found.slope, found.intercept) == pytest.approx((1, 0), abs=0.07)


def test_shares_of_words_weigh_as_the_words_do() -> None:
    split = fit(Claims.of([(0.9, 1, 1)] * 30 + [(0.9, 0, 1)] * 10 + [(0.3, 0, 1)] * 20))
    assert split == fit(Claims.of([(0.9, 0.75, 40), (0.3, 0, 20)]))


claims = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 100)), min_size=1, max_size=30)


@settings(deadline=None)
@given(claims)
def test_any_words_have_an_answer_or_a_reason_why_not(rows: list[tuple[float, float, float]]) -> None:
    with contextlib.suppress(MynaError):  # confidence that is upside down
        assert abs(fit(Claims.of(rows)).intercept) < 50
    assert 0 <= error(Claims.of(rows)) <= 1


def test_words_that_are_all_right_or_all_alike() -> None:
    assert fit(Claims.of([(0.9, 1, 1), (0.5, 1, 1)] * 20))(0.5) > 0.8
    assert fit(Claims.of([(0.8, 0.5, 1000)]))(0.8) == pytest.approx(0.5, abs=0.01)


def test_confidence_that_is_upside_down_is_refused() -> None:
    with pytest.raises(MynaError, match="says nothing of what is right"):
        fit(Claims.of([(0.9, 0, 50), (0.1, 1, 50)]))


def test_bins_by_hand() -> None:
    rows = bins(Claims.of([(0.91, 1, 3), (0.95, 0, 1), (1.0, 1, 4), (0.2, 0.5, 2)]))
    assert rows == [
        {"confidence": 0.2, "right": 0.5, "words": 2},
        {"confidence": 0.96, "right": 0.875, "words": 8},
    ]
    assert calibration_error(rows) == pytest.approx((2 * 0.3 + 8 * 0.085) / 10)


def test_a_diagram(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `adapt`")
    rows = bins(made(Platt(slope=0.6, intercept=-0.8), 500))
    measured = {when: {"ece": calibration_error(rows), "bins": rows} for when in ("before", "after")}
    diagram(tmp_path / "d.png", {"words": measured, "utterances": measured})
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
