"""An attempt: judged by speech that it has not learnt from, as strong as others bear, bounded in cost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.deltas import Deltas  # noqa: E402
from myna.adapt.personal.attempt import Attempt, attempt, bent_by, folds  # noqa: E402
from myna.adapt.personal.learn import Learner  # noqa: E402
from myna.adapt.personal.lessons import Lesson, examine  # noqa: E402
from myna.adapt.personal.others import LEAST, Others  # noqa: E402
from myna.adapt.personal.settings import AdaptSettings  # noqa: E402
from myna.models.adapter_file import adapter_bytes, read_adapter  # noqa: E402
from tests.adapt.personal.taught import (  # noqa: E402
    DIALECT,
    LENIENT,
    SETTINGS,
    STANDARD,
    STRANGER,
    contrary_of,
    generic_of,
    lesson_of,
    others,
    quiet,
    taught,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def speech(speech: int = DIALECT, count: int = 12, blocks: int = 0) -> list[Lesson]:
    return [lesson_of(taught(), number, speech, blocks) for number in range(count)]


def set_to(**chosen: Any) -> AdaptSettings:
    return LENIENT.model_copy(update=chosen)


@cache
def told() -> tuple[Attempt, list[tuple[str, float]]]:
    """Make the attempt that most tests look at, and what it tells meanwhile."""
    said = list[tuple[str, float]]()
    return attempt(taught(), speech(), LENIENT, lambda what, share: said.append((what, share)), others()), said


@pytest.mark.parametrize("blocks", [0, 1])
def test_what_helps_is_found_and_judged_by_others(blocks: int) -> None:
    base, lessons = taught(), speech(blocks=blocks)
    made = attempt(base, lessons, set_to(blocks=1), quiet, Others(base, 1)) if blocks else told()[0]
    assert made.verdict.accepted
    assert made.held_out.utterances == 12
    assert (
        made.held_out.errors < made.held_out.base_errors == sum(m.errors for m in examine(base, lessons, None, blocks))
    )
    assert made.passes in LENIENT.passes
    assert 0 < made.strength <= 1
    assert made.generic
    assert made.generic.utterances == len(base.generic)
    assert made.adapter
    assert made.adapter.base == base.graph
    assert {name.split(".")[-2] for name in made.adapter.parts} == ({"1"} if blocks else {"0", "1"})


def test_what_others_do_not_bear_is_refused() -> None:
    base = taught()
    strict = SETTINGS.model_copy(update={"max_generic_errors": 0.0, "max_generic_loss": 0.0})
    made = attempt(base, [contrary_of(base, number) for number in range(12)], strict, quiet, others())
    assert made.held_out.errors < made.held_out.base_errors
    assert made.generic
    assert made.generic.loss > made.generic.base_loss or made.generic.errors > made.generic.base_errors
    assert (made.verdict.accepted, made.strength, made.adapter) == (False, 0.0, None)
    assert "other people worse" in made.verdict.reason


def test_what_others_bear_in_part_is_taken_in_part() -> None:
    base, full = taught(), told()[0].generic
    assert full
    bound = (full.loss / full.base_loss - 1) / 3
    assert bound > 0
    made = attempt(base, speech(), set_to(max_generic_loss=bound), quiet, others())
    assert 0 < made.strength < 1
    assert made.generic
    assert made.generic.loss <= (1 + bound) * made.generic.base_loss
    assert made.held_out.loss < made.held_out.base_loss
    if made.adapter:  # less of it may not help enough
        after = examine(base, generic_of(base), bent_by(made.adapter, base.spec))
        units = sum(mark.units for mark in after)
        assert sum(mark.loss for mark in after) / units == pytest.approx(made.generic.loss, rel=0.01)


def test_what_does_not_help_is_not_tried_on_others() -> None:
    """Standard speech is understood already."""
    said = list[str]()
    made = attempt(taught(), speech(STANDARD), SETTINGS, lambda what, _: said.append(what), others())
    assert (made.held_out.base_errors, made.adapter, made.generic) == (0, None, None)
    assert "understood already" in made.verdict.reason
    assert set(said) == {"trying what helps", "judging"}


def test_without_a_generic_set_the_speaker_alone_decides() -> None:
    alone = replace(taught(), generic=())
    for nobody in (None, Others(alone, 0)):
        made = attempt(alone, speech(), LENIENT, quiet, nobody)
        assert made.verdict.accepted
        assert (made.generic, made.strength) == (None, LENIENT.max_strength)
        assert made.adapter


def test_of_what_passes_something_is_used() -> None:
    """The least that may be set as the most is no less than others are asked to bear at least."""
    made = attempt(taught(), speech(), set_to(max_strength=LEAST, gate_level=0.51), quiet, others())
    assert made.strength == LEAST
    if made.adapter:
        assert any(part.any() for name, part in made.adapter.parts.items() if not name.endswith("down"))
    with pytest.raises(ValueError, match="max_strength"):
        AdaptSettings(max_strength=0.9 * LEAST)


def test_two_utterances_are_enough_to_try() -> None:
    made = attempt(taught(), speech(count=2), LENIENT, quiet)
    assert made.held_out.utterances == 2


def test_the_same_again_is_the_same_to_the_bit() -> None:
    (one, _), other = told(), attempt(taught(), speech(), LENIENT, quiet, others())
    assert one.adapter
    assert other.adapter
    assert adapter_bytes(one.adapter) == adapter_bytes(other.adapter)
    assert (one.held_out, one.generic) == (other.held_out, other.generic)


def test_what_is_published_is_what_the_folds_agree_on() -> None:
    """Their mean, in float16: as good as in float32, and the server's reader takes it."""
    base, lessons = taught(), speech()
    made, _ = told()
    assert made.adapter
    assert {part.dtype for part in made.adapter.parts.values()} == {np.dtype(np.float16)}
    found = list[Deltas]()
    for part in folds(len(lessons), LENIENT):
        learner = Learner(base, [lesson for i, lesson in enumerate(lessons) if i not in part], LENIENT)
        while learner.passes < made.passes:
            list(learner.steps())
        found.append(learner.deltas)
    mean = Deltas.mean(found).scaled(made.strength).packed()
    read = read_adapter(adapter_bytes(made.adapter), base.spec, base.graph)
    bent = bent_by(read, base.spec)
    for one, other in zip(bent, mean, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
    exact = examine(base, lessons, mean)
    for mark, other_mark in zip(examine(base, lessons, bent), exact, strict=True):
        assert mark.loss == pytest.approx(other_mark.loss, rel=0.02, abs=0.02)
    assert sum(mark.loss for mark in exact) < sum(mark.loss for mark in examine(base, lessons, None))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 500), st.integers(2, 20))
