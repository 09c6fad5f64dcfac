"""Lessons: heard as they are served, wherever the bent part begins; marks don't depend on other lessons."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

import torch.nn.functional as F  # noqa: E402

from myna.adapt.frontend import batch_features  # noqa: E402
from myna.adapt.personal import lessons  # noqa: E402
from myna.adapt.personal.base import Base  # noqa: E402
from myna.adapt.personal.lessons import (  # noqa: E402
    Lesson,
    answer,
    below,
    examine,
    prepare,
    second_hearing,
    text_of,
    word_errors,
)
from myna.models.adapter import AdapterBatch  # noqa: E402
from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.nn.conformer import Packed  # noqa: E402
from myna.models.runtime import Runtime, Step  # noqa: E402
from tests.adapt.personal.taught import say, taught, tiny  # noqa: E402
from tests.models.streams import Floats, Ints, stream  # noqa: E402
from tests.server.speech import silence, voice  # noqa: E402
from tests.support import TINY  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
RUNTIME = Runtime(read_bundle(TINY))
LENGTHS_S = (0.3, 1.0, 2.7, 6.1)  # the last is longer than the left context


class Bent:
    """The served step with an adapter in each row; keeps what comes out of every block."""

    def __init__(self, adapters: AdapterBatch | None) -> None:
        self.spec, self._adapters, self._said = RUNTIME.spec, adapters, list[Floats]()

    def step(
        self, feats: Floats, frames: Ints, offset: Ints, cached: Ints, att_cache: Floats, conv_cache: Floats
    ) -> Step:
        step = RUNTIME.step(feats, frames, offset, cached, att_cache, conv_cache, self._adapters, activations=True)
        assert step.activations is not None
        self._said.append(step.activations)
        return step

    def activations(self, block: int) -> Floats:
        """Return what went into a block (T, width), from the first step on."""
        return np.concatenate([said[0, block] for said in self._said])


def in_quiet(base: Base, wave: Floats) -> Floats:
    """Compute features (M, mels) of a wave with the same quiet around."""
    before, behind = (int(seconds * 16_000) for seconds in (lessons.QUIETS_S[0], lessons.BEHIND_S))
    quiet = np.random.default_rng(0).standard_normal(before + behind, np.float32) * np.float32(lessons.QUIET)
    feats, _ = batch_features([np.concatenate([quiet[:before], wave, quiet[before:]])], base.spec.features)
    return np.asarray(feats[0])


def bending(base: Base, seed: int = 0, blocks: int = 0) -> AdapterBatch:
    """Make an adapter of random deltas, of the top blocks if so told."""
    rng, batch = np.random.default_rng(seed), AdapterBatch.zeros(base.spec, 1, 2)
    for part in (batch.down, batch.up, batch.shift):
        part += rng.normal(0, 0.2, part.shape).astype(np.float32)
        part[:, : max(0, base.spec.blocks - blocks) if blocks else 0] = 0
    return batch


def packed(batch: AdapterBatch) -> Packed:
    return torch.from_numpy(batch.down), torch.from_numpy(batch.up), torch.from_numpy(batch.shift)


def lesson(base: Base, seconds: float = 1.0, text: str = "ba di", seed: int = 0, blocks: int = 0) -> Lesson:
    made = prepare(base, voice(seconds, seed=seed), text, blocks=blocks)
    assert made is not None
    return made


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_heard_as_the_conformer_hears_it(whole: bool) -> None:
    base = tiny()
    wave = voice(2.7)
    feats = torch.from_numpy(in_quiet(base, wave.astype(np.float32)))[None]
    frames = torch.tensor([base.spec.frames_ready(feats.shape[1])])
    bend = packed(bending(base))
    chunks = (0, -1) if whole else base.heard_as_served
    expected = base.model.logits(base.model.heard(feats, frames, *chunks, adapters=bend)[-1]).log_softmax(-1)
    made = prepare(base, wave, "ba di")
    assert made is not None
    assert len(made.copies[0]) == int(frames)
    assert (answer(base, made.copies[:1], bend, 0, whole) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("seconds", LENGTHS_S)
@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_it_is_heard_as_it_is_served(blocks: int, seconds: float) -> None:
    """ONNX Runtime, chunk by chunk with its caches and the adapter in its row, says the same."""
    base, wave = tiny(), voice(seconds, seed=3)
    bend = bending(base, blocks=blocks)
    served = Bent(bend)
    expected = stream(served, in_quiet(base, wave.astype(np.float32)), base.spec.chunk_frames, base.spec.left_frames)
    copy = below(base, wave.astype(np.float32), blocks)
    heard = answer(base, [copy], packed(bend), blocks)[0].numpy()
    assert heard.shape == expected.shape
    assert np.abs(heard - expected).max() < 1e-4
    if blocks == 1:  # what goes into the last block; what goes into the first is scaled later
        assert np.abs(copy.numpy() - served.activations(1)).max() < 1e-4


def test_marks_do_not_depend_on_the_others() -> None:
    base = taught()
    many = [lesson(base, 0.4 + 0.37 * (number * 7 % 11), seed=number) for number in range(11)]
    bend = packed(bending(base))
    together, turned = examine(base, many, bend), examine(base, many[::-1], bend)[::-1]
    for one, *marks in zip(many, together, turned, strict=True):
        (alone,) = examine(base, [one], bend)
        for mark in marks:
            assert (alone.heard, alone.errors, alone.words, alone.units) == (mark.heard, mark.errors, mark.words, 2)
            assert alone.loss == pytest.approx(mark.loss, rel=1e-4, abs=1e-3)
    assert examine(base, [], bend) == []


def test_more_than_is_heard_at_once_is_marked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    base = taught()
    many = [lesson(base, 0.5 + 0.2 * (number % 3), seed=number) for number in range(7)]
    expected = examine(base, many, None)
    monkeypatch.setattr(lessons, "BATCH_FRAMES", 1)
    assert [mark.heard for mark in examine(base, many, None)] == [mark.heard for mark in expected]


def test_a_mark_says_what_was_heard_and_how_far_that_is_from_the_truth() -> None:
    base = taught()
    right = prepare(base, say(0), "ba di")
    wrong = prepare(base, say(0), "ti ti ku")
    assert right is not None
    assert wrong is not None
    good, bad = examine(base, [right, wrong], None)
    assert (good.heard, good.errors, good.words, good.units) == ("ba di", 0, 2, 2)
    assert (bad.heard, bad.errors, bad.words, bad.units) == ("ba di", 3, 3, 3)
    assert good.loss < 1 < bad.loss


def test_the_loss_is_ctc_s() -> None:
    base = taught()
    made = lesson(base, 0.7, "ku ma bi", seed=3)
    log_probs = answer(base, made.copies, None, 0)
    expected = F.ctc_loss(log_probs[0], made.ids, torch.tensor([len(made.copies[0])]), torch.tensor([3]), 0, "sum")
    assert examine(base, [made], None)[0].loss == pytest.approx(float(expected), rel=1e-5)


def test_each_speed_is_a_copy_and_the_first_is_as_it_was_spoken() -> None:
    base = tiny()
    made = prepare(base, voice(2.0), "ba di", (1.0, 0.8, 1.25))
    assert made is not None
    seconds = [len(copy) * base.spec.frame_ms / 1000 for copy in made.copies]
    whole = [
        spoken + before + lessons.BEHIND_S for spoken, before in zip((2.0, 2.5, 1.6), lessons.QUIETS_S, strict=True)
    ]
    assert seconds == pytest.approx(whole, abs=0.15)
    assert torch.equal(made.copies[0], below(base, voice(2.0).astype(np.float32), 0))


@pytest.mark.parametrize("text", ["", " ", "xyz", "ba xyz di", "?"])
def test_what_can_t_be_spelt_is_no_lesson(text: str) -> None:
    assert prepare(tiny(), voice(1.0), text) is None


def test_a_text_that_has_no_room_is_no_lesson() -> None:
    """Each unit takes a frame, and a frame more where it is the same as the one before; at the fastest speed, too."""
    base, wave = tiny(), voice(1.0)
    frames = len(below(base, wave.astype(np.float32), 0))
    assert prepare(base, wave, "ba di " * (frames // 2)) is not None
    assert prepare(base, wave, "ba di " * (frames // 2 + 1)) is None
    assert prepare(base, wave, "ba " * ((frames + 1) // 2)) is not None
    assert prepare(base, wave, "ba " * ((frames + 1) // 2 + 1)) is None
    assert prepare(base, wave, "ba di " * (frames // 2), (1.0, 2.0)) is None


@pytest.mark.parametrize("samples", [0, 1, 100, 399])
@pytest.mark.parametrize("blocks", [0, 1])
def test_next_to_nothing_is_heard_as_the_quiet_around_it(samples: int, blocks: int) -> None:
    base = taught()
    made = prepare(base, np.zeros(samples, np.int16), "ba", (1.0, 0.9, 1.1), blocks)
    assert made is not None
    (mark,) = examine(base, [made], None, blocks)
    assert (mark.errors, mark.words) == (1, 1)
    assert np.isfinite(mark.loss)
    assert second_hearing(base, np.zeros(samples, np.int16)) == ""


def test_the_second_hearing_hears_the_whole() -> None:
    base = tiny()
    for wave in (voice(2.3), silence(0.5)):
        feats = torch.from_numpy(in_quiet(base, wave.astype(np.float32)))[None]
        log_probs = base.model(feats, torch.tensor([base.spec.frames_ready(feats.shape[1])]))
        assert second_hearing(base, wave) == text_of(base, log_probs[0])
    assert [second_hearing(taught(), say(number)) for number in range(4)] == ["ba di", "ga mu", "ti", "ku ma bi"]


def test_words_of_scripts_without_spaces_are_characters() -> None:
    assert word_errors("ba di", "ba ti mu") == (2, 2)
    assert word_errors("一二", "一") == (1, 2)
    assert word_errors("ba 一二", "BA 二二") == (1, 3)
    assert word_errors("ba di", "") == (2, 2)
    assert word_errors("", "ba") == (1, 0)
