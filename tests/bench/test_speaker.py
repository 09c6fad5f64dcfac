"""Hearing with a speaker's weights in the benchmark: zeros are the base, others are not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from myna.adapt.personal.settings import AdaptSettings
from myna.bench.manifest import Clip
from myna.bench.speaker import Laboratory, Subject
from myna.models.adapter_file import Adapter
from tests.server.speech import voice
from tests.support import TINY


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    made = Laboratory(str(TINY), AdaptSettings(passes=(1,), folds=2, min_utterances=2, speeds=(1.0,)))
    yield made
    made.close()


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Clip, ...]:
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", voice(1.2, seed=i), 16_000)
    return tuple(Clip(tmp_path / f"{i}.wav", "ba bi") for i in range(4))


def test_weights_of_zero_are_the_base(laboratory: Laboratory, clips: tuple[Clip, ...]) -> None:
    nothing = Adapter(laboratory.base.graph, {"norm.0.gain": np.zeros(laboratory.base.spec.width, np.float16)})
    assert laboratory.hear(clips, nothing) == laboratory.hear(clips)
    shift = np.random.default_rng(0).standard_normal(laboratory.base.spec.width).astype(np.float16)
    much = Adapter(laboratory.base.graph, {"norm.0.shift": shift})
    assert laboratory.hear(clips, much) != laboratory.hear(clips)


def test_too_few_utterances_are_not_learnt_from(laboratory: Laboratory, clips: tuple[Clip, ...]) -> None:
    found = laboratory.measure(Subject("s", "", "made", clips[:1], clips[1:]), (), pseudo=False, others=())
    assert (found["published"], found["why"]) == (False, "too few utterances")
    assert found["adapted_wer"] == found["base_wer"]


def test_what_costs_is_noted(laboratory: Laboratory, clips: tuple[Clip, ...]) -> None:
    found = laboratory.measure(Subject("s", "", "made", clips[:3], clips[3:]), (2,), pseudo=True, others=clips)
    assert found["lessons"] == 3
    assert found["passes"] == 1
    assert found["took_s"] >= 0
    assert found["amounts"]["2"]["lessons"] == 2
    assert "published" in found["pseudo"]
    assert ("others" in found) == found["published"]
