"""Word errors: those of the streamed, greedy text."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.data import Utterance  # noqa: E402
from myna.adapt.settings import DataSettings, Source  # noqa: E402
from myna.adapt.speech import Speech  # noqa: E402
from myna.adapt.validate import Score, apart, choose, word_errors  # noqa: E402
from myna.models.bundle import read_bundle  # noqa: E402
from myna.models.ctc.greedy import Greedy  # noqa: E402
from myna.models.features import filterbank  # noqa: E402
from myna.models.runtime import Runtime  # noqa: E402
from tests.adapt.made import write  # noqa: E402
from tests.models.streams import model_of, stream  # noqa: E402
from tests.support import TINY  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Truth(Speech):
    """Speech whose texts are what a random model says, which no units may spell."""

    said: list[str]

    def utterance(self, index: int) -> Utterance:
        return replace(super().utterance(index), text=self.said[index])


def test_the_errors_are_those_of_the_served_text(tmp_path: Path) -> None:
    """ONNX Runtime, chunk by chunk with its caches, says what is taken for the truth: then there is no error."""
    bundle = read_bundle(TINY)
    runtime, spec, said, utterances = Runtime(bundle), bundle.spec, list[str](), list[Utterance]()
    for number, seconds in enumerate((1.0, 2.5, 6.0)):
        path = tmp_path / f"{number}.wav"
        greedy = Greedy(spec.blank_id)
        feats = filterbank(spec.features).push(write(path, seconds, number))
        greedy.advance(stream(runtime, feats, spec.chunk_frames, spec.left_frames))
        text = bundle.tokens.text([token.id for token in greedy.tokens])
        said.append(text)
        utterances.append(Utterance(path, "ba", "", "made"))
    settings = DataSettings(train=[Source(kind="manifest", path=tmp_path)])
    speech = Truth(utterances, bundle.tokens, spec, settings, tmp_path / "cache")
    speech.said = said
    model = model_of(bundle)
    score = word_errors(model, None, speech, [0, 1, 2], bundle.tokens)
    assert score == Score(0, sum(len(apart(text).split()) for text in said))
    with torch.no_grad():
        model.head.weight.mul_(-1)
    assert word_errors(model, None, speech, [0, 1, 2], bundle.tokens).wer > 0.5
    assert word_errors(model, None, speech, [], bundle.tokens) == Score(0, 0)


def test_words() -> None:
    assert apart("Ba 一二 di") == "ba 一 二 di"
    assert Score(1, 4).wer == 0.25
    assert Score(0, 0).wer == 0


def test_the_choice_stays(tmp_path: Path) -> None:
    class Counted:
        def __len__(self) -> int:
            return 50

    some = choose(Counted(), 10, 1)  # type: ignore[arg-type]
    assert len(set(some)) == 10
    assert some == sorted(some) == choose(Counted(), 10, 1)  # type: ignore[arg-type]
    assert choose(Counted(), 0, 1) == list(range(50))  # type: ignore[arg-type]
