"""Learning: the same again is the same to the bit, the base is left alone, and what is asked to move moves."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.personal import learn  # noqa: E402
from myna.adapt.personal.base import Base  # noqa: E402
from myna.adapt.personal.learn import Learner, bf16_is_faster  # noqa: E402
from myna.adapt.personal.lessons import Lesson, answer, examine, prepare  # noqa: E402
from myna.adapt.personal.settings import AdaptSettings  # noqa: E402
from myna.models.adapter_file import adapter_bytes  # noqa: E402
from tests.adapt.personal.taught import DIALECT, SETTINGS, lesson_of, say, taught, text  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**chosen: Any) -> AdaptSettings:
    return SETTINGS.model_copy(update=chosen)


def speech(base: Base, blocks: int = 0, count: int = 8) -> list[Lesson]:
    return [lesson_of(base, number, DIALECT, blocks) for number in range(count)]


def learnt(base: Base, lessons: list[Lesson], passes: int = 2, **chosen: Any) -> tuple[Learner, list[float]]:
    """Learn so many passes; return the loss of each step, too."""
    learner = Learner(base, lessons, settings(**chosen))
    return learner, [loss for _ in range(passes) for loss in learner.steps()]


def content(base: Base, learner: Learner) -> bytes:
    return adapter_bytes(learner.deltas.adapter(base.graph))


def loss_of(base: Base, lessons: list[Lesson], learner: Learner | None, blocks: int = 0) -> float:
    packed = learner.deltas.packed() if learner else None
    return sum(mark.loss for mark in examine(base, lessons, packed, blocks))


@pytest.mark.parametrize("blocks", [0, 1])
def test_the_base_is_left_alone_to_the_bit(blocks: int) -> None:
    base = taught()
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    lessons = speech(base, blocks)
    copies = [lesson.copies[0].clone() for lesson in lessons]
    learnt(base, lessons, blocks=blocks)
    after = base.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(p.requires_grad or p.grad is not None for p in base.model.parameters())
    assert not base.model.training
    assert all(torch.equal(one, lesson.copies[0]) for one, lesson in zip(copies, lessons, strict=True))


def test_the_same_again_is_the_same_to_the_bit() -> None:
    base = taught()
    lessons = speech(base)
    one, losses = learnt(base, lessons)
    torch.randn(3)  # what else draws numbers does not matter
    other, again = learnt(base, lessons)
    assert losses == again
    assert content(base, one) == content(base, other)
    assert content(base, learnt(base, lessons, seed=1)[0]) != content(base, one)


@pytest.mark.parametrize("chosen", [{}, {"rank": 0, "rate": 5e-2}, {"blocks": 1}])
def test_what_is_learnt_is_heard_better(chosen: dict[str, Any]) -> None:
    base = taught()
    blocks = chosen.get("blocks", 0)
    lessons, others = speech(base, blocks), [lesson_of(base, n, DIALECT, blocks) for n in range(8, 12)]
    learner, losses = learnt(base, lessons, 10, **chosen)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    assert loss_of(base, lessons, learner, blocks) < 0.7 * loss_of(base, lessons, None, blocks)
    assert loss_of(base, others, learner, blocks) < loss_of(base, others, None, blocks)


def test_before_the_first_step_nothing_has_changed() -> None:
    base = taught()
    lessons = speech(base)
    assert examine(base, lessons, Learner(base, lessons, SETTINGS).deltas.packed()) == examine(base, lessons, None)


def test_norms_alone() -> None:
    base = taught()
    learner, _ = learnt(base, speech(base), rank=0, rate=5e-2)
    adapter = learner.deltas.adapter(base.graph)
    assert {name.rpartition(".")[2] for name in adapter.parts} == {"gain", "shift"}
    assert adapter.rank == 0
    assert all(part.any() for part in adapter.parts.values())


def test_top_blocks_alone() -> None:
    base = taught()
    lessons = speech(base, blocks=1)
    learner, _ = learnt(base, lessons, blocks=1)
    parts = learner.deltas.adapter(base.graph).parts
    assert {name.split(".")[-2] for name in parts} == {"1"}
    assert any(part.any() for part in parts.values())
    down, up, shift = learner.deltas.packed()
    assert not any(part[:, 0].any() for part in (down, up, shift))
    # The split is no other model: with the same deltas, all of it says the same.
    copies, all_of_it = [lesson.copies[0] for lesson in lessons], [lesson.copies[0] for lesson in speech(base)]
    for deltas in (learner.deltas.packed(), None):
        said = answer(base, copies, deltas, 1)
        assert (said - answer(base, all_of_it, deltas, 0)).abs().max() < 1e-3
    untouched = Learner(base, lessons, settings(blocks=1)).deltas.packed()
    assert (answer(base, copies, untouched, 1) - answer(base, all_of_it, None, 0)).abs().max() < 1e-4


def test_more_blocks_than_there_are_are_all() -> None:
    base = taught()
    found = [content(base, learnt(base, speech(base, blocks), 1, blocks=blocks)[0]) for blocks in (0, 2, 3, 9)]
    assert len(set(found)) == 1


@pytest.mark.parametrize(("utterances", "batch", "steps"), [(8, 4, 2), (8, 5, 2), (8, 100, 1), (7, 2, 4), (3, 1, 3)])
def test_a_pass_goes_over_all_once(utterances: int, batch: int, steps: int) -> None:
    base = taught()
    learner = Learner(base, speech(base, count=utterances), settings(batch_utterances=batch))
    assert learner.passes == 0
    assert len(list(learner.steps())) == steps
    assert learner.passes == 1


def test_a_step_in_parts_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few frames are heard at a time; the gradients are those of all of the step's lessons together."""
    base = taught()
    lessons = [lesson for n in range(8) if (lesson := prepare(base, say(n, DIALECT, 0.4 + 0.1 * n), text(n)))]
    found = list[tuple[Learner, list[float]]]()
    for frames in (10_000, 60, 1):
        monkeypatch.setattr(learn, "FRAMES", frames)
        found.append(learnt(base, lessons, 1, batch_utterances=100))
    (one, expected), *others = found
    for other, losses in others:
        assert losses == pytest.approx(expected, rel=1e-4)
        for a, b in zip(one.deltas.packed(), other.deltas.packed(), strict=True):
            assert ((a - b).abs() > 1e-4).float().mean() < 0.01  # of a slope near zero, Adam takes the sign