def test_each_is_held_out_once(count: int, parts: int) -> None:
    found = folds(count, AdaptSettings(folds=parts))
    assert len(found) == min(parts, count)
    assert sorted(index for part in found for index in part) == list(range(count))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert all(0 < len(part) < count for part in found)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the steps that learners take from now on."""
    found, step = Counter[str](), Learner._step

    def counted(self: Learner, lessons: Sequence[Lesson]) -> float:
        found["steps"] += 1
        return step(self, lessons)

    monkeypatch.setattr(Learner, "_step", counted)
    return found


def test_passes_are_bounded_by_the_audio_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three folds learn each utterance twice a pass."""
    steps = steps_of(monkeypatch)
    lessons = speech(count=6)
    a_pass_s = 2 * sum(len(lesson.copies[0]) for lesson in lessons) * taught().spec.frame_ms / 1000

    def passes(heard_s: float) -> float:
        steps.clear()
        attempt(taught(), lessons, set_to(passes=(1, 2, 3), rate=1e-6, rank_rate=1e-6, max_heard_s=heard_s), quiet)
        return steps["steps"] / 3  # four of six utterances are a step

    found = {allowed: passes(allowed * a_pass_s) for allowed in (0.1, 1.0, 2.5, 9.0)}
    assert all(count <= max(1, allowed) for allowed, count in found.items())
    assert (found[0.1], found[9.0]) == (1, 3)
    assert list(found.values()) == sorted(found.values())


def test_a_fold_that_only_gets_worse_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, steps = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), steps_of(monkeypatch)
    wild = set_to(passes=passes, rate=0.1, rank_rate=0.1, warmup_steps=0)
    made = attempt(taught(), speech(STANDARD), wild, quiet)
    assert not made.verdict.accepted
    assert steps["steps"] < 3 * 2 * len(passes)


def test_progress_is_told_and_may_end_it() -> None:
    _, said = told()
    names = list(dict.fromkeys(what for what, _ in said))
    assert names == ["trying what helps", "judging", "listening to others"]
    for name in names:
        shares = [share for what, share in said if what == name]
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)

    def stop(what: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(taught(), speech(), LENIENT, stop)


def test_two_speakers_in_one_are_judged_like_one() -> None:
    mixed = [lesson for pair in zip(speech(), speech(STRANGER), strict=True) for lesson in pair][:12]
    made = attempt(taught(), mixed, SETTINGS, quiet, others())
    if made.verdict.accepted:
        assert made.generic
        assert made.held_out.errors <= made.held_out.base_errors
        assert made.generic.errors <= made.generic.base_errors * 1.03
