"""What is learnt from: the most trusted, sure and new, within bounds; everything else is counted by reason."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from myna.adapt.personal.choose import TRUST, choose
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Kept, Source

BOUNDS: dict[str, Any] = {
    "min_utterances": 2,
    "max_utterances": 100,
    "min_s": 0.5,
    "max_s": 20.0,
    "min_confidence": 0.8,
    "max_pseudo_share": 0.5,
}


SOURCES: tuple[Source, ...] = ("corrected", "enrolled", "pseudo")


def settings(**chosen: float) -> AdaptSettings:
    return AdaptSettings(**(BOUNDS | chosen))


def kept(
    number: int, source: Source = "corrected", confidence: float = 0.9, seconds: float = 2.0, text: str = "ba di"
) -> Kept:
    """Make what is kept of an utterance, spoken in second `number`."""
    return Kept(
        str(number), Path("none"), seconds, text, text, source, confidence, "stream", "tiny 1", None, float(number)
    )


def numbers(found: tuple[Kept, ...]) -> list[int]:
    return [int(one.id) for one in found]


def test_all_is_learnt_from_the_oldest_first() -> None:
    plan = choose([kept(3), kept(1, "enrolled"), kept(2, "pseudo")], settings())
    assert numbers(plan.chosen) == [1, 2, 3]
    assert (plan.left_out, plan.why_not, plan.seconds) == ({}, None, 6.0)
    assert plan.by_source() == {"enrolled": 1, "pseudo": 1, "corrected": 1}


def test_too_many_and_the_least_trusted_and_oldest_are_left_out() -> None:
    sources: list[Source] = ["corrected", "pseudo", "enrolled", "corrected", "enrolled", "pseudo", "enrolled"]
    speech = [kept(number, source) for number, source in enumerate(sources)]
    orders = {5: [0, 2, 3, 4, 6], 4: [0, 3, 4, 6], 3: [0, 3, 6], 2: [0, 3]}
    for most, expected in orders.items():
        plan = choose(speech, settings(max_utterances=most))
        assert numbers(plan.chosen) == expected
        assert plan.left_out == {f"more than {most} are there": 7 - most}


def test_the_surest_of_unproved_texts_are_taken_as_far_as_their_share_goes() -> None:
    speech = [kept(9), kept(8), *(kept(number, "pseudo", 0.8 + number / 100) for number in (2, 0, 4, 1, 3))]
    plan = choose(speech, settings(max_pseudo_share=0.5))
    assert numbers(plan.chosen) == [3, 4, 8, 9]
    assert plan.left_out == {"beyond their share beside corrected or read ones": 3}
    assert numbers(choose(speech, settings(max_pseudo_share=0.4)).chosen) == [4, 8, 9]
    assert numbers(choose(speech, settings(max_pseudo_share=0)).chosen) == [8, 9]
    assert numbers(choose(speech, settings(max_pseudo_share=1)).chosen) == [0, 1, 2, 3, 4, 8, 9]


def test_where_nothing_is_proved_the_sure_ones_are_learnt_from() -> None:
    plan = choose([kept(number, "pseudo") for number in range(5)], settings(max_utterances=3))
    assert numbers(plan.chosen) == [2, 3, 4]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (kept(0, seconds=0.4), "shorter than 0.5 s"),
        (kept(0, seconds=600.0), "longer than 20 s"),
        (kept(0, text=""), "without words"),
        (kept(0, text=" ,.?! "), "without words"),
        (kept(0, "pseudo", 0.79), "uncorrected and less sure than 0.8"),
    ],
)
def test_unfit_ones_are_counted_by_reason(one: Kept, reason: str) -> None:
    plan = choose([one, kept(1), kept(2)], settings())
    assert (numbers(plan.chosen), plan.left_out) == ([1, 2], {reason: 1})


def test_bounds_are_within() -> None:
    within = [kept(0, seconds=0.5), kept(1, seconds=20.0), kept(2, "pseudo", 0.8), kept(3, "corrected", 0.0)]
    assert numbers(choose(within, settings()).chosen) == [0, 1, 2, 3]


def test_too_few_and_it_is_said_what_helps() -> None:
    plan = choose([kept(0), kept(1)], settings(min_utterances=3))
    assert plan.why_not
    assert plan.why_not.startswith("2 utterances can be learnt from, 3 are the least")
    assert "myna enroll" in plan.why_not
    assert choose([], settings()).why_not
    assert choose([kept(0), kept(1), kept(2)], settings(min_utterances=3)).why_not is None


utterances = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.floats(0, 1),
        st.sampled_from([0.1, 0.5, 3.0, 20.0, 20.1, 600.0]),
        st.sampled_from(["ba di", "", "!", "ti"]),
    ),
    max_size=30,
).map(lambda rows: [kept(number, *row) for number, row in enumerate(rows)])
bounds = st.builds(
    lambda least, more, share, sure: settings(
        min_utterances=least, max_utterances=least + more, max_pseudo_share=share, min_confidence=sure
    ),
    st.integers(2, 12),
    st.integers(0, 10),
    st.floats(0, 1),
    st.floats(0, 1),
)


@examples(max_examples=50, deadline=None)
@given(utterances, bounds)
def test_all_are_chosen_or_counted_and_no_bound_is_broken(speech: list[Kept], within: AdaptSettings) -> None:
    plan = choose(speech, within)
    assert len(plan.chosen) + sum(plan.left_out.values()) == len(speech)
    assert all(count > 0 for count in plan.left_out.values())
    assert set(numbers(plan.chosen)) <= set(range(len(speech)))
    assert numbers(plan.chosen) == sorted(set(numbers(plan.chosen)))
    assert len(plan.chosen) <= within.max_utterances
    assert (plan.why_not is None) == (len(plan.chosen) >= within.min_utterances)
    assert all(within.min_s <= one.seconds <= within.max_s and one.text not in ("", "!") for one in plan.chosen)
    assert all(one.confidence >= within.min_confidence for one in plan.chosen if one.source == "pseudo")


@examples(max_examples=50, deadline=None)
@given(utterances, bounds)
def test_trust_comes_first_and_the_unproved_keep_to_their_share(speech: list[Kept], within: AdaptSettings) -> None:
    plan = choose(speech, within)
    fit = [one for one in speech if 0.5 <= one.seconds <= 20 and one.text not in ("", "!")]
    proved = [one for one in fit if one.source != "pseudo"]
    unproved = [one for one in plan.chosen if one.source == "pseudo"]
    if proved:
        assert len(unproved) <= within.max_pseudo_share * len(plan.chosen) + 1e-6
    left = [one for one in proved if one not in plan.chosen]
    if left:
        best = min(TRUST[one.source] for one in left)
        assert all(TRUST[one.source] <= best for one in plan.chosen)
        newest = max(one.created_s for one in left if TRUST[one.source] == best)
        assert all(one.created_s > newest for one in plan.chosen if TRUST[one.source] == best)


@examples(max_examples=50, deadline=None)
@given(utterances, bounds, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(speech: list[Kept], within: AdaptSettings, random: Any) -> None:
    sure = {one.confidence for one in speech if one.source == "pseudo"}
    mixed = random.sample(speech, len(speech))
    if len(sure) == sum(one.source == "pseudo" for one in speech):  # no two are as sure
        assert choose(mixed, within) == choose(speech, within)
