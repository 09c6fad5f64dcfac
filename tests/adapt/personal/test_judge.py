"""The gate: no gain is ever seen where there is none, a clear one always; others' speech has its bound."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.personal.judge import Comparison, compare, judge, judge_generic
from myna.adapt.personal.lessons import Mark
from myna.adapt.personal.settings import AdaptSettings

GATE = AdaptSettings(gate_level=0.95, max_generic_errors=0.03, max_generic_loss=0.06)
marks = st.builds(
    lambda loss, units, errors, words: Mark(loss, units, errors, words, ""),
    st.floats(0, 1e4),
    st.integers(1, 60),
    st.integers(0, 30),
    st.integers(1, 20),
)
pairs = st.lists(st.tuples(marks, marks), max_size=40)
seeds = st.integers(0, 99)


def mark(errors: int, loss: float = 1.0) -> Mark:
    return Mark(loss, 10, errors, 5, "")


def better(one: Mark, errors: int = 0, loss: float = 0.0) -> Mark:
    return replace(one, errors=one.errors - errors, loss=one.loss - loss)


@settings(max_examples=50, deadline=None)
@given(st.lists(marks, max_size=40), seeds)
def test_the_same_is_never_accepted(same: list[Mark], seed: int) -> None:
    assert not judge(compare(same, same, seed), GATE).accepted


@settings(max_examples=50, deadline=None)
@given(pairs, seeds)
def test_more_errors_are_never_accepted(rows: list[tuple[Mark, Mark]], seed: int) -> None:
    base, bent = [b for b, _ in rows], [a for _, a in rows]
    compared = compare(base, bent, seed)
    if sum(a.errors for a in bent) > sum(b.errors for b in base):
        verdict = judge(compared, GATE)
        assert not verdict.accepted
        assert "does not help yet" in verdict.reason


@settings(max_examples=50, deadline=None)
@given(st.lists(marks, min_size=1, max_size=40), st.sampled_from([(1, 0.0), (0, 0.5), (2, 3.0)]), seeds)
def test_a_clear_win_is_accepted(rows: list[Mark], gain: tuple[int, float], seed: int) -> None:
    """Each utterance has fewer errors, or a lower loss."""
    base = [replace(row, errors=row.errors + 2, loss=row.loss + 10) for row in rows]
    assert judge(compare(base, [better(row, *gain) for row in base], seed), GATE).accepted


@settings(max_examples=50, deadline=None)
@given(pairs, seeds)
def test_counts_are_sums_and_turn_round_with_the_sides(rows: list[tuple[Mark, Mark]], seed: int) -> None:
    base, bent = [b for b, _ in rows], [replace(a, words=b.words, units=b.units) for b, a in rows]
    one, other = compare(base, bent, seed), compare(bent, base, seed)
    assert one == compare(base, bent, seed)
    assert (one.utterances, one.words) == (len(rows), sum(b.words for b in base)) == (other.utterances, other.words)
    assert (one.base_errors, one.errors) == (sum(b.errors for b in base), sum(a.errors for a in bent))
    assert (one.base_errors, one.errors) == (other.errors, other.base_errors)
    assert (one.base_wer, one.wer, one.base_loss, one.loss) == pytest.approx(
        (other.wer, other.base_wer, other.loss, other.base_loss)
    )
    assert one.sure + other.sure <= 1 + 1e-9


def test_what_may_be_chance_is_refused_and_said_so() -> None:
    base = [mark(1)] * 20
    verdict = judge(compare(base, [better(base[0], 1), *base[1:]]), GATE)
    assert not verdict.accepted
    assert verdict.reason == (
        "On 20 utterances that it had not learnt from it made 19 word errors instead of 20; "
        "that may be chance: more speech will tell."
    )
    assert judge(compare(base, [better(base[0], 1)] * 4 + base[4:]), GATE).accepted


def test_words_and_loss_are_weighed_together() -> None:
    """Of twenty utterances two have fewer errors, in 0.88 of the resamples: the loss may prove it, or refute it."""
    base = [mark(1, loss=9.0)] * 20
    likely = [better(base[0], 1)] * 2 + base[2:]
    assert 0.75 < compare(base, likely).sure < 0.95
    assert judge(compare(base, [better(one, loss=0.5) for one in likely]), GATE).accepted
    assert not judge(compare(base, [better(one, loss=-2.0) for one in likely]), GATE).accepted


def test_one_word_more_is_refused_however_low_the_loss() -> None:
    base = [mark(1, loss=9.0)] * 20
    lower = [better(one, loss=4.0) for one in base]
    assert judge(compare(base, lower), GATE).accepted
    assert not judge(compare(base, [better(lower[0], -1), *lower[1:]]), GATE).accepted


def test_chance_hardly_ever_passes() -> None:
    """Marks that differ by chance alone pass once in twenty, about."""
    rng, passed = np.random.default_rng(0), 0
    for seed in range(100):
        errors, losses = rng.integers(0, 4, (2, 30)), rng.normal(10, 2, (2, 30))
        base, bent = (
            [mark(int(e), float(x)) for e, x in zip(*side, strict=True)] for side in zip(errors, losses, strict=True)
        )
        passed += judge(compare(base, bent, seed), GATE).accepted
    assert passed <= 9


def test_nothing_proves_nothing() -> None:
    nothing = compare([], [])
    assert nothing == Comparison(0, 0, 0, 0, 0.0, 0.0, 0.0)
    assert (nothing.wer, nothing.base_wer) == (0.0, 0.0)
    assert not judge(nothing, GATE).accepted
    with pytest.raises(ValueError, match="shorter"):
        compare([mark(1)], [])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_what_is_no_number_is_never_accepted(loss: float) -> None:
    """Weights that have burst hear nothing at all, which may be fewer errors than words made up."""
    base = [mark(9)] * 20
    burst = [replace(one, errors=5, loss=loss) for one in base]
    assert not judge(compare(base, burst), GATE).accepted
    assert not judge_generic(compare(base, burst), GATE).accepted


def test_a_lower_level_lets_more_pass() -> None:
    compared = Comparison(20, 100, 20, 19, 1.0, 1.0, 0.8)
    assert judge(compared, AdaptSettings(gate_level=0.75)).accepted
    assert not judge(compared, AdaptSettings(gate_level=0.85)).accepted


@settings(max_examples=50, deadline=None)
@given(*[st.integers(0, 1000)] * 2, *[st.floats(0, 9)] * 2, *[st.floats(0, 1)] * 2)
def test_others_may_be_heard_worse_up_to_the_bounds(
    base_errors: int, errors: int, base_loss: float, loss: float, most_errors: float, most_loss: float
) -> None:
    compared = Comparison(60, 1000, base_errors, errors, base_loss, loss, 0.0)
    bounds = AdaptSettings(max_generic_errors=most_errors, max_generic_loss=most_loss)
    verdict = judge_generic(compared, bounds)
    within = errors <= base_errors * (1 + most_errors) and loss <= base_loss * (1 + most_loss)
    assert verdict.accepted == within
    assert f"{errors / 10:.1f} % of their words wrong instead of {base_errors / 10:.1f} %" in verdict.reason