def test_left_in_between_it_is_no_pass() -> None:
    base = taught()
    learner = Learner(base, speech(base), SETTINGS)
    for _ in learner.steps():
        break
    assert learner.passes == 0


def test_the_rate_rises_to_what_was_set() -> None:
    """The first of Adam's steps moves by the rate, whatever the slope; deltas of maps have a rate of their own."""
    base = taught()

    def moved(warmup_steps: int) -> list[float]:
        learner, _ = learnt(
            base, speech(base), 1, batch_utterances=100, rate=0.02, rank_rate=0.05, warmup_steps=warmup_steps
        )
        _, up, shift = learner.deltas.packed()
        return [float(part.detach().abs().max()) for part in (shift, up)]

    assert moved(warmup_steps=0) == pytest.approx([0.02, 0.05], rel=1e-3)
    assert moved(warmup_steps=3) == pytest.approx([0.005, 0.0125], rel=1e-3)


def test_every_copy_is_learnt_from() -> None:
    base = taught()
    lessons = [prepare(base, say(n, DIALECT), text(n), (1.0, 0.8, 1.2)) for n in range(4)]
    learner, losses = learnt(base, [lesson for lesson in lessons if lesson], 2, batch_utterances=1)
    assert len(losses) == 8
    assert content(base, learner) != content(base, learnt(base, speech(base, count=4), 2, batch_utterances=1)[0])


def test_the_faster_precision_is_one_of_the_two() -> None:
    base = taught()
    lessons = speech(base, count=4)
    found = {name: content(base, learnt(base, lessons, 1, precision=name)[0]) for name in ("fp32", "bf16", "auto")}
    assert found["auto"] == found["bf16" if bf16_is_faster() else "fp32"]
    assert found["fp32"] != found["bf16"]


def test_a_lower_precision_learns_too() -> None:
    base = taught()
    lessons = speech(base)
    learner, _ = learnt(base, lessons, 4, precision="bf16")
    assert all(part.dtype == torch.float32 for part in learner.deltas.packed())
    assert loss_of(base, lessons, learner) < loss_of(base, lessons, None)


def test_what_is_learnt_is_the_average_of_the_steps_the_last_of_which_weigh_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shamir, Zhang 2013, section 4, with eta 2: the t-th of T steps weighs 3 t (t + 1) / (T (T + 1) (T + 2))."""
    base = taught()
    moving, clip = list[Any](), torch.nn.utils.clip_grad_norm_

    def watched(parameters: Any, norm: float) -> Any:
        moving[:] = parameters
        return clip(moving, norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    learner = Learner(base, speech(base, count=5), settings(batch_utterances=1))
    walked = [[parameter.detach().clone() for parameter in moving] for _ in learner.steps()]
    total = len(walked)
    weights = [3 * t * (t + 1) / (total * (total + 1) * (total + 2)) for t in range(1, total + 1)]
    assert sum(weights) == pytest.approx(1)
    for index, average in enumerate(learner.deltas.parameters()):
        wanted = sum(weight * end[index] for weight, end in zip(weights, walked, strict=True))
        torch.testing.assert_close(average.detach(), wanted, atol=1e-6, rtol=1e-4)
